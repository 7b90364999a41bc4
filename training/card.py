"""Model cards, rendered from a checkpoint's config.json, training.json and metrics.json.

What the figures can't say, such as how the data was split, stands in the checkpoint's notes.md.
"""

import json
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from training.comparison_tables import tables

TEMPLATES = Path(__file__).parent

CLASSIFICATION = (("accuracy", "Accuracy", "accuracy"), ("roc_auc", "Macro AUROC", "macro_auroc"))
SEGMENTATION = (("mean_iou", "Mean IoU", "miou"), ("accuracy", "Pixel accuracy", "pixel_accuracy"))

TASKS = {
    "OctNet": ("image-classification", "octnet-card.md.j2", CLASSIFICATION),
    "UNet": ("image-segmentation", "unet-card.md.j2", SEGMENTATION),
}
"""Architecture → (the Hub's task, the card's template, (the Hub's metric, its name, its key in metrics.json) …)."""


def write_card(checkpoint: Path) -> None:
    """Render the card of a checkpoint over its README.md."""
    render_card(checkpoint).save(Path(checkpoint) / "README.md")


def render_card(checkpoint: Path) -> ModelCard:
    """The card, with a model-index of every evaluation in metrics.json.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        KeyError: config.json names an architecture that has no template.
    """
    checkpoint = Path(checkpoint)
    config, training, metrics = (
        json.loads((checkpoint / name).read_text(encoding="utf-8"))
        for name in ("config.json", "training.json", "metrics.json")
    )
    notes = checkpoint / "notes.md"
    resolved = checkpoint.resolve()
    name = resolved.parent.name if resolved.name == "checkpoint" else resolved.name
    evaluations = dict(sorted(metrics["evaluations"].items(), key=lambda item: item[0] == "octdl"))  # external last
    task, template, task_metrics = TASKS[config["architecture"]]
    found = checkpoint / "comparison.json"
    comparison = json.loads(found.read_text(encoding="utf-8")) if found.is_file() else None
    data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="octhub",
        pipeline_tag=task,
        tags=["medical", "ophthalmology", "oct", "retina"],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=task,
                dataset_type=key,
                dataset_name=f"{e['data']}, {e['split']}",
                metric_type=metric,
                metric_name=name,
                metric_value=round(e[field], 4),
            )
            for key, e in evaluations.items()
            for metric, name, field in task_metrics
            if e[field] is not None
        ],
    )
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATES / template),
        name=name,
        notes=notes.read_text(encoding="utf-8").strip() if notes.is_file() else "",
        config=config,
        training=training,
        evaluations=evaluations,
        comparison=comparison,
        tables=tables(comparison) if comparison else None,
    )

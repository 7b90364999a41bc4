"""Model cards, rendered from a checkpoint's records alone: `python -m training.card checkpoints/NAME …`.

The records are its config.json, training.json, metrics.json and, if there are any, comparison.json and decision.json.
What the figures
can't say, such as how a recipe was chosen, stands in the checkpoint's notes.md, a template like the cards' own: no
figure is typed by hand anywhere.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from octhub.datasets import data_rows
from training.card_tables import cost_rows
from training.comparison_tables import tables

TEMPLATES = Path(__file__).parent

OPTIONAL = ("comparison.json", "decision.json")
RECORDS = ("config.json", "training.json", "metrics.json", *OPTIONAL)
"""Where a card's figures come from; the last two only where there was a comparison, and where thresholds were set."""

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


def render_card(checkpoint: Path, repo_id: str | None = None, space_id: str | None = None) -> ModelCard:
    """The card, with a model-index of every evaluation in metrics.json.

    Args:
        repo_id: the Hub repo "owner/name" that the code samples name; by default they name the folder.
        space_id: the Space "owner/name" to link to; by default the card says how to run the app.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        KeyError: config.json names an architecture that has no template.
        jinja2.UndefinedError: a template names a figure that the files don't hold.
    """
    checkpoint = Path(checkpoint)
    records = read_records(checkpoint)
    config, training, metrics = records["config"], records["training"], records["metrics"]
    comparison = records.get("comparison")
    resolved = checkpoint.resolve()
    name = resolved.parent.name if resolved.name == "checkpoint" else resolved.name
    task, template, _ = TASKS[config["architecture"]]
    data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="octhub",
        pipeline_tag=task,
        tags=["medical", "ophthalmology", "oct", "retina"],
        model_name=name,
        eval_results=eval_results(config, metrics),
    )
    context = {
        "card_data": data.to_yaml(),
        "name": name,
        "source": repo_id or f"checkpoints/{name}",
        "repo_id": repo_id,
        "space_id": space_id,
        "config": config,
        "training": training,
        "metrics": metrics,
        "evaluations": external_last(metrics["evaluations"]),
        "comparison": comparison,
        "tables": tables(comparison) if comparison else None,
        "decision": records.get("decision") if config["serving"].get("bscan") else None,
        "pictured_trained_nothing": audited_clean(metrics, "examples"),
        "data": data_rows(training, metrics),
        "cost": cost_rows(training, metrics),
        "references": references(),
    }
    environment = make_environment()
    notes = checkpoint / "notes.md"
    text = notes.read_text(encoding="utf-8").strip() if notes.is_file() else ""
    context["notes"] = environment.from_string(text).render(context)
    card = environment.get_template(template).render(context)
    return ModelCard(re.sub(r"\n{3,}", "\n\n", card).rstrip() + "\n")


def read_records(checkpoint: Path) -> dict[str, dict]:
    """The JSON files of RECORDS, by name without suffix.

    Raises:
        FileNotFoundError: one that isn't optional is missing.
    """
    paths = [checkpoint / name for name in RECORDS if name not in OPTIONAL or (checkpoint / name).is_file()]
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def eval_results(config: dict, metrics: dict) -> list[EvalResult]:
    """The model-index: each figure that is defined, to four decimals."""
    task, _, figures = TASKS[config["architecture"]]
    return [
        EvalResult(
            task_type=task,
            dataset_type=key,
            dataset_name=e["data"],
            dataset_split=e["split"],
            metric_type=metric,
            metric_name=name,
            metric_value=round(e[field], 4),
        )
        for key, e in external_last(metrics["evaluations"]).items()
        for metric, name, field in figures
        if e[field] is not None
    ]


def audited_clean(metrics: dict, key: str) -> bool:
    """Did the leak audit look at these scans, and find none of them among those that trained?"""
    return metrics.get("audit", {}).get("tests", {}).get(key, {}).get("leaks") == []


def external_last(evaluations: dict[str, dict]) -> dict[str, dict]:
    """The evaluations, OCTDL's after the rest."""
    return dict(sorted(evaluations.items(), key=lambda item: item[0] == "octdl"))


def references() -> dict[str, str]:
    """references.bib's entries by key, in its order."""
    entries = (TEMPLATES / "references.bib").read_text(encoding="utf-8").strip().split("\n\n")
    return {entry.split("{")[1].split(",")[0]: entry for entry in entries}


def make_environment() -> jinja2.Environment:
    """Jinja with this folder's templates, the filters that print figures, and an error for what isn't there."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "num": lambda x: "–" if x is None else f"{x:.4f}",
        "pct": lambda x: "–" if x is None else f"{100 * x:.2f} %",
        "minutes": lambda seconds: f"{seconds / 60:.1f} min",
        "count": lambda n: "–" if n is None else f"{n:,}",
        "listed": lambda names: " and ".join(filter(None, [", ".join(list(names)[:-1]), *list(names)[-1:]])),
    }
    return environment


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.card", description=__doc__.split(":")[0])
    parser.add_argument("checkpoints", type=Path, nargs="+", help="folders whose README.md to render anew")
    args = parser.parse_args(argv)
    for checkpoint in args.checkpoints:
        try:
            write_card(checkpoint)
        except (OSError, KeyError, jinja2.UndefinedError) as e:
            print(
                f"error: {checkpoint}: {type(e).__name__} {e}; expected what octhub's training and evaluation write",
                file=sys.stderr,
            )
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The committed figures: card and README say what metrics.json says, and the bars hold."""

import json
from pathlib import Path

from huggingface_hub import ModelCard

from octhub import OctNet
from octhub.hub import DEFAULT_CLASSIFIER
from training.card import render_card

ROOT = Path(__file__).parent.parent
CHECKPOINT = ROOT / DEFAULT_CLASSIFIER
EVALUATIONS = json.loads((CHECKPOINT / "metrics.json").read_text())["evaluations"]


def test_card_is_what_the_figures_render():
    assert (CHECKPOINT / "README.md").read_text() == str(render_card(CHECKPOINT))


def test_card_has_a_model_index_and_its_pictures():
    card = ModelCard.load(CHECKPOINT / "README.md")
    results = {(r.dataset_type, r.metric_type): r.metric_value for r in card.data.eval_results}
    for key, figures in EVALUATIONS.items():
        assert results[key, "accuracy"] == round(figures["accuracy"], 4)
        assert f"confusion-{key}.png" in card.text
        assert (CHECKPOINT / f"confusion-{key}.png").is_file()


def test_readme_quotes_the_figures():
    readme = (ROOT / "README.md").read_text()
    for figures in EVALUATIONS.values():
        assert f"{100 * figures['accuracy']:.2f} %" in readme
    parameters = sum(p.numel() for p in OctNet.from_pretrained(CHECKPOINT).parameters())
    assert f"{parameters:,} parameters" in readme


def test_measured_figures_pass_the_bars():
    assert EVALUATIONS["oct2017-test"]["n"] == 300
    assert EVALUATIONS["oct2017-test"]["accuracy"] >= 0.990
    assert EVALUATIONS["octdl"]["accuracy"] >= 0.90

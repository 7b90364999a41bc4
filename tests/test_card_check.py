"""A card's faults are found, one by one, in cards of small checkpoints, which are fit as they are made."""

import json
import re
from pathlib import Path

import pytest
from synthetic import make_oct2017
from synthetic_masks import make_masked_scans
from tiny_checkpoints import tiny_octnet, tiny_unet

from octhub.datasets import FACTS, data_rows, facts
from training import card
from training.card_check import problems, stale
from training.card_tables import cost_rows


@pytest.fixture(scope="module")
def octnet(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    return tiny_octnet(folder / "tiny-octnet", make_oct2017(folder / "oct2017", patients=4, test_patients=1))


@pytest.fixture(scope="module")
def unet(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    return tiny_unet(folder / "tiny-unet", make_masked_scans(folder / "layers"))


@pytest.fixture(params=["octnet", "unet"])
def checkpoint(request) -> Path:
    return request.getfixturevalue(request.param)


def text_of(checkpoint: Path) -> str:
    return (checkpoint / "README.md").read_text()


def test_fresh_card_is_fit(checkpoint):
    text = text_of(checkpoint)
    assert problems(text, checkpoint) == []
    assert stale(text, checkpoint) == []
    assert "No leak audit was recorded" in text
    assert "12.3 s" in text


@pytest.mark.parametrize(
    "left", ["{{ name }}", "{% if", "TODO", "[More Information Needed]", "undefined", "accuracy None", "is nan", "NaN"]
)
def test_what_is_left_over(checkpoint, left):
    assert any("left over" in p for p in problems(text_of(checkpoint) + f"\n{left}\n", checkpoint))


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("![curves](curves.png)", "no file for the link curves.png"),
        ("[weights](../weights.bin)", "no file for the link ../weights.bin"),
        ("[empty]()", "no file for the link ()"),
        ("[more](#more-of-it)", "no heading for the link #more-of-it"),
        ("[paper](http://doi.org/10.1000/1)", "address http://doi.org/10.1000/1, expected https"),
        ("[blog](https://example.org/page)", "address https://example.org/page, expected https"),
        ("[hub](https://huggingface.co)", "address https://huggingface.co, expected"),
        ("see ftp://doi.org/file", "address ftp://doi.org/file, expected"),
    ],
)
def test_links_that_lead_nowhere(octnet, link, said):
    (found,) = problems(text_of(octnet) + f"\n{link}\n", octnet)
    assert found.startswith(said)


@pytest.mark.parametrize("link", ["[limits](#limits)", "[m](metrics.json)", "<https://doi.org/10.1000/1>", "`[a](b)`"])
def test_links_that_lead_somewhere(octnet, link):
    assert problems(text_of(octnet) + f"\n{link}\n", octnet) == []


def test_a_renamed_heading_or_a_lost_picture_breaks_its_links(octnet, tmp_path):
    assert problems(text_of(octnet).replace("## Limits", "## Limitations"), octnet) == [
        "no heading for the link #limits"
    ]
    for name in card.RECORDS[:3]:
        (tmp_path / name).write_bytes((octnet / name).read_bytes())
    assert problems(text_of(octnet), tmp_path) == ["no file for the link confusion-oct2017-test.png"]


def test_a_tampered_figure(checkpoint):
    text = text_of(checkpoint)
    front, body = text.split("\n---\n", 1)
    number = re.search(r"\*\*(\d+\.\d+)", body)[1]
    changed = f"{float(number) + (1.23 if '%' in body else 0.0377):.{len(number.partition('.')[2])}f}"
    found = problems(f"{front}\n---\n{body.replace(number, changed, 1)}", checkpoint)
    assert [p.split()[0] for p in found] == [changed]
    assert "isn't what the checkpoint's files render, from line" in stale(text.replace(number, changed), checkpoint)[0]


@pytest.mark.parametrize(
    "typed", ["accuracy of 0.98765", "98.765 %", "87 %", "about 4.321 min", "7.77 M parameters", "1.5"]
)
def test_a_figure_from_nowhere(octnet, typed):
    (found,) = problems(text_of(octnet) + f"\n{typed}\n", octnet)
    assert "is in none of the checkpoint's records" in found


@pytest.mark.parametrize(
    "fine", ["0.2 min", "25.00 %", "doi:10.1234/5.678", "CC BY 4.0", "torch 2.9.0", "`x = 0.77777`", "S04", "48.", "v1"]
)
def test_what_is_no_foreign_figure(octnet, fine):
    assert problems(text_of(octnet) + f"\n{fine}\n", octnet) == []


def test_a_figure_in_code_or_in_the_citation_is_none(octnet):
    assert problems(text_of(octnet) + "\n```\nlr = 0.12345\n```\n", octnet) == []


def test_model_index_is_compared(checkpoint):
    text = text_of(checkpoint)
    value = re.search(r"value: (\S+)", text)[1]
    found = problems(text.replace(f"value: {value}", "value: 0.1234", 1), checkpoint)
    assert len(found) == 2
    assert "which metrics.json doesn't hold" in found[0]
    assert f"{value}" in found[1]
    without = re.sub(r"^model-index:.*?(?=^---)", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "model-index: no " in problems(without, checkpoint)[0]
    assert "front matter: " in problems(text.replace("language: en", "language: [en"), checkpoint)[0]


def test_card_of_other_figures_is_stale(octnet, tmp_path):
    for path in octnet.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert "isn't what" in stale(text_of(octnet), tmp_path)[0]  # it has the folder's name
    assert card.main([str(tmp_path)]) == 0
    assert stale(text_of(tmp_path), tmp_path) == []
    (tmp_path / "notes.md").write_text("The accuracy is {{ evaluations['oct2017-test'].accuracy | pct }}.")
    assert "isn't what" in stale(text_of(tmp_path), tmp_path)[0]
    assert card.main([str(tmp_path)]) == 0
    assert problems(text_of(tmp_path), tmp_path) == []


def test_a_note_that_names_no_figure_is_refused(octnet, tmp_path, capsys):
    for path in octnet.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "notes.md").write_text("{{ training.nothing }}")
    assert card.main([str(tmp_path)]) == 2
    assert "UndefinedError" in capsys.readouterr().err
    assert card.main([str(tmp_path / "nowhere")]) == 2


def test_facts_have_references():
    for fact in FACTS.values():
        assert set(fact) == {"name", "credit", "url", "licence", "sharing", "cite"}
        assert set(fact["cite"]) <= set(card.references())


def test_data_sets_are_known_by_their_folders():
    assert facts("OCT2017_SAMPLE")["name"] == "OCT2017"
    assert facts("duke-dme")["name"] == "Duke DME"
    assert facts("livers") == {
        "name": "livers",
        "credit": None,
        "url": None,
        "licence": "not recorded",
        "sharing": None,
        "cite": [],
    }


def test_rows_of_data_without_an_audit(unet):
    records = card.read_records(unet)
    rows = data_rows(records["training"], records["metrics"])
    assert [(r["role"], r["name"], r["scans"], r["patients"]) for r in rows] == [
        ("training", "layers", 6, 3),
        ("test", "layers", 2, 1),
    ]


def test_cost_of_earlier_stages():
    own = {"seconds": 10.0, "hardware": "cpu", "recipe": {"encoder": "an encoder (sha256 0123456789abcdef)"}}
    unknown, this = cost_rows(own, {})
    assert (unknown["seconds"], this["seconds"]) == (None, 10.0)
    before = [{"what": "pretraining of the encoder", "sha256": "0123456789abcdef", "seconds": 5.0, "hardware": "cpu"}]
    assert [r["seconds"] for r in cost_rows(own, {"audit": {"before": before}})] == [5.0, 10.0]
    assert [r["seconds"] for r in cost_rows(own | {"before": before}, {})] == [5.0, 10.0]
    assert len(cost_rows(own | {"recipe": {}}, {})) == 1


def test_card_says_what_was_not_recorded(unet, tmp_path):
    for path in unet.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    training = json.loads((unet / "training.json").read_text())
    del training["before"]
    training["recipe"]["encoder"] = "an encoder pretrained on scans (sha256 0123456789abcdef)"
    (tmp_path / "training.json").write_text(json.dumps(training))
    assert card.main([str(tmp_path)]) == 0
    text = text_of(tmp_path)
    assert "| not recorded |" in text
    assert "neither are the earlier stages, which weren't recorded" in text
    assert problems(text, tmp_path) == []

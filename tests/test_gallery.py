"""The gallery replays with the committed checkpoint, and a gallery that disagrees is caught."""

import json
import shutil

import pytest

from octhub import Classifier
from octhub.__main__ import main
from octhub.gallery import EXAMPLES, GalleryError, load, replay


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.from_pretrained(device="cpu")


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    return tmp_path / "examples"


def edit(folder, change) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest["examples"][0])
    path.write_text(json.dumps(manifest))


def test_committed_gallery_agrees(classifier):
    outcomes = replay(classifier)
    assert [str(o) for o in outcomes if not o.ok] == []


def test_gallery_shows_every_class_twice_from_the_test_split():
    examples = load()
    for name in ("CNV", "DME", "DRUSEN", "NORMAL"):
        assert sum(e.label == name for e in examples) >= 2
    assert {e.split for e in examples} == {"test"}
    assert len({e.patient for e in examples}) == len(examples)
    assert {e.licence for e in examples} == {"CC BY 4.0"}
    assert all("Kermany" in e.attribution for e in examples)
    listed = {e.path.name for e in examples} | {"manifest.json"}
    assert {p.name for p in EXAMPLES.iterdir()} == listed


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda e: e.update(label="DRUSEN"), "another label"),
        (lambda e: e.update(probability=0.1), "outside the tolerance"),
        (lambda e: e.update(sha256="0" * 64), "sha256"),
        (lambda e: e.update(file="gone.jpeg"), "missing"),
    ],
)
def test_disagreement_is_caught(classifier, copy, change, problem):
    edit(copy, change)
    first, *others = replay(classifier, copy)
    assert problem in first.problem
    assert all(o.ok for o in others)


def test_verify_command(copy, capsys):
    assert main(["verify", "--device", "cpu"]) == 0
    assert "8 of 8 examples agree" in capsys.readouterr().out
    edit(copy, lambda e: e.update(probability=0.1))
    assert main(["verify", "--examples", str(copy), "--device", "cpu"]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_record_makes_a_new_promise_but_not_a_new_label(classifier, copy, capsys):
    edit(copy, lambda e: e.update(probability=0.1, label="DRUSEN"))
    assert main(["verify", "--record", "--examples", str(copy), "--device", "cpu"]) == 1
    assert "another label" in capsys.readouterr().out
    edit(copy, lambda e: e.update(label="CNV", probability=0.1))
    assert main(["verify", "--record", "--examples", str(copy), "--device", "cpu"]) == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"examples": [{"file": "a"}]}', '{"examples": [1]}'])
def test_damaged_manifest_is_named(tmp_path, text, capsys):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(GalleryError, match=r"manifest\.json"):
        load(tmp_path)
    assert main(["verify", "--examples", str(tmp_path), "--device", "cpu"]) == 2


def test_missing_manifest_is_named(tmp_path):
    with pytest.raises(GalleryError, match="no such file"):
        load(tmp_path)

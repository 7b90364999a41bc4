"""The gallery replays with the committed checkpoint, and a gallery that disagrees is caught."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_masks import masked_bscan

from octhub import Classifier, Segmenter, ServingConfig, UNet
from octhub.__main__ import main
from octhub.gallery import EXAMPLES, GalleryError, load, record, replay
from octhub.mask_render import label_png

NAMES = ("above", "layer", "fluid")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.from_pretrained(device="cpu")


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    return tmp_path / "examples"


@pytest.fixture(scope="module")
def unet(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("unet")
    serving = ServingConfig(NAMES, (64, 96), framing="whole")
    model = UNet(num_classes=3, encoder="resnet10t", decoder_channels=(32, 16, 16, 8, 8), serving=serving)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def segmenter(unet) -> Segmenter:
    return Segmenter.from_pretrained(unet, device="cpu")


@pytest.fixture
def layers(tmp_path, segmenter):
    """A gallery for a segmenter alone: a scan with the answer as its mask, and one whose largest class is found."""
    folder, examples = tmp_path / "layers", []
    folder.mkdir()
    for name in ("mask.png", "class.png"):
        Image.fromarray(masked_bscan(np.random.default_rng(len(name)))[0]).save(folder / name)
        origin = dict.fromkeys(("source", "licence", "attribution", "patient", "split"), "synthetic")
        examples.append({"file": name, "sha256": sha256(folder / name), **origin})
    truth = folder / "mask-truth.png"
    truth.write_bytes(label_png(segmenter(folder / "mask.png").mask, NAMES))
    largest = NAMES[np.bincount(segmenter(folder / "class.png").mask.ravel()).argmax()]
    examples[0]["segment"] = {"mask": truth.name, "mask_sha256": sha256(truth)}
    examples[1]["segment"] = {"class": largest, "tolerance": 0.3}
    (folder / "manifest.json").write_text(json.dumps({"version": 1, "examples": examples}))
    return folder


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def entries(folder) -> list[dict]:
    return json.loads((folder / "manifest.json").read_text())["examples"]


def edit(folder, change, number: int = 0) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest["examples"][number])
    path.write_text(json.dumps(manifest))


def test_committed_gallery_agrees(classifier):
    segmenter = Segmenter.from_pretrained(device="cpu") if any(e.segment for e in load()) else None
    outcomes = replay(classifier, segmenter=segmenter)
    assert [str(o) for o in outcomes if not o.ok] == []


def test_gallery_shows_every_class_twice_from_the_test_split():
    examples = load()
    for name in ("CNV", "DME", "DRUSEN", "NORMAL"):
        assert sum(e.label == name for e in examples) >= 2
    assert {e.split for e in examples} == {"test"}
    classified = [e for e in examples if e.label]
    assert len({e.patient for e in classified}) == len(classified)
    assert {e.licence for e in examples} <= {"CC BY 4.0", "MIT"}
    assert all("Kermany" in e.attribution for e in classified)
    listed = (
        {e.path.name for e in examples}
        | {e.mask.name for e in examples if e.mask}
        | {"manifest.json", "LICENSE-OCTLayers"}
    )
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
    assert main(["verify", "--examples", str(copy), "--device", "cpu"]) == 0
    count = len(entries(copy))
    assert f"{count} of {count} examples agree" in capsys.readouterr().out
    edit(copy, lambda e: e.update(probability=0.1))
    assert main(["verify", "--examples", str(copy), "--device", "cpu"]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_record_makes_a_new_promise_but_not_a_new_label(classifier, copy, capsys):
    edit(copy, lambda e: e.update(probability=0.1, label="DRUSEN"))
    assert main(["verify", "--record", "--examples", str(copy), "--device", "cpu"]) == 1
    assert "another label" in capsys.readouterr().out
    edit(copy, lambda e: e.update(label="CNV", probability=0.1))
    assert main(["verify", "--record", "--examples", str(copy), "--device", "cpu"]) == 0


def test_segmenter_promises_are_recorded_and_kept(segmenter, layers):
    before = replay(None, layers, segmenter)
    assert [o.problem for o in before] == ["miou not recorded yet", "pixels not recorded yet"]
    outcomes = record(None, layers, segmenter)
    assert [str(o) for o in outcomes if not o.ok] == []
    first, second = (e["segment"] for e in entries(layers))
    assert first["miou"] == 1
    assert first["tolerance"] == 0.02
    assert second["pixels"] == (segmenter(layers / "class.png").mask == NAMES.index(second["class"])).sum()
    assert second["tolerance"] == 0.3  # stays
    example = load(layers)[0]
    assert (example.label, example.mask) == (None, layers / "mask-truth.png")


@pytest.mark.parametrize(
    ("number", "change", "problem"),
    [
        (0, {"miou": 0.97}, "miou outside the tolerance"),
        (0, {"miou": 0.97, "tolerance": 0.04}, ""),
        (0, {"mask_sha256": "0" * 64}, "mask-truth.png has sha256"),
        (0, {"mask": "gone.png"}, "gone.png is missing"),
        (0, {"mask": "class.png", "mask_sha256": None}, "without a class"),
        (1, {"pixels": 9}, "pixels outside the tolerance"),
        (1, {"class": "drusen"}, "no class 'drusen', expected one of above, layer, fluid"),
    ],
)
def test_broken_promises_of_a_segmenter_are_caught(segmenter, layers, number, change, problem):
    record(None, layers, segmenter)
    if "mask_sha256" in change and change["mask_sha256"] is None:
        change = change | {"mask_sha256": sha256(layers / change["mask"])}
    edit(layers, lambda e: e["segment"].update(change), number)
    outcomes = replay(None, layers, segmenter)
    assert problem in outcomes[number].problem
    assert outcomes[number].ok == (not problem)
    assert outcomes[1 - number].ok


def test_class_that_is_not_found_fails_even_when_recorded(segmenter, layers):
    counts = np.bincount(segmenter(layers / "class.png").mask.ravel(), minlength=3)
    absent = NAMES[counts.argmin()]
    segmenter = Asked(segmenter, hide=NAMES.index(absent))
    edit(layers, lambda e: e["segment"].update({"class": absent}), 1)
    assert record(None, layers, segmenter)[1].problem == "it isn't found"


class Asked:
    """A segmenter that never answers one class."""

    def __init__(self, segmenter: Segmenter, hide: int):
        self.segmenter, self.hide = segmenter, hide

    def __call__(self, scan):
        answer = self.segmenter(scan)
        answer.mask[answer.mask == self.hide] = (self.hide + 1) % 3
        return answer


def test_promises_of_a_model_that_is_not_asked_are_left_out(classifier, segmenter, layers, copy):
    assert replay(classifier, layers) == []
    edit(copy, lambda e: e.update(segment={"class": "drusen"}))
    assert len(replay(classifier, copy)) == len([e for e in load(copy) if e.label])
    first, second, *_ = replay(classifier, copy, segmenter)
    assert first.ok
    assert second.problem == "no class 'drusen', expected one of above, layer, fluid"


def test_verify_loads_only_the_models_that_are_asked(unet, copy, layers, capsys):
    only = ["--examples", str(layers), "--classifier", "./nowhere", "--segmenter", unet, "--device", "cpu"]
    assert main(["verify", *only]) == 1
    assert "0 of 2 examples agree" in capsys.readouterr().out
    assert main(["verify", "--record", *only]) == 0
    printed = capsys.readouterr().out
    assert "ok   mask.png         mIoU 1.0000    (expected mIoU 1.0000 ± 0.02)" in printed
    assert "2 of 2 examples agree" in printed
    manifest = copy / "manifest.json"
    kept = [e for e in entries(copy) if "segment" not in e]
    manifest.write_text(json.dumps({"examples": kept}))
    assert main(["verify", "--examples", str(copy), "--segmenter", "./nowhere", "--device", "cpu"]) == 0
    edit(copy, lambda e: e.update(segment={"class": "fluid", "pixels": 9}))
    assert main(["verify", "--examples", str(copy), "--segmenter", "./nowhere", "--device", "cpu"]) == 2
    assert "./nowhere" in capsys.readouterr().err


def test_example_counts_once_though_it_promises_twice(unet, copy, capsys):
    kept = [e for e in entries(copy) if "segment" not in e][:2]
    (copy / "manifest.json").write_text(json.dumps({"examples": kept}))
    edit(copy, lambda e: e.update(segment={"class": "drusen", "pixels": 9}, probability=0.1))
    assert main(["verify", "--examples", str(copy), "--segmenter", unet, "--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("FAIL") == 2
    assert "1 of 2 examples agree" in printed


@pytest.mark.parametrize(
    "change",
    [
        {"segment": {"mask": "mask-truth.png"}},
        {"segment": {"pixels": 9}},
        {"segment": {"class": "fluid", "miou": 0.5}},
        {"segment": {"class": "fluid", "pixels": "9"}},
        {"segment": "fluid"},
        {"segment": {}},
        {"label": "CNV", "probability": "high"},
    ],
)
def test_manifest_that_promises_nonsense_is_named(layers, change):
    edit(layers, lambda e: e.update(change))
    with pytest.raises(GalleryError, match=r"manifest\.json"):
        load(layers)


def test_gallery_that_cannot_be_recorded_is_named(segmenter, layers, capsys):
    before = (layers / "manifest.json").read_text()
    (layers / "class.png").write_bytes(b"no picture")
    with pytest.raises(GalleryError, match=r"class\.png can't be recorded"):
        record(None, layers, segmenter)
    assert (layers / "manifest.json").read_text() == before


@pytest.mark.parametrize("text", ["{", "[]", '{"examples": [{"file": "a"}]}', '{"examples": [1]}'])
def test_damaged_manifest_is_named(tmp_path, text, capsys):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(GalleryError, match=r"manifest\.json"):
        load(tmp_path)
    assert main(["verify", "--examples", str(tmp_path), "--device", "cpu"]) == 2


def test_missing_manifest_is_named(tmp_path):
    with pytest.raises(GalleryError, match="no such file"):
        load(tmp_path)

"""The pictures of a segmenter's card: which examples, what is recorded of them, and how large they are."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from synthetic_masks import make_masked_scans
from tiny_checkpoints import tiny_unet

from octhub.gallery import load
from training.card_check import problems
from training.example_pictures import chosen, main


@pytest.fixture
def folder(tmp_path):
    """A gallery of two scans: one with an expert's mask, one in which fluid is to be found."""
    scans = make_masked_scans(tmp_path / "layers")
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    examples = []
    for name, number in (("class.png", 0), ("masked.png", 1)):
        (gallery / name).write_bytes((scans / f"images/S04_{number}.png").read_bytes())
        origin = {"source": "made up", "licence": "MIT", "attribution": "made up by a test", "patient": "S04"}
        sha256 = hashlib.sha256((gallery / name).read_bytes()).hexdigest()
        examples.append({"file": name, "sha256": sha256, "split": "test", **origin})
    mask = scans / "masks/S04_1.png"
    (gallery / "masked-mask.png").write_bytes(mask.read_bytes())
    examples[0]["segment"] = {"class": "fluid"}
    examples[1]["segment"] = {"mask": "masked-mask.png", "mask_sha256": hashlib.sha256(mask.read_bytes()).hexdigest()}
    (gallery / "manifest.json").write_text(json.dumps({"version": 1, "examples": examples}))
    return tmp_path


def test_pictures_are_drawn_recorded_and_shown(folder):
    checkpoint = tiny_unet(folder / "unet", folder / "layers")
    assert main([str(checkpoint), "--examples", str(folder / "gallery"), "--device", "cpu"]) == 0
    found = json.loads((checkpoint / "metrics.json").read_text())["examples"]
    assert [(e["file"], e["picture"]) for e in found] == [
        ("masked.png", "overlay-masked.png"),
        ("class.png", "overlay-class.png"),
    ]
    assert 0 <= found[0]["miou"] <= 1
    assert found[1]["miou"] is None
    for example in found:
        path = checkpoint / example["picture"]
        assert path.stat().st_size < 250_000
        with Image.open(path) as image:
            assert image.mode == "P"
            assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 16
    text = (checkpoint / "README.md").read_text()
    assert problems(text, checkpoint) == []
    assert f"agree with an mIoU of {found[0]['miou']:.4f}" in text
    assert text.count("made up by a test, MIT") == 2
    assert "trained nothing" not in text  # nobody looked yet


def test_a_missing_gallery_is_said(folder, capsys):
    checkpoint = tiny_unet(folder / "unet", folder / "layers")
    assert main([str(checkpoint), "--examples", str(folder / "nowhere")]) == 2
    assert "no such file, expected the gallery's manifest" in capsys.readouterr().err


def test_the_repository_has_one_of_each_kind():
    examples = chosen(load())
    assert [e.mask is not None for e in examples] == [True, False]

"""Thresholds are measured on a made-up data set, written into both checkpoints, and told on their cards."""

import io
import json
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from synthetic import bscan, make_oct2017
from synthetic_masks import CLASS_NAMES
from tiny_checkpoints import tiny_octnet

from octhub import Classifier, OctNet, ServingConfig, UNet
from octhub.decision import NOT_BSCAN, UNSURE
from training import card_check, golden, other_images
from training.measure_decision import DECISION, main
from training.release_check import problems

LABELS = ("DME", "NO", "ERM", "RAO", "RVO", "VID")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """(classifier, segmenter) after the command, and how each was before."""
    root = tmp_path_factory.mktemp("decision")
    data = make_oct2017(root / "oct2017")
    rng = np.random.default_rng(5)
    rows = ["file,label,patient,group,source"]
    (root / "octdl").mkdir()
    for i in range(36):
        label = LABELS[i % 6]
        Image.fromarray(bscan("DME" if label == "DME" else "NORMAL", rng)).save(root / f"octdl/{i}.jpg")
        rows.append(f"octdl/{i}.jpg,{label},{i},octdl:{i},made up")
    (root / "octdl.csv").write_text("\n".join(rows))
    (root / "others/noise").mkdir(parents=True)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (80, 90), np.uint8)).save(root / f"others/noise/{i}.png")
    octnet = tiny_octnet(root / "octnet", data)
    golden.record(octnet)
    unet = root / "unet"
    serving = ServingConfig(CLASS_NAMES, (64, 96), framing="whole")
    layout = {"num_classes": len(CLASS_NAMES), "encoder": "resnet10t", "decoder_channels": (16, 8, 8, 8, 8)}
    UNet(**layout, serving=serving).save_pretrained(unet)
    before = shutil.copytree(octnet, root / "before")
    command = [
        octnet,
        "--segmenter",
        unet,
        "--data",
        data,
        "--octdl",
        root / "octdl",
        "--others",
        root / "others",
        "--test",
    ]
    assert main([str(word) for word in command]) == 0
    return octnet, unet, before, data


def test_thresholds_are_served(measured):
    octnet, unet, _, data = measured
    classifier = Classifier.from_pretrained(octnet, device="cpu")
    assert classifier.serving.bscan.limit > 0
    assert classifier.serving.bscan == UNet.from_pretrained(unet).serving.bscan
    assert len(classifier.model.memory) == json.loads((octnet / DECISION).read_text())["unsure"]["remembered"]
    assert classifier(np.zeros((64, 64), np.uint8)).decision == NOT_BSCAN
    decisions = [classifier(path).decision for path in sorted(data.rglob("train/*/*.jpeg"))]
    assert np.mean([d in (NOT_BSCAN, UNSURE) for d in decisions]) < 0.2


def test_answers_stay_what_they_were(measured):
    octnet, _, before, data = measured
    path = next(data.rglob("test/*/*.jpeg"))
    new, old = (Classifier.from_pretrained(folder, device="cpu")(path) for folder in (octnet, before))
    assert (new.label, new.probabilities) == (old.label, old.probabilities)
    assert golden.problems(octnet) == []
    metrics, older = (json.loads((folder / "metrics.json").read_text()) for folder in (octnet, before))
    assert metrics["evaluations"] == older["evaluations"] != {}
    assert metrics["sha256"] != older["sha256"]
    assert json.loads((octnet / DECISION).read_text())["sha256"] == metrics["sha256"]


def test_card_tells_what_was_measured(measured):
    octnet, _, _, _ = measured
    text = (octnet / "README.md").read_text()
    record = json.loads((octnet / DECISION).read_text())
    assert "## When it doesn't answer" in text
    assert f"| noise | 4 | {record['bscan']['kinds'][0]['auroc']:.4f} |" in text
    assert card_check.problems(text, octnet) == []
    assert problems(octnet) == []


def test_other_validation_scans_are_refused(measured, tmp_path, capsys):
    _, _, before, data = measured
    shutil.copytree(before, tmp_path / "octnet")
    record = json.loads((tmp_path / "octnet/training.json").read_text())
    record["val"]["sha256"] = "0" * 64
    (tmp_path / "octnet/training.json").write_text(json.dumps(record))
    words = [tmp_path / "octnet", "--data", data, "--octdl", tmp_path, "--others", tmp_path]
    assert main([str(word) for word in words]) == 2
    assert "aren't those" in capsys.readouterr().err
    assert OctNet.from_pretrained(tmp_path / "octnet").serving.bscan is None


def dicom(pixels: np.ndarray, interpretation: str) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, interpretation
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = pixels.tobytes()
    with io.BytesIO() as buffer:
        pydicom.dcmwrite(buffer, dataset)
        return buffer.getvalue()


def test_other_images_come_out_of_archives(tmp_path, monkeypatch):
    listed = tmp_path / "listed.json"
    listed.write_text(json.dumps({"X-rays": ["pack/a.dcm", "pack/b.dcm"]}))
    monkeypatch.setattr(other_images, "LISTED", listed)
    ramp = np.linspace(0, 4000, 64 * 64).reshape(64, 64).astype(np.uint16)
    (tmp_path / "packages").mkdir()
    with zipfile.ZipFile(tmp_path / "packages/pack.whl", "w") as wheel:
        wheel.writestr("pack/a.dcm", dicom(ramp, "MONOCHROME2"))
        wheel.writestr("pack/b.dcm", dicom(ramp, "MONOCHROME1"))
    assert other_images.main([str(tmp_path / "packages"), str(tmp_path / "out")]) == 0
    a, b = (np.asarray(Image.open(tmp_path / f"out/X-rays/{n}_dcm.png")) for n in "ab")
    assert (a[0, 0], a[-1, -1]) == (0, 255)
    assert np.array_equal(a, 255 - b)


def test_missing_package_is_named(tmp_path, monkeypatch, capsys):
    listed = tmp_path / "listed.json"
    listed.write_text(json.dumps({"X-rays": ["pack/a.dcm"]}))
    monkeypatch.setattr(other_images, "LISTED", listed)
    assert other_images.main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert "pack/a.dcm: in no archive" in capsys.readouterr().err

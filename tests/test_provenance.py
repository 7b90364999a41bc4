"""What an answer came from: the model's source and hash, the input's hash, and what tables and JSON say of them."""

import csv
import hashlib
import io
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_client import HubClient
from hub_server import HubServer
from PIL import Image
from synthetic import bscan

from octhub import Classifier, OctNet, ScanError, ServingConfig, __version__, read_scan
from octhub.provenance import COLUMNS, columns, model_facts, provenance, read_input

SERVING = ServingConfig(("CNV", "DME", "DRUSEN", "NORMAL"), (64, 128), (0.2,), (0.25,), temperature=1.5)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("somewhere") / "my-octnet"
    OctNet(channels=(4, 4, 8, 8, 8, 16), hidden=(8, 8), serving=SERVING).save_pretrained(folder)
    return folder


@pytest.fixture
def scan(tmp_path) -> Path:
    Image.fromarray(bscan("DME", np.random.default_rng(0))).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


class TestModel:
    def test_a_folder_is_known_by_its_name_and_hash(self, checkpoint, monkeypatch):
        digest = sha256((checkpoint / "model.safetensors").read_bytes())
        monkeypatch.chdir(checkpoint)
        for source in (checkpoint, "."):
            facts = model_facts(Classifier.from_pretrained(source, device="cpu"))
            assert [facts[key] for key in ("source", "revision", "sha256")] == ["my-octnet", None, digest]

    def test_a_hub_repo_is_known_by_its_commit(self, checkpoint, scan, tmp_path):
        files = {p.name: p.read_bytes() for p in checkpoint.iterdir()}
        with HubServer() as hub:
            first = hub.put("owner/octnet", files)
            second = hub.put("owner/octnet", files | {"README.md": b"Another commit."})
            with HubClient(hub.environment(tmp_path)) as client:
                for source, commit in (("owner/octnet", second), (f"owner/octnet@{first}", first)):
                    table = tmp_path / "out.csv"
                    arguments = ("classify", str(scan), "--csv", str(table), "--classifier", source, "--device", "cpu")
                    assert client.run("octhub.__main__", *arguments).returncode == 0
                    (row,) = csv.DictReader(table.read_text().splitlines())
                    assert row["model"] == f"owner/octnet@{commit}"
                    assert row["model_sha256"] == sha256(files["model.safetensors"])

    def test_a_model_that_was_not_loaded_has_none(self, scan):
        classifier = Classifier(OctNet(channels=(4, 4, 8, 8, 8, 16), hidden=(8, 8), serving=SERVING), "cpu")
        record = provenance(classifier, read_input(scan)[1])
        assert [record["model"][key] for key in ("source", "revision", "sha256")] == [None] * 3
        assert columns(record)["model"] == columns(record)["model_sha256"] == ""


class TestInput:
    def test_the_hash_is_the_files_whatever_brings_it(self, scan):
        data = scan.read_bytes()
        for source, name in ((scan, "scan.png"), (str(scan), "scan.png"), (data, "the image"), (io.BytesIO(data), "")):
            pixels, given = read_input(source)
            assert np.array_equal(pixels, read_scan(scan))
            assert (given.sha256, given.sha256_of) == (sha256(data), "file")
            assert (given.height, given.width) == pixels.shape
            assert given.file == name or not name
        assert read_input(data, "left.png")[1].file == "left.png"

    def test_without_a_file_it_is_the_pixels(self, scan):
        array = np.asarray(Image.open(scan))
        for source in (array, Image.fromarray(array)):
            pixels, given = read_input(source)
            assert (given.sha256, given.sha256_of) == (sha256(pixels.astype("<f4").tobytes()), "pixels")
            assert given.file == ""

    def test_bad_scans_are_refused_as_ever(self, tmp_path):
        (tmp_path / "bad.png").write_bytes(b"no picture")
        for path in (tmp_path / "bad.png", tmp_path / "missing.png", tmp_path):
            with pytest.raises(ScanError) as ours:
                read_input(path)
            with pytest.raises(ScanError) as theirs:
                read_scan(path)
            assert str(ours.value) == str(theirs.value)


def test_a_record_says_all_that_the_answer_depends_on(checkpoint, scan):
    classifier = Classifier.from_pretrained(checkpoint, device="cpu")
    text = json.dumps(provenance(classifier, read_input(scan)[1]))
    record = json.loads(text)
    assert record["octhub"] == __version__
    assert "Research use only" in record["note"]
    age = datetime.now(timezone.utc) - datetime.fromisoformat(record["time"].replace("Z", "+00:00"))
    assert timedelta(seconds=-2) < age < timedelta(minutes=1)
    model = record["model"]
    assert (model["source"], model["revision"], model["architecture"]) == ("my-octnet", None, "OctNet")
    assert model["preprocessing"] == {
        "framing": "retina",
        "size": [64, 128],
        "mean": [0.2],
        "std": [0.25],
        "mirror": False,
        "logit_offsets": [],
    }
    assert (model["temperature"], model["class_names"]) == (1.5, list(SERVING.class_names))
    assert record["input"] == {
        "file": "scan.png",
        "sha256": sha256(scan.read_bytes()),
        "sha256_of": "file",
        "height": 160,
        "width": 200,
    }
    for path in (checkpoint.parent, scan.parent):  # whoever gets the record needn't know this machine
        assert str(path) not in text


def test_columns_are_the_same_in_short(checkpoint, scan):
    classifier = Classifier.from_pretrained(checkpoint, device="cpu")
    record = provenance(classifier, read_input(scan)[1])
    short = columns(record)
    assert list(short) == COLUMNS
    assert list(short.values()) == ["my-octnet", record["model"]["sha256"], record["input"]["sha256"], __version__]
    record["model"] |= {"source": "owner/octnet", "revision": "0" * 40}
    assert columns(record)["model"] == f"owner/octnet@{'0' * 40}"
    assert columns(provenance(classifier, None))["input_sha256"] == ""

"""Nothing that somebody could have pickled is opened as a pickle: planted ones make a file when they are."""

import hashlib
import json
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from contract import forget_hash
from evil_pickle import evil, save_evil
from hub_client import QUICK, HubClient
from hub_server import HubServer
from test_states import small

from octhub import CheckpointError, Classifier, OctNet
from octhub.__main__ import main
from training.encoder_start import encoder_start
from training.samples import DataError

PLANTED = (
    "pytorch_model.bin",
    "model.pkl",
    "model.pt",
    "optimizer.bin",
    "training_args.bin",
    "config.pkl",
    "model.ckpt",
)
"""What other libraries would look for beside the weights, or instead of them."""

FORMS = {"pickle": lambda path, marker: path.write_bytes(evil(marker)), "torch.save": save_evil}


@pytest.fixture
def marker(tmp_path) -> Path:
    """What exists once a planted pickle has been opened; in the end it must not."""
    path = tmp_path / "was-opened"
    yield path
    assert not path.exists()


@pytest.fixture(params=FORMS)
def plant(request, marker):
    """plant(path): put a pickle there."""
    return lambda path: FORMS[request.param](path, marker)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    small(0.01).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("form", FORMS)
def test_a_planted_pickle_tells_when_it_is_opened(tmp_path, form):
    """Or the tests below would say nothing."""
    FORMS[form](tmp_path / "evil", tmp_path / "was-opened")
    if form == "pickle":
        pickle.loads((tmp_path / "evil").read_bytes()).close()
    else:
        torch.load(tmp_path / "evil", weights_only=False).close()
    assert (tmp_path / "was-opened").exists()


def test_beside_the_weights_it_is_not_opened(checkpoint, plant, capsys, tmp_path, root):
    for name in PLANTED:
        plant(checkpoint / name)
    assert OctNet.from_pretrained(checkpoint)
    assert Classifier.from_pretrained(checkpoint, device="cpu")
    scan = root / "examples/dme-1.jpeg"
    assert main(["classify", str(scan), "--classifier", str(checkpoint), "--device", "cpu"]) == 0


def test_instead_of_the_weights_it_is_not_opened(checkpoint, plant):
    (checkpoint / "model.safetensors").unlink()
    for name in PLANTED:
        plant(checkpoint / name)
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        OctNet.from_pretrained(checkpoint)


def test_called_safetensors_it_is_not_opened(checkpoint, plant, capsys, root):
    path = checkpoint / "model.safetensors"
    plant(path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: sha256"):
        OctNet.from_pretrained(checkpoint)
    forget_hash(checkpoint)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a whole safetensors file"):
        OctNet.from_pretrained(checkpoint)
    command = ["classify", str(root / "examples/dme-1.jpeg"), "--classifier", str(checkpoint), "--device", "cpu"]
    assert main(command) == 2
    assert "not a whole safetensors file" in capsys.readouterr().err


def test_called_config_it_is_not_opened(checkpoint, plant):
    plant(checkpoint / "config.json")
    with pytest.raises(CheckpointError, match=r"config\.json is not JSON"):
        OctNet.from_pretrained(checkpoint)


def test_as_an_encoder_it_is_not_opened(tmp_path, plant):
    plant(tmp_path / "encoder.safetensors")
    with pytest.raises(DataError, match=r"encoder\.safetensors"):
        encoder_start(str(tmp_path / "encoder.safetensors"), "resnet10t", 1)


def test_as_a_scan_it_is_not_opened(checkpoint, tmp_path, plant, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    plant(folder / "evil.png")
    with zipfile.ZipFile(folder / "evil.zip", "w") as file:
        file.write(folder / "evil.png", "inner.png")
    paths = [str(folder / name) for name in ("evil.png", "evil.zip")]
    assert main(["classify", *paths, "--classifier", str(checkpoint), "--device", "cpu"]) == 2
    assert "0 classified, " in capsys.readouterr().err  # torch.save makes a ZIP, which holds no image


def test_app_starts_without_opening_it(app, checkpoint, plant, segmenter_folder, monkeypatch):
    import gradio as gr

    launched = []
    monkeypatch.setattr(gr.Blocks, "launch", lambda self, **kwargs: launched.append(kwargs))
    for name in PLANTED:
        plant(checkpoint / name)
    arguments = ["--classifier", str(checkpoint), "--segmenter", str(segmenter_folder)]
    app().main(arguments)
    assert len(launched) == 1
    plant(checkpoint / "model.safetensors")
    with pytest.raises(SystemExit, match=r"model\.safetensors"):
        sys.modules["app"].main(arguments)
    assert len(launched) == 1


def test_from_the_hub_it_is_not_even_fetched(checkpoint, plant, tmp_path):
    for name in PLANTED:
        plant(checkpoint / name)
    files = {p.name: p.read_bytes() for p in checkpoint.iterdir()}
    evil_weights = files["pytorch_model.bin"]
    config = json.loads(files["config.json"]) | {"weights_sha256": hashlib.sha256(evil_weights).hexdigest()}
    with HubServer() as hub, HubClient(hub.environment(tmp_path / "home", token=False) | QUICK) as client:
        hub.put("owner/beside", files)
        assert "fingerprint" in client.load("OctNet", "owner/beside")
        hub.put("owner/instead", {n: d for n, d in files.items() if n != "model.safetensors"})
        assert "has no model.safetensors, expected one" in client.load("OctNet", "owner/instead")["error"]
        changed = {"model.safetensors": evil_weights, "config.json": json.dumps(config).encode()}
        hub.put("owner/renamed", files | changed)
        assert "not a whole safetensors file" in client.load("OctNet", "owner/renamed")["error"]
        assert not [line for line in hub.transcript if any(name in line for name in PLANTED)]

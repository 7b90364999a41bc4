"""What a checkpoint answers to the made-up scan, recorded and compared."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from octhub import CheckpointError, OctNet, UNet
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER, locate
from octhub.serving import ServingConfig
from training import golden

CLASSIFIER = ServingConfig(("CNV", "DME", "DRUSEN", "NORMAL"), (96, 192), temperature=1.3)
SEGMENTER = ServingConfig(("ground", "layer", "fluid"), (64, 96), framing="whole", mirror=True)


@pytest.fixture(params=["OctNet", "UNet"])
def checkpoint(request, tmp_path):
    torch.manual_seed(0)
    serving = {"OctNet": CLASSIFIER, "UNet": SEGMENTER}[request.param]
    model = {"OctNet": OctNet, "UNet": UNet}[request.param](num_classes=len(serving.class_names), serving=serving)
    with torch.no_grad():
        for parameter in model.parameters():  # so that a random network's logits depend on its input as a trained one's
            parameter.mul_(2)
    model.eval().save_pretrained(tmp_path)
    return tmp_path


def test_made_up_scan_is_the_same_everywhere():
    digest = hashlib.sha256(golden.made_up_scan().tobytes()).hexdigest()
    assert digest == "6db77792d4ed9df2392ebebcc695120cb5aa6d5126b7c7fa630fbe78ea002817"


def test_recorded_checkpoint_agrees(checkpoint):
    golden.record(checkpoint)
    assert golden.problems(checkpoint) == []


def test_one_changed_weight_is_seen(checkpoint):
    golden.record(checkpoint)
    model = golden.load(checkpoint)
    with torch.no_grad():
        next(p for p in reversed(list(model.parameters())) if p.ndim == 1)[0] += 0.1  # a bias of the last layer
    model.save_pretrained(checkpoint)
    assert "differ from golden.json's by up to" in golden.problems(checkpoint)[0]


@pytest.mark.parametrize("change", [{"mean": (0.3,)}, {"size": (64, 128)}])
def test_changed_configuration_is_seen(checkpoint, change):
    golden.record(checkpoint)
    model = golden.load(checkpoint)
    model.set_serving(replace(model.serving, **change))
    model.save_pretrained(checkpoint)
    assert golden.problems(checkpoint)


def test_missing_or_damaged_record_is_named(checkpoint):
    assert "no golden.json" in golden.problems(checkpoint)[0]
    (checkpoint / "golden.json").write_text("{")
    assert "can't be read" in golden.problems(checkpoint)[0]
    golden.record(checkpoint)
    record = json.loads((checkpoint / "golden.json").read_text())
    for change, words in (({"scan": "0"}, "another scan"), ({"logits": [1.0]}, "logits of shape")):
        (checkpoint / "golden.json").write_text(json.dumps(record | change))
        assert words in golden.problems(checkpoint)[0]


def test_unknown_architecture_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "ResNet"}')
    with pytest.raises(CheckpointError, match="names no architecture of OctNet, UNet"):
        golden.load(tmp_path)


@pytest.mark.parametrize("name", [DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER])
def test_committed_checkpoints_answer_as_recorded(name):
    assert golden.problems(locate(name)) == []

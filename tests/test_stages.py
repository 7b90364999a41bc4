"""A training's record tells what came before it."""

import json

import pytest
import timm
from synthetic_masks import make_masked_scans

from training import train_unet
from training.pretrain_encoder import save_encoder
from training.samples import DataError
from training.stages import recorded_stages, stages_before

RECIPE = [
    *("--size", "64", "64", "--crop", "64", "64", "--crops", "8", "--batch-size", "4", "--epochs", "1"),
    *("--backbone", "resnet10t", "--workers", "0", "--cpu", "--test", "S04"),
]


def test_a_training_records_the_stages_before_it(tmp_path):
    folder, encoder = make_masked_scans(tmp_path / "layers"), tmp_path / "encoder.safetensors"
    save_encoder(timm.create_model("resnet10t", in_chans=1, num_classes=4), encoder)
    (tmp_path / "encoder.json").write_text(json.dumps({"task": "classes", "seconds": 5.0, "hardware": "cpu"}))
    args = ["--data", str(folder), *RECIPE]
    first, second = tmp_path / "first", tmp_path / "second"
    assert train_unet.main([*args, "--encoder", str(encoder), "--out", str(first)]) == 0
    assert train_unet.main([*args, "--start", str(first / "checkpoint"), "--out", str(second)]) == 0
    one, two = (json.loads((run / "checkpoint/training.json").read_text()) for run in (first, second))
    assert one["data"] == two["data"] == "layers"
    assert [s["seconds"] for s in one["before"]] == [5.0]
    assert [s["seconds"] for s in two["before"]] == [5.0, one["seconds"]]
    assert two["before"][1]["train"]["images"] == one["train"]["images"]
    assert all(s["sha256"] in two["recipe"]["encoder"] for s in two["before"])


def test_what_nothing_is_known_of(tmp_path):
    assert stages_before("imagenet") == stages_before("random") == []
    (tmp_path / "alone.safetensors").write_bytes(b"weights")
    (stage,) = stages_before(tmp_path / "alone.safetensors")
    assert (stage["seconds"], stage["hardware"]) == (None, None)
    assert recorded_stages({"recipe": {}}) == recorded_stages({"recipe": {"encoder": "random: no network"}}) == []
    (stage,) = recorded_stages({"recipe": {"encoder": "encoder.safetensors"}})
    assert stage["seconds"] is None
    with pytest.raises(DataError, match=r"no training\.json"):
        stages_before(tmp_path)

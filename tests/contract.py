"""What every model of octhub keeps, as one test class to inherit from."""

import errno
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from octhub import CheckpointError, ServingConfig


def forget_hash(folder: Path) -> None:
    """Take the hash of the weights out of a checkpoint's configuration, so that other weights may be put beside it."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.pop("weights_sha256")
    path.write_text(json.dumps(config))


class ModelContract:
    """Inherit, and say how the model is made and what it gives."""

    in_chans = 1
    num_classes = 4

    def make(self, **kwargs) -> nn.Module:
        """A small model with random weights."""
        raise NotImplementedError

    def output_shape(self, batch: int, height: int, width: int) -> tuple[int, ...]:
        raise NotImplementedError

    @pytest.fixture
    def model(self):
        torch.manual_seed(0)
        model = self.make(serving=self.serving())
        for buffer in model.buffers():  # norms that have seen data, so that eval mode is put to the test
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
        return model.eval()

    def serving(self) -> ServingConfig:
        names = tuple(f"class {i}" for i in range(self.num_classes))
        return ServingConfig(names, (64, 128), (0.2,) * self.in_chans, (0.3,) * self.in_chans, 1.5)

    def scans(self, batch: int = 2, size: tuple[int, int] = (96, 128)) -> torch.Tensor:
        return torch.randn(batch, self.in_chans, *size, generator=torch.Generator().manual_seed(1))

    @pytest.mark.parametrize("size", [(64, 64), (97, 131), (160, 320), (496, 768)])
    def test_takes_any_size(self, model, size):
        with torch.inference_mode():
            logits = model(self.scans(1, size))
        assert logits.shape == self.output_shape(1, *size)
        assert logits.isfinite().all()

    def test_batch_equals_single(self, model):
        x = self.scans(3)
        with torch.inference_mode():
            together, alone = model(x), torch.cat([model(x[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)

    def test_cpu_repeats_to_the_bit(self, model):
        x = self.scans()
        with torch.inference_mode():
            assert torch.equal(model(x), model(x))

    def test_gradient_reaches_every_parameter(self, model):
        model.train()(self.scans(4)).square().sum().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []

    def test_wrong_channels_are_named(self, model):
        with pytest.raises(ValueError, match=rf"expected \(B, {self.in_chans}, H, W\)"):
            model(torch.zeros(1, self.in_chans + 1, 96, 96))

    def test_other_channels_and_classes(self):
        model = self.make(in_chans=3, num_classes=7).eval()
        with torch.inference_mode():
            assert model(torch.zeros(1, 3, 64, 64)).shape[1] == 7

    def test_saved_and_loaded_is_equal_to_the_bit(self, model, tmp_path, capsys):
        model.save_pretrained(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
        loaded = type(model).from_pretrained(tmp_path)
        assert not loaded.training
        assert loaded.serving == model.serving
        assert loaded.state_dict().keys() == model.state_dict().keys()
        assert all(
            torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), model.state_dict().values(), strict=True)
        )
        with torch.inference_mode():
            assert torch.equal(loaded(self.scans()), model(self.scans()))
        assert capsys.readouterr().out == ""

    def test_config_follows_changes_of_serving(self, model, tmp_path):
        model.set_serving(replace(model.serving, temperature=2.25))
        model.save_pretrained(tmp_path)
        type(model).from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
        config = json.loads((tmp_path / "again/config.json").read_text())
        assert config["serving"]["temperature"] == 2.25
        assert config["architecture"] == type(model).__name__
        assert config == json.loads((tmp_path / "config.json").read_text())

    def test_half_precision_halves_the_file(self, model, tmp_path):
        model.save_pretrained(tmp_path / "full")
        model.save_pretrained(tmp_path / "half", dtype=torch.float16)
        full, half = ((tmp_path / n / "model.safetensors").stat().st_size for n in ("full", "half"))
        assert half < 0.6 * full
        loaded = type(model).from_pretrained(tmp_path / "half")
        assert next(loaded.parameters()).dtype == torch.float32

    def test_card_has_no_gap(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        card = (tmp_path / "README.md").read_text()
        assert "More Information" not in card
        assert "license: apache-2.0" in card

    def test_loading_is_strict(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        forget_hash(tmp_path)
        path = tmp_path / "model.safetensors"
        tensors = load_file(path)
        name = next(iter(tensors))
        save_file({k: v for k, v in tensors.items() if k != name}, path)
        with pytest.raises(CheckpointError, match=f"missing tensors {name}"):
            type(model).from_pretrained(tmp_path)
        save_file({**tensors, "surplus": torch.zeros(1)}, path)
        with pytest.raises(CheckpointError, match="unexpected tensors surplus"):
            type(model).from_pretrained(tmp_path)
        save_file({**tensors, name: torch.zeros(3, 3, 3)}, path)
        with pytest.raises(CheckpointError, match=r"has shape \(3, 3, 3\), expected"):
            type(model).from_pretrained(tmp_path)

    def test_damaged_weights_are_refused(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(CheckpointError, match=r"model\.safetensors: sha256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
            type(model).from_pretrained(tmp_path)
        forget_hash(tmp_path)
        with pytest.raises(CheckpointError, match=r"model\.safetensors: not a whole safetensors file"):
            type(model).from_pretrained(tmp_path)

    def test_weights_of_another_checkpoint_are_refused(self, model, tmp_path):
        model.save_pretrained(tmp_path / "one")
        with torch.no_grad():
            next(model.parameters()).add_(1e-3)
        model.save_pretrained(tmp_path / "other")
        config = json.loads((tmp_path / "one/config.json").read_text())
        first, second = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("one", "other"))
        assert config["weights_sha256"] == hashlib.sha256(first).hexdigest()
        (tmp_path / "one/model.safetensors").write_bytes(second)
        found = f"sha256 {hashlib.sha256(second).hexdigest()}, expected {config['weights_sha256']}"
        with pytest.raises(CheckpointError, match=rf"model\.safetensors: {found} as config\.json says"):
            type(model).from_pretrained(tmp_path / "one")
        forget_hash(tmp_path / "one")  # as in checkpoints that were saved before there was one
        assert type(model).from_pretrained(tmp_path / "one").weights_sha256 == hashlib.sha256(second).hexdigest()

    def test_saving_over_another_is_whole_or_not_at_all(self, model, tmp_path, monkeypatch):
        model.save_pretrained(tmp_path)
        (tmp_path / "README.md").write_text("mine")
        before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
        with torch.no_grad():
            next(model.parameters()).add_(1e-3)

        def full(*args):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr("octhub.hub.write_whole", full)  # after the weights
            with pytest.raises(OSError, match="No space left on device"):
                model.save_pretrained(tmp_path)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
        model.save_pretrained(tmp_path)
        assert (tmp_path / "README.md").read_text() == "mine"
        assert (tmp_path / "model.safetensors").read_bytes() != before["model.safetensors"]

    def test_pickles_are_never_read(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
            type(model).from_pretrained(tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"architecture": "Other"}, "architecture Other, expected"),
            ({"config_version": 99}, "config_version 99.*upgrade"),
            ({"colour": "red"}, r"unknown keys \['colour'\]"),
            ({"config_version": "1"}, "config_version 1"),
            ({"num_classes": 5}, "class names for 5 classes"),
            ({"num_classes": "five"}, "does not fit"),
            ({"serving": {"class_names": []}}, "does not fit"),
            ({"serving": {"crop": 3}}, r"unknown keys \['serving.crop'\]"),
        ],
    )
    def test_foreign_config_is_refused(self, model, tmp_path, change, message):
        model.save_pretrained(tmp_path)
        path = tmp_path / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(CheckpointError, match=message):
            type(model).from_pretrained(tmp_path)

    def test_damaged_config_is_refused(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        for text in ("{", "[]", "\xff"):
            (tmp_path / "config.json").write_text(text, encoding="latin-1")
            with pytest.raises(CheckpointError, match=r"config\.json"):
                type(model).from_pretrained(tmp_path)

    def test_missing_folder_is_named(self, model, tmp_path):
        with pytest.raises(CheckpointError, match="nowhere: no such folder"):
            type(model).from_pretrained(tmp_path / "nowhere")

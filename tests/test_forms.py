"""The benchmark of forms: what is compared is the same network, and its agreement is measured."""

import json

import pytest
import torch
from test_export import CLASSES, CLASSIFIER, SEGMENTER, gallery, lively, octnet, unet  # noqa: F401 - fixtures

from benchmarks import forms, report
from benchmarks.model_forms import FORMS, fuse_batch_norms
from octhub import Segmenter, UNet


def test_folding_batch_norms_changes_nothing_else(octnet):  # noqa: F811
    for model in (octnet, lively(UNet())):
        folded = fuse_batch_norms(model)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
        assert any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
        scan = torch.randn(1, 1, 96, 128)
        with torch.inference_mode():
            torch.testing.assert_close(folded(scan), model(scan), rtol=1e-4, atol=1e-4)


def test_agreement_over_all_examples():
    def answer(*logits: float, miou: float | None) -> forms.Answer:
        logits = torch.tensor(logits)
        return forms.Answer(logits, logits.softmax(0), logits.argmax(), miou)

    expected = [answer(0.0, 4.0, miou=0.5), answer(1.0, 0.0, miou=None), answer(3.0, 0.0, miou=0.7)]
    found = [answer(0.5, 4.0, miou=0.6), answer(0.0, 1.0, miou=None), answer(3.0, 0.0, miou=0.7)]
    figures = forms.agreement(found, expected)
    assert figures["logit"] == 1
    assert figures["probability"] == pytest.approx(0.4621, abs=1e-4)
    assert figures["alike"] == pytest.approx(2 / 3)
    assert figures["miou_change"] == pytest.approx(0.05)
    assert forms.agreement([found[1]], [expected[1]])["miou_change"] is None


def test_command_compares_and_writes(octnet, unet, gallery, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(report.save, "__defaults__", ("cpu", tmp_path / "results"))
    for name, model in (("o", octnet), ("u", unet)):
        model.save_pretrained(tmp_path / name)
    arguments = ["--threads", "1", "--rounds", "2", "--only", "folded, channels_last", "dynamic int8"]
    models = [str(tmp_path / "o"), str(tmp_path / "u")]
    threads = torch.get_num_threads()
    try:
        assert forms.main([*models, *arguments, "--examples", str(gallery[0].path.parent)]) == 0
    finally:
        torch.set_num_threads(threads)
    (file,) = (tmp_path / "results").iterdir()
    found = json.loads(file.read_text())["forms"]
    for name in ("o", "u"):
        measured = found[name]["1 threads"]
        assert measured[next(iter(FORMS))]["agreement"]["probability"] == 0
        assert measured["folded, channels_last"]["agreement"]["logit"] < 1e-3
        assert measured["folded, channels_last"]["ratio"] > 0
    assert found["u"]["1 threads"]["dynamic int8, linear layers"] == {"absent": "no linear layers"}
    assert "no linear layers" in capsys.readouterr().out


def test_mirror_and_offsets_are_served(unet, gallery):  # noqa: F811
    def network(scan: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return unet(scan)

    expected = Segmenter(unet, "cpu")(gallery[0].path).mask
    found = forms.answer(network, gallery[0], SEGMENTER, True).classes.numpy()
    assert (found != expected).mean() < 0.001


def test_calibration_is_spread(tmp_path):
    for i in range(100):
        (tmp_path / f"S{i:03}.png").touch()
    assert [p.name for p in forms.spread(f"{tmp_path}/*.png")][:2] == ["S000.png", "S003.png"]
    assert len(forms.spread(f"{tmp_path}/*.png")) == forms.CALIBRATION
    assert forms.spread("") == []

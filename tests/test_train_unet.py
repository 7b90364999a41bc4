"""Training a segmenter end to end on small scans with masks: learns, resumes, evaluates, compares."""

import json
import shutil

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from synthetic import make_oct2017
from synthetic_masks import CLASS_NAMES, make_masked_scans

from octhub import Segmenter, UNet
from training import baselines, class_offset, compare, encoder_start, evaluate_unet, pretrain_encoder, train_unet
from training.corrupt import CORRUPTIONS, corrupt
from training.masked_scans import check_unseen, masked_scans
from training.samples import DataError
from training.segment_task import class_weights, undo_weights

RECIPE = [
    *("--size", "96", "128", "--crop", "64", "64", "--crops", "32", "--batch-size", "8", "--epochs", "3"),
    *("--backbone", "resnet10t", "--encoder", "random", "--lr", "0.004", "--ema", "0.9", "--workers", "0"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_masked_scans(tmp_path_factory.mktemp("data") / "fluid")


@pytest.fixture
def precision():
    """accelerate holds one configuration a process: this test has one of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    args = ["--data", str(folder), "--test", "S04", "--val", "S03", "--out", str(out), "--cpu", "--half", *RECIPE]
    assert train_unet.main(args) == 0
    return out


def test_it_learns_and_is_served(trained, folder):
    history = json.loads((trained / "history.json").read_text())
    assert len(history) == 3
    assert history[-1]["val_score"] > max(0.6, history[0]["val_score"])
    assert (trained / "curves.png").is_file()
    segmenter = Segmenter.from_pretrained(trained / "checkpoint")
    assert segmenter.class_names == CLASS_NAMES
    assert segmenter.serving.framing == "whole"
    answer = segmenter(folder / "images/S04_0.png")
    assert answer.mask.shape == (120, 160)
    assert answer.score(folder / "masks/S04_0.png").miou > 0.4
    assert load_file(trained / "checkpoint/model.safetensors")["decoder.0.up.weight"].dtype == torch.float16


def test_resuming_a_finished_run_changes_nothing(trained, folder):
    before = {p.name: p.read_bytes() for p in (trained / "checkpoint").iterdir()}
    args = ["--data", str(folder), "--test", "S04", "--val", "S03", "--out", str(trained), "--cpu", "--half", *RECIPE]
    assert train_unet.main([*args, "--resume"]) == 0
    assert {p.name: p.read_bytes() for p in (trained / "checkpoint").iterdir()} == before


def test_a_checkpoint_can_be_gone_on_from(trained, folder, tmp_path, capsys):
    args = ["--data", str(folder), "--test", "S04", "--out", str(tmp_path / "run"), "--cpu", *RECIPE, "--epochs", "1"]
    assert train_unet.main([*args, "--start", str(trained / "checkpoint"), "--lr", "1e-9", "--ema", "0"]) == 0
    a, b = (UNet.from_pretrained(p / "checkpoint") for p in (trained, tmp_path / "run"))
    torch.testing.assert_close(a.decoder[0].up.weight, b.decoder[0].up.weight, rtol=1e-3, atol=1e-4)
    record = json.loads((tmp_path / "run/checkpoint/training.json").read_text())
    assert record["recipe"]["encoder"].startswith("random, then a first training (sha256 ")
    scans = masked_scans(folder)
    with pytest.raises(DataError, match=r"S03_0\.png: the checkpoint was chosen on this scan"):  # the first one was
        check_unseen([s for s in scans if s.subject == "S03"], record | {"train": {}})
    check_unseen([s for s in scans if s.subject == "S04"], record)
    assert train_unet.main([*args, "--out", str(tmp_path / "other"), "--start", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_record_names_splits_and_recipe(trained, folder):
    record = json.loads((trained / "checkpoint/training.json").read_text())
    assert record["train"]["subjects"] == ["S01", "S02"]
    assert record["val"]["subjects"] == ["S03"]
    assert record["test"]["subjects"] == ["S04"]
    assert record["recipe"]["encoder"] == "random"
    assert str(folder) not in json.dumps(record)
    assert record["chosen"]["val_iou_fluid"] is not None


def test_an_interrupted_run_ends_in_the_same_weights(folder, tmp_path):
    common = ["--data", str(folder), "--test", "S04", "--cpu", *RECIPE, "--epochs"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train_unet.main([*common, "2", "--out", str(whole)]) == 0
    task_loss, calls = train_unet.SegmentTask.loss, []

    def stop_in_the_second_epoch(self, model, batch):
        calls.append(1)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return task_loss(self, model, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_unet.SegmentTask, "loss", stop_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            train_unet.main([*common, "2", "--out", str(parts)])
    assert train_unet.main([*common, "2", "--out", str(parts), "--resume"]) == 0
    a, b = (load_file(p / "checkpoint/model.safetensors") for p in (whole, parts))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_an_offset_moves_one_class(trained, folder, capsys):
    """What class_offset says an offset does is what a configuration with the offset does."""
    checkpoint = trained / "checkpoint"
    args = [str(checkpoint), "--class", "fluid", "--data", str(folder), "--val"]
    assert class_offset.main([*args, "S03"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(class_offset.OFFSETS)
    model = UNet.from_pretrained(checkpoint)
    model.set_serving(class_offset.with_offset(model.serving, "fluid", -1.5))
    segmenter = Segmenter(model)
    scores = [segmenter(folder / f"images/S03_{i}.png").score(folder / f"masks/S03_{i}.png") for i in (0, 1)]
    assert f"-1.5: mIoU {(scores[0] + scores[1]).miou:.4f}" in "\n".join(lines)
    assert class_offset.main([*args, "S01"]) == 2
    assert "trained on this scan (2 such)" in capsys.readouterr().err


def test_masks_that_say_nothing_are_left_out(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "data")
    for name in ("S01_0", "S03_0", "S04_0"):
        Image.fromarray(np.full((120, 160), 255, np.uint8)).save(tmp_path / f"data/masks/{name}.png")
    args = ["--data", str(tmp_path / "data"), "--test", "S04", "--val", "S03", "--cpu", *RECIPE, "--epochs", "1"]
    assert train_unet.main([*args, "--out", str(tmp_path / "run")]) == 0
    assert "left out, since nothing is annotated: S01_0.png (1 such)" in capsys.readouterr().out
    record = json.loads((tmp_path / "run/checkpoint/training.json").read_text())
    assert [record[side]["scans"] for side in ("train", "val", "test")] == [3, 1, 1]
    evaluate = [str(tmp_path / "run/checkpoint"), "--data", str(tmp_path / "data"), "--test"]
    assert evaluate_unet.main([*evaluate, "S04"]) == 0
    assert "of 1 scans" in capsys.readouterr().out
    Image.fromarray(np.full((120, 160), 255, np.uint8)).save(tmp_path / "data/masks/S04_1.png")
    assert evaluate_unet.main([*evaluate, "S04"]) == 2
    assert "no annotated scans to measure on" in capsys.readouterr().err


def test_an_id_without_a_class_is_told_before_the_training(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "data")
    Image.fromarray(np.full((120, 160), 77, np.uint8)).save(tmp_path / "data/masks/S03_1.png")
    args = ["--data", str(tmp_path / "data"), "--val", "S03", "--out", str(tmp_path / "run"), "--cpu", *RECIPE]
    assert train_unet.main(args) == 2
    assert "S03_1.png: id 77 without a class" in capsys.readouterr().err
    assert not (tmp_path / "run/history.json").exists()


def test_class_weights_are_undone():
    weights = class_weights(torch.tensor([0.9, 0.1, 0.0]), 1)
    offsets = undo_weights(weights)
    assert offsets[0] - offsets[1] == pytest.approx(np.log(9), abs=1e-3)
    assert offsets[2] == 0


def test_without_validation_the_last_weights_are_kept(folder, tmp_path):
    args = ["--data", str(folder), "--out", str(tmp_path), "--cpu", *RECIPE, "--epochs", "1"]
    args += ["--second-masks", "masks_2", "--second-share", "0.3", "--extra", str(folder), "--extra-test", "S01", "S02"]
    assert train_unet.main(args) == 0
    record = json.loads((tmp_path / "checkpoint/training.json").read_text())
    assert record["extra_scans"]["subjects"] == ["S03", "S04"]
    assert record["chosen"] == {"epoch": 1}
    assert "val" not in record


def test_bad_data_ends_in_a_message(folder, tmp_path, capsys):
    assert train_unet.main(["--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "classes.txt: no such file, expected one class name a line" in capsys.readouterr().err
    args = ["--data", str(folder), "--out", str(tmp_path / "run"), *RECIPE]
    assert train_unet.main([*args, "--test", "S09"]) == 2
    assert "no scan of subject S09" in capsys.readouterr().err
    assert train_unet.main([*args, "--offset", "water=-1"]) == 2
    assert "--offset water: expected a class of above" in capsys.readouterr().err
    assert train_unet.main([*args, "--encoder", str(tmp_path / "none.safetensors")]) == 2
    assert "expected imagenet, random, or the safetensors file" in capsys.readouterr().err


def test_foreground_of_255_is_noticed(folder, tmp_path, capsys):
    """The commonest binary masks hold 0 and 255, which here means: nobody looked."""
    copy = shutil.copytree(folder, tmp_path / "binary")
    for path in (copy / "masks").iterdir():
        Image.fromarray(np.where(np.array(Image.open(path)) == 4, 255, 0).astype(np.uint8)).save(path)
    (copy / "classes.txt").write_text("background\nfluid\n")
    assert train_unet.main(["--data", str(copy), "--out", str(tmp_path / "run"), *RECIPE]) == 2
    assert "hold only 'background' and 255 (not annotated)" in capsys.readouterr().err


def test_extra_folders_have_the_same_classes(folder, tmp_path, capsys):
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    args = ["--data", str(folder), "--out", str(tmp_path / "run"), *RECIPE]
    assert train_unet.main([*args, "--extra", str(other)]) == 2
    assert "classes a, b, c, d, e, expected above" in capsys.readouterr().err
    table = tmp_path / "list.csv"
    table.write_text("image,split\nS01_0.png,Test\n")
    assert train_unet.main([*args, "--table", str(table)]) == 2
    assert "puts none of the 8 scans into the split 'test'" in capsys.readouterr().err


def test_evaluation_writes_figures_and_card(trained, folder, tmp_path, capsys):
    checkpoint = shutil.copytree(trained / "checkpoint", tmp_path / "checkpoint")
    new = make_masked_scans(tmp_path / "new", seed=1)
    args = [str(checkpoint), "--data", str(new), "--test", "S03", "S04", "--name", "planted", "--title", "planted"]
    assert evaluate_unet.main([*args, "--second-masks", "masks_2"]) == 0
    figures = json.loads((checkpoint / "metrics.json").read_text())["evaluations"]["planted"]
    assert set(figures["per_subject"]) == {"S03", "S04"}
    assert 0.4 < figures["miou"] < 1
    assert figures["human"]["miou"] > 0.8
    assert f"mIoU {figures['miou']:.4f}"[:9] in capsys.readouterr().out
    card = (checkpoint / "README.md").read_text()
    assert f"{figures['miou']:.4f}" in card
    assert "None" not in card.split("---", 2)[2]
    for subject, what in (("S01", "trained"), ("S03", "chosen")):
        assert evaluate_unet.main([str(checkpoint), "--data", str(folder), "--test", subject]) == 2
        assert f"the checkpoint was {what} on this scan (2 such)" in capsys.readouterr().err


def test_pretrained_encoder_starts_a_unet(tmp_path):
    data = make_oct2017(tmp_path / "oct", patients=4, test_patients=1)
    args = ["--data", str(data), "--out", str(tmp_path / "encoder"), "--encoder", "resnet10t", "--cpu"]
    sizes = ["--size", "64", "64", "--epochs", "1", "--batch-size", "8", "--workers", "0", "--val-fraction", "0.25"]
    assert pretrain_encoder.main([*args, *sizes]) == 0
    tensors, start = encoder_start.encoder_start(str(tmp_path / "encoder/encoder.safetensors"), "resnet10t", 1)
    assert start.startswith("an encoder pretrained on the classes of OCT2017's scans (sha256 ")
    UNet(encoder="resnet10t", decoder_channels=(8, 8, 8, 8, 8)).load_encoder(tensors)


def test_imagenet_out_of_reach_is_said(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to the Hub")

    monkeypatch.setattr(encoder_start.timm, "create_model", offline)
    tensors, start = encoder_start.encoder_start("imagenet", "resnet34", 1)
    assert tensors is None
    assert start.startswith("random: ImageNet's weights for resnet34 can't be downloaded (OSError: no route to the Hub")


@pytest.mark.parametrize("name", baselines.MODELS)
def test_every_model_shares_start_and_interface(name, folder):
    serving = train_unet.ServingConfig(CLASS_NAMES, (96, 128), framing="whole")
    model = baselines.MODELS[name](5, "resnet18", serving).eval()
    reference = UNet(encoder="resnet18").encoder.state_dict()
    model.load_encoder(reference)
    with torch.inference_mode():
        x = torch.zeros(1, 1, 70, 90)
        assert model(x).shape == (1, 5, 70, 90)
        assert torch.equal(model(x, True)[-1], model(x))
    assert Segmenter(model)(folder / "images/S01_0.png").mask.shape == (120, 160)


def test_comparison_trains_measures_and_goes_on(folder, tmp_path, capsys, precision):
    args = ["--data", str(folder), "--test", "S04", "--second-masks", "masks_2", "--bf16", *RECIPE]
    args += ["--backbone", "resnet18", "--epochs", "1", "--crops", "8", "--rounds", "4", "--cpu"]
    args += ["--models", "UNet", "DeepLabV3+", "--seeds", "0", "1", "--out", str(tmp_path)]
    assert compare.main(args) == 0
    figures = json.loads((tmp_path / "comparison.json").read_text())
    assert list(figures["models"]) == ["UNet", "DeepLabV3+"]
    for m in figures["models"].values():
        assert set(m["seeds"]) == {"0", "1"}
        assert {len(curve) for curve in m["noise"].values()} == {4}
        assert all(curve[0] == pytest.approx(m["seeds"]["0"]["miou"], abs=0.02) for curve in m["noise"].values())
        assert m["speed"]["seconds"] > 0
    assert figures["models"]["UNet"]["speed"]["ratio"] == 1
    for name in ("comparison.md", "comparison-classes.png", "comparison-noise.png"):
        assert (tmp_path / name).stat().st_size > 200
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/model.safetensors")}
    assert len(before) == 4
    capsys.readouterr()
    assert compare.main([*args, "--models", "UNet", "--seeds", "0"]) == 0  # it is trained already
    again = json.loads((tmp_path / "comparison.json").read_text())["models"]["UNet"]
    assert again["seeds"]["0"] == figures["models"]["UNet"]["seeds"]["0"]  # in full precision both times
    assert again["noise"] == figures["models"]["UNet"]["noise"]
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/model.safetensors")} == before
    assert "| second grader |" in capsys.readouterr().out
    assert compare.main([*args, "--crops", "16"]) == 2
    assert "holds another run: crops 8, now 16" in capsys.readouterr().err


def test_noise_is_seeded_by_the_scan():
    scan = np.tile(np.linspace(0.2, 0.8, 64, dtype=np.float32), (48, 1))
    for kind in CORRUPTIONS:
        assert np.array_equal(corrupt(scan, kind, 0), np.rint(scan * 255).astype(np.uint8))
        levels = [corrupt(scan, kind, level, "a") for level in (1, 2, 3)]
        assert np.array_equal(levels[1], corrupt(scan, kind, 2, "a"))
        away = [np.abs(level / 255 - scan).mean() for level in levels]
        assert away == sorted(away)
    assert not np.array_equal(corrupt(scan, "speckle", 1, "a"), corrupt(scan, "speckle", 1, "b"))
    with pytest.raises(ValueError, match="level 4, expected 0 to 3"):
        corrupt(scan, "blur", 4)


def test_any_organ_any_file_kind(tmp_path):
    """Other names, TIFF scans, BMP masks and three classes: nothing in the loader is about the retina."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for patient in range(3):
        scan = rng.integers(0, 60, (64, 64)).astype(np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 10:50], mask[25:30, 20:30] = 1, 2
        scan[:, 55:] = 0  # air, which is no missing part of the image
        Image.fromarray(scan + 80 * mask).save(tmp_path / f"images/liver-{patient}.tif")
        Image.fromarray(mask).save(tmp_path / f"masks/liver-{patient}.bmp")
    (tmp_path / "classes.txt").write_text("background\nliver # the organ\n\ntumour\n")
    args = ["--data", str(tmp_path), r"--subject=-(\d+)", "--test", "2", "--out", str(tmp_path / "run"), "--cpu"]
    assert train_unet.main([*args, *RECIPE, "--framing", "plain", "--no-mirror"]) == 0
    segmenter = Segmenter.from_pretrained(tmp_path / "run/checkpoint")
    assert segmenter.class_names == ("background", "liver", "tumour")
    answer = segmenter(tmp_path / "images/liver-2.tif")
    assert (answer.mask != 255).all()
    assert answer.score(tmp_path / "masks/liver-2.bmp").iou["liver"] > 0.5

"""`python -m octhub segment`: what it writes, where, and what happens to bad files."""

import csv
import os
import shutil
import time
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_masks import masked_bscan

from octhub import Segmenter, ServingConfig, UNet, read_scan
from octhub.__main__ import main
from octhub.mask import read_mask
from octhub.mask_render import mask_overlay
from octhub.measure import Scale, measure
from octhub.results import AREAS, COLUMNS

NAMES = ("above", "layer", "fluid")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoint")
    serving = ServingConfig(NAMES, (64, 96), framing="whole")
    model = UNet(num_classes=3, encoder="resnet10t", decoder_channels=(32, 16, 16, 8, 8), serving=serving)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def segmenter(checkpoint) -> Segmenter:
    return Segmenter.from_pretrained(checkpoint, device="cpu")


@pytest.fixture
def run(checkpoint):
    return lambda *args: main(["segment", *map(str, args), "--segmenter", checkpoint, "--device", "cpu"])


@pytest.fixture
def scans(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a.png", "a.jpg", "deep/a.png"):
        path = tmp_path / "scans" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(masked_bscan(rng)[0]).save(path)
    return tmp_path / "scans"


def table(folder: Path, name: str = AREAS) -> list[dict]:
    with (folder / name).open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


MIRRORED = sorted(f"{scan}.{kind}.png" for scan in ("a.png", "a.jpg", "deep/a.png") for kind in ("labels", "overlay"))


def test_folder_is_mirrored(run, segmenter, scans, tmp_path, capsys):
    out = tmp_path / "new/out"
    assert run(scans, "--out", out) == 0
    assert written(out) == MIRRORED
    printed = capsys.readouterr()
    assert "3 segmented, 0 could not be read" in printed.err
    assert printed.out.splitlines()[0].split("\t") == [str(scans / "a.jpg"), str(out / "a.jpg.labels.png")]
    for name in ("a.png", "deep/a.png"):
        answer = segmenter(scans / name)
        assert np.array_equal(read_mask(out / f"{name}.labels.png", (120, 160), NAMES), answer.mask)
        overlay = np.asarray(Image.open(out / f"{name}.overlay.png"))
        assert np.array_equal(overlay, mask_overlay(read_scan(scans / name), answer.mask, NAMES))


def test_table_has_a_row_per_scan_and_class(run, segmenter, scans, tmp_path):
    assert run(scans, "--out", tmp_path / "out") == 0
    rows = table(tmp_path / "out")
    assert list(rows[0]) == COLUMNS
    assert [row["class"] for row in rows] == list(NAMES) * 3
    assert [row["id"] for row in rows] == ["0", "1", "2"] * 3
    assert [Path(row["file"]) for row in rows[::3]] == [scans / n for n in ("a.jpg", "a.png", "deep/a.png")]
    for row, measured in zip(rows[3:6], measure(segmenter(scans / "a.png").mask, NAMES), strict=True):
        assert int(row["pixels"]) == measured.pixels
        assert float(row["share"]) == pytest.approx(measured.share, rel=1e-5)
        assert {row[c] for c in ("area_mm2", "thickness_um_mean", "thickness_um_max", "error")} == {""}


def test_scale_gives_millimetres_and_micrometres(run, segmenter, scans, tmp_path):
    assert run(scans / "a.png", "--out", tmp_path / "out", "--scale", 3.87, 11.5) == 0
    expected = [asdict(m) for m in measure(segmenter(scans / "a.png").mask, NAMES, Scale(3.87, 11.5))]
    assert any(e["area_mm2"] > 0 for e in expected)
    for row, measured in zip(table(tmp_path / "out"), expected, strict=True):
        for name in ("area_mm2", "thickness_um_mean", "thickness_um_max"):
            if measured[name] is None:
                assert row[name] == ""
            else:
                assert float(row[name]) == pytest.approx(measured[name], rel=1e-5)


@pytest.mark.parametrize("scale", [("0", "11.5"), ("nan", "1"), ("inf", "1")])
def test_impossible_scale_is_refused(run, scans, tmp_path, scale, capsys):
    assert run(scans, "--out", tmp_path / "out", "--scale", *scale) == 2
    assert "--scale: a pixel of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bad_files_are_told_and_the_rest_go_on(run, scans, tmp_path, capsys):
    (scans / "deep/bad.png").write_bytes(b"no picture")
    assert run(scans, "--out", tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert f"error: {scans / 'deep/bad.png'}: not a known kind of image" in printed.err
    assert "3 segmented, 1 could not be read" in printed.err
    assert written(tmp_path / "out") == MIRRORED
    bad = [row for row in table(tmp_path / "out") if row["error"]]
    assert [(row["file"], row["class"], row["pixels"]) for row in bad] == [(str(scans / "deep/bad.png"), "", "")]


def test_same_names_from_several_folders_keep_apart(run, scans, tmp_path):
    assert run(scans / "a.png", scans / "deep/a.png", scans / "deep", "--out", tmp_path / "out") == 0
    places = ("a.png", "deep/a.png")
    assert written(tmp_path / "out") == sorted(f"{p}.{kind}.png" for p in places for kind in ("labels", "overlay"))
    assert len(table(tmp_path / "out")) == 2 * len(NAMES)


def test_zip_is_mirrored_like_a_folder(run, segmenter, scans, tmp_path):
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as file:
        for name in ("a.png", "deep/a.png"):
            file.write(scans / name, name)
    assert run(tmp_path / "more.zip", scans, "--out", tmp_path / "out") == 0
    zipped = [f"more.zip/{n}" for n in MIRRORED if not n.startswith("a.jpg")]
    assert written(tmp_path / "out") == sorted([*zipped, *(f"scans/{n}" for n in MIRRORED)])
    labels = [tmp_path / "out" / folder / "deep/a.png.labels.png" for folder in ("more.zip", "scans")]
    assert labels[0].read_bytes() == labels[1].read_bytes()
    rows = table(tmp_path / "out")
    assert {row["model"] for row in rows} == {segmenter.model.origin.folder.name}
    assert len({row["input_sha256"] for row in rows}) == 3  # the same files twice, and one more


def test_dots_in_a_path_do_not_lead_out_of_the_folder(run, scans, tmp_path, monkeypatch):
    monkeypatch.chdir(scans / "deep")
    assert run("../a.png", "../../scans/deep", "--out", tmp_path / "out") == 0
    assert written(tmp_path / "out") == sorted(
        f"{p}.{kind}.png" for p in ("a.png", "deep/a.png") for kind in ("labels", "overlay")
    )
    assert not list(scans.rglob("*.labels.png"))


@pytest.mark.parametrize("out", ["scans/out", "scans"])
def test_second_run_leaves_its_own_pictures_alone(run, scans, tmp_path, out):
    for _ in range(2):
        assert run(scans, "--out", tmp_path / out) == 0
        assert sorted(p.name for p in scans.rglob("*.labels.png")) == ["a.jpg.labels.png", *["a.png.labels.png"] * 2]
        assert len(table(tmp_path / out)) == 3 * len(NAMES)


def test_pictures_of_that_name_elsewhere_are_scans(run, scans, tmp_path):
    os.rename(scans / "a.png", scans / "a.labels.png")
    assert run(scans, "--out", tmp_path / "out") == 0
    assert "a.labels.png.labels.png" in written(tmp_path / "out")


def test_file_in_the_way_is_named_before_the_work(run, scans, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert run(scans, "--out", tmp_path / "out") == 2
    assert f"{tmp_path / 'out'}: a file, expected a folder" in capsys.readouterr().err
    assert run(scans, "--out", tmp_path / "out/deeper") == 2
    printed = capsys.readouterr()
    assert f"error: {tmp_path / 'out/deeper'}: Not a directory" in printed.err
    assert printed.out == ""
    assert (tmp_path / "out").read_text() == "mine"


def test_unwritable_folder_is_named(run, scans, tmp_path, capsys, monkeypatch):
    """Root may write anywhere, so the system's refusal is played."""

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    assert run(scans, "--out", tmp_path / "out") == 2
    assert f"{tmp_path / 'out'}: Permission denied" in capsys.readouterr().err


def test_nothing_to_do_and_nothing_to_do_it_with(run, scans, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", "--out", tmp_path / "out") == 2
    assert "no images" in capsys.readouterr().err
    assert main(["segment", str(scans), "--out", str(tmp_path / "out"), "--segmenter", "./nowhere"]) == 2
    assert "./nowhere: no such folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rows_are_there_while_the_rest_still_runs(run, scans, tmp_path, monkeypatch):
    many = [tmp_path / f"{i:02d}.png" for i in range(20)]
    for path in many:
        shutil.copy(scans / "a.png", path)
    asked, ask, out = [], Segmenter.__call__, tmp_path / "out"

    def spy(self, scan):
        asked.append(1)
        if len(asked) == len(many):  # the last one waits for the first one's rows
            deadline = time.monotonic() + 20
            while not table(out, "areas.csv.partial") and time.monotonic() < deadline:
                time.sleep(0.01)
            assert table(out, "areas.csv.partial")
        return ask(self, scan)

    monkeypatch.setattr(Segmenter, "__call__", spy)
    assert run(*many, "--out", out) == 0
    assert [row["file"] for row in table(out)][::3] == [str(path) for path in many]


def test_a_full_disk_is_named_and_ends_it(run, scans, tmp_path, capsys, monkeypatch):
    def full(place, scan, answer):
        raise OSError(28, "No space left on device", str(place))

    monkeypatch.setattr("octhub.results.save", full)
    assert run(scans, "--out", tmp_path / "out") == 2
    assert "No space left on device" in capsys.readouterr().err

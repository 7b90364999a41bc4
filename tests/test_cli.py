"""The command line: folders with a bad file in them, CSV, exit statuses."""

import csv
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import bscan

from octhub import OctNet, ServingConfig, __version__
from octhub.__main__ import main

NAMES = ("CNV", "DME", "DRUSEN", "NORMAL")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoint")
    serving = ServingConfig(NAMES, (64, 128), (0.2,), (0.2,))
    OctNet(channels=(4, 4, 8, 8, 8, 16), hidden=(8, 8), serving=serving).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "scans/deep").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "deep/c.tiff", ".hidden.png"):
        Image.fromarray(bscan("DME", rng)).save(tmp_path / "scans" / name)
    (tmp_path / "scans/bad.png").write_bytes(b"no picture")
    (tmp_path / "scans/notes.txt").write_text("no image")
    return tmp_path / "scans"


def test_folder_with_a_bad_file_goes_on(checkpoint, folder, tmp_path, capsys):
    out = tmp_path / "out.csv"
    assert main(["classify", str(folder), "--csv", str(out), "--classifier", checkpoint, "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert "bad.png" in printed.err
    assert "3 classified, 1 could not be read" in printed.err
    with out.open(newline="") as f:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(f)}
    assert sorted(rows) == ["a.png", "b.jpg", "bad.png", "c.tiff"]
    assert rows["bad.png"]["label"] == ""
    assert "bad.png" in rows["bad.png"]["error"]
    good = rows["a.png"]
    assert good["label"] in NAMES
    assert sum(float(good[n]) for n in NAMES) == pytest.approx(1, abs=2e-4)
    assert good["error"] == ""
    assert (good["decision"], good["reason"]) == (good["label"], "")
    assert list(good)[-4:] == ["model", "model_sha256", "input_sha256", "octhub"]
    assert good["model"] == Path(checkpoint).name
    assert good["input_sha256"] == hashlib.sha256((folder / "a.png").read_bytes()).hexdigest()
    assert good["model_sha256"] == hashlib.sha256(Path(checkpoint, "model.safetensors").read_bytes()).hexdigest()
    assert (rows["bad.png"]["model"], rows["bad.png"]["input_sha256"]) == (good["model"], "")


def test_zip_is_like_a_folder(checkpoint, folder, tmp_path, capsys):
    path, out = tmp_path / "scans.zip", tmp_path / "out.csv"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("a.png", "deep/c.tiff", "bad.png", "notes.txt", ".hidden.png"):
            file.write(folder / name, name)
        file.write(folder / "a.png", "../up.png")
    (tmp_path / "cut.zip").write_bytes(path.read_bytes()[:-30])
    paths = [str(path), str(tmp_path / "cut.zip")]
    assert main(["classify", *paths, "--csv", str(out), "--classifier", checkpoint, "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert "2 classified, 3 could not be read" in printed.err
    assert f"error: {path}: '../up.png' leads out of the ZIP" in printed.err
    assert f"error: {tmp_path / 'cut.zip'}: not a ZIP, or not all of one" in printed.err
    with out.open(newline="") as f:
        rows = {row["file"]: row for row in csv.DictReader(f)}
    assert list(rows) == [*(str(path / n) for n in ("a.png", "deep/c.tiff", "bad.png", "up.png")), paths[1]]
    assert rows[str(path / "a.png")]["label"] in NAMES
    assert "bad.png: not a known kind of image" in rows[str(path / "bad.png")]["error"]


def test_one_file(checkpoint, folder, capsys):
    assert main(["classify", str(folder / "a.png"), "--classifier", checkpoint, "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert printed.out.split("\t")[1] in NAMES
    assert printed.err == ""


def test_named_files_are_tried_whatever_their_suffix(checkpoint, folder, capsys):
    path = folder / "scan.bin"
    path.write_bytes((folder / "a.png").read_bytes())
    assert main(["classify", str(path), "--classifier", checkpoint, "--device", "cpu"]) == 0


@pytest.mark.parametrize("name", ["notes.txt", "missing.png"])
def test_bad_files_give_status_2(checkpoint, folder, name, capsys):
    assert main(["classify", str(folder / name), "--classifier", checkpoint, "--device", "cpu"]) == 2
    assert name in capsys.readouterr().err


def test_empty_folder_is_bad_input(checkpoint, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["classify", str(tmp_path / "empty"), "--classifier", checkpoint, "--device", "cpu"]) == 2
    assert "no images" in capsys.readouterr().err


def test_missing_checkpoint_is_named(folder, capsys):
    assert main(["classify", str(folder / "a.png"), "--classifier", "./nowhere"]) == 2
    assert "./nowhere: no such folder" in capsys.readouterr().err


def test_unwritable_csv_is_named_before_the_work(checkpoint, folder, capsys):
    table = str(folder / "no/such/folder.csv")
    assert main(["classify", str(folder / "a.png"), "--csv", table, "--classifier", checkpoint, "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert "no/such/folder.csv: No such file" in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("device", ["foo", "cuda:99"])
def test_missing_device_is_named(checkpoint, folder, device, capsys):
    assert main(["classify", str(folder / "a.png"), "--classifier", checkpoint, "--device", device]) == 2
    assert f"device '{device}' can't be used here" in capsys.readouterr().err


def test_module_runs_from_the_shell():
    done = subprocess.run([sys.executable, "-m", "octhub", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__

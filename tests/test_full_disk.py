"""A full disk leaves what was there, names what it couldn't take, and no half of it looks whole."""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from full_disk import can_mount, filled, limited, mounted
from PIL import Image
from synthetic import bscan, make_oct2017
from synthetic_masks import masked_bscan
from test_states import Halves, small

from octhub import Classifier, OctNet, Segmenter, ServingConfig, UNet
from octhub.__main__ import main
from octhub.batch import answer_all, intake
from octhub.result_zip import ResultZip
from octhub.whole_files import whole_file, write_whole
from training import train_octnet
from training.checkpoint_folder import replace_checkpoint
from training.loop import FitOptions, fit, make_accelerator
from training.states import RunError, check_state, last_state

FULL = r"(No space left on device|File too large)"

with tempfile.TemporaryDirectory() as _folder:
    KINDS = ["limit", *(["tmpfs"] if can_mount(Path(_folder) / "disk") else [])]


@pytest.fixture(params=KINDS)
def disk(request, tmp_path):
    """(a folder, full): `with full(room):` its disk is full but for so many bytes."""
    if request.param == "limit":
        (tmp_path / "disk").mkdir()
        yield tmp_path / "disk", limited
    else:
        with mounted(tmp_path / "disk") as folder:
            yield folder, filled(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_files_are_whole_or_as_they_were(disk):
    folder, full = disk
    (folder / "a").write_text("before")
    with full(8192), pytest.raises(OSError, match=FULL) as error:
        write_whole(folder / "a", bytes(100_000))
    assert error.value.filename == str(folder / "a")
    assert contents(folder) == {"a": b"before"}
    write_whole(folder / "a", "after")
    assert contents(folder) == {"a": b"after"}


def test_what_is_no_file_is_written_to_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with whole_file(tmp_path / "pipe") as path:
        assert path == (tmp_path / "pipe").resolve()
    command = "from octhub.whole_files import write_whole; write_whole('/dev/stdout', 'a table')"
    assert subprocess.run([sys.executable, "-c", command], check=True, capture_output=True).stdout == b"a table"
    (tmp_path / "file").write_text("before")
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "after"


def test_checkpoint_stays_as_it_was(disk):
    folder, full = disk
    small(0.5).save_pretrained(folder / "checkpoint")
    before = contents(folder)
    with full(4096), pytest.raises(OSError, match=FULL) as error:
        small(0.25).save_pretrained(folder / "checkpoint")
    assert error.value.filename == str(folder / "checkpoint/model.safetensors")
    assert contents(folder) == before
    with full(4096), pytest.raises(OSError, match=FULL):
        replace_checkpoint(small(0.25), folder / "checkpoint")
    assert contents(folder) == before
    assert OctNet.from_pretrained(folder / "checkpoint")


def test_training_state_stays_as_it_was(disk):
    """The disk is full from the second epoch on; emptied, the run goes on to the same weights."""
    folder, full = disk

    def train(out: Path, **options) -> torch.Tensor:
        AcceleratorState._reset_state(reset_partial_state=True)
        torch.manual_seed(0)
        model = torch.nn.Linear(1, 2000, bias=False)
        kept = []
        fit(model, Halves(), FitOptions(out, 3, **options), make_accelerator(cpu=True), lambda m: kept.append(m.weight))
        return kept[-1].clone()

    (folder / "whole").mkdir()
    expected = train(folder / "whole")
    validate, out = Halves.validate, folder / "run"
    out.mkdir()
    filling = full(8192)

    def fill(self, *args):
        if self.epoch == 1:
            filling.__enter__()
        return validate(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Halves, "validate", fill)
        try:
            with pytest.raises(RunError, match=r"state-00002: can't be written .*; state-00001 is whole, and --resume"):
                train(out)
        finally:
            filling.__exit__(None, None, None)
    assert sorted(p.name for p in out.iterdir()) == ["history.json", "run.json", "state-00001"]
    check_state(last_state(out))
    assert torch.equal(train(out, resume=True), expected)


def test_training_command_tells_it(disk, capsys, tmp_path):
    folder, full = disk
    data = make_oct2017(tmp_path / "data", patients=4, test_patients=1)
    command = ["--data", str(data), "--out", str(folder / "run"), "--size", "64", "128", "--batch-size", "8", "--cpu"]
    AcceleratorState._reset_state(reset_partial_state=True)
    with full(100_000):
        assert train_octnet.main([*command, "--workers", "0", "--epochs", "1", "--val-fraction", "0.2"]) == 2
    assert "run/state-00001: can't be written" in capsys.readouterr().err
    assert contents(folder).keys() == {"run/run.json"}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> tuple[str, str]:
    """Of a classifier and a segmenter."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    small(0.01).save_pretrained(folder / "octnet")
    serving = ServingConfig(("above", "layer", "fluid"), (64, 96), framing="whole")
    layout = {"num_classes": 3, "encoder": "resnet10t", "decoder_channels": (32, 16, 16, 8, 8)}
    UNet(**layout, serving=serving).save_pretrained(folder / "unet")
    return str(folder / "octnet"), str(folder / "unet")


@pytest.fixture
def scans(tmp_path) -> list[str]:
    rng, paths = np.random.default_rng(0), []
    for number in range(60):
        paths.append(str(tmp_path / f"{'a' * 100}-{number}.png"))
        Image.fromarray(bscan("DME", rng)).save(paths[-1])
    return paths


def test_table_is_named_and_the_old_one_stays(disk, scans, checkpoints, capsys):
    folder, full = disk
    table = folder / "answers.csv"
    command = ["--csv", str(table), "--classifier", checkpoints[0], "--device", "cpu"]
    assert main(["classify", scans[0], *command]) == 0
    before = contents(folder)
    capsys.readouterr()
    with full(8192):
        assert main(["classify", *scans, *command]) == 2
    assert f"error: {table}: " in capsys.readouterr().err
    after = contents(folder)
    assert after.keys() == {"answers.csv", "answers.csv.partial"}  # what was answered isn't lost, but isn't all
    assert after["answers.csv"] == before["answers.csv"]
    assert 1 < after["answers.csv.partial"].count(b"\n") < len(scans)
    assert main(["classify", *scans, *command]) == 0
    assert contents(folder).keys() == {"answers.csv"}
    with table.open(newline="") as f:
        assert len(list(csv.DictReader(f))) == len(scans)


def test_pictures_are_named_and_none_is_half(disk, scans, checkpoints, capsys):
    folder, full = disk
    with full(4096):
        assert main(["segment", scans[0], "--out", str(folder), "--segmenter", checkpoints[1], "--device", "cpu"]) == 2
    name = Path(scans[0]).name
    said = capsys.readouterr().err
    assert any(f"error: {folder / name}{ending}: " in said for ending in (".labels.png", ".overlay.png"))
    assert contents(folder).keys() <= {"areas.csv.partial", f"{name}.labels.png", "ballast"}


def test_zip_of_results_is_gone(disk, tmp_path, checkpoints):
    folder, full = disk
    path, rng = tmp_path / "scan.png", np.random.default_rng(0)
    Image.fromarray(masked_bscan(rng)[0]).save(path)
    segmenter = Segmenter.from_pretrained(checkpoints[1], device="cpu")

    def run() -> None:
        with intake([path] * 3) as batch, ResultZip(folder / "out.zip", None, segmenter) as out:
            for answer in answer_all(batch.items, lambda scan: (None, segmenter(scan)), out.keep):
                out.tell(answer)

    with full(4096), pytest.raises(OSError, match=FULL) as error:
        run()
    assert error.value.filename == str(folder / "out.zip")
    assert contents(folder) == {}


def test_zip_is_gone_when_its_tables_do_not_fit(disk, checkpoints):
    folder, full = disk
    classifier = Classifier.from_pretrained(checkpoints[0], device="cpu")
    with (
        full(4096),
        pytest.raises(OSError, match=FULL) as error,
        ResultZip(folder / "out.zip", classifier, None) as out,
    ):
        out._record["noise"] = json.dumps(np.random.default_rng(0).random(4000).tolist())
    assert error.value.filename == str(folder / "out.zip")
    assert contents(folder) == {}

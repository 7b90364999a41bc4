"""A run's states and checkpoint folders: what is damaged is named and not loaded, and what can't be written leaves what
was there before."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from evil_pickle import evil, save_evil
from torch import nn
from torch.utils.data import DataLoader

from octhub import OctNet, ServingConfig
from training import checkpoint_folder
from training.checkpoint_folder import replace_checkpoint, take_place
from training.loop import SCHEDULES, FitOptions, fit, make_accelerator
from training.states import MANIFEST, RunError, check_state, last_state, write_manifest


class Halves:
    """A task that takes no time: to halve numbers."""

    def __init__(self):
        numbers = torch.arange(32.0).reshape(-1, 1) / 32
        self.train_loader = DataLoader([(x, x / 2) for x in numbers], 8, shuffle=True)

    def start_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def loss(self, model, batch):
        x, y = batch
        return (model(x) - y).square().mean(), 0.0

    def validate(self, model, accelerator):
        with torch.no_grad():
            return {"score": -float(self.loss(model, (torch.ones(1, 1), torch.full((1, 1), 0.5)))[0])}


class Stopped(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.fixture
def run(tmp_path):
    """run(epochs, …) trains in tmp_path, and returns the averaged weights that were kept last, and the history."""
    kept = {}

    def run(epochs: int = 3, **options):
        AcceleratorState._reset_state(reset_partial_state=True)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        keep = lambda best: kept.update({k: v.clone() for k, v in best.state_dict().items()})  # noqa: E731
        options = FitOptions(tmp_path, epochs, ema=0.5, **options)
        progress = fit(model, Halves(), options, make_accelerator(cpu=True), keep, {"what": "halves"})
        return dict(kept), [{k: v for k, v in row.items() if k != "seconds"} for row in progress.history]

    return run


def again(run, tmp_path):
    """A new run in the same folder."""
    for path in tmp_path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return run()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_resumed_is_equal_to_the_bit(run, tmp_path, schedule, monkeypatch):
    weights, history = run(schedule=schedule)
    for path in tmp_path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    whole = Halves.loss

    def loss(self, model, batch):
        if self.epoch == 2:
            raise Stopped
        return whole(self, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Halves, "loss", loss)
        with pytest.raises(Stopped):
            run(schedule=schedule)
    assert last_state(tmp_path).name == "state-00002"
    resumed, rows = run(schedule=schedule, resume=True)
    assert rows == history
    assert all(torch.equal(resumed[k], weights[k]) for k in weights)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["history.json", "run.json", "state-00003"]


@pytest.mark.parametrize("at", ["save_state", "_record"])
def test_stopped_around_a_state(run, tmp_path, monkeypatch, at):
    """Before the state of the second epoch is written, and after, before anything else is."""
    weights, history = run()
    for path in tmp_path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    import training.loop

    original, calls = getattr(training.loop, at), []

    def stop(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise Stopped
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(training.loop, at, stop)
        with pytest.raises(Stopped):
            run()
    assert last_state(tmp_path).name == ("state-00001" if at == "save_state" else "state-00002")
    resumed, rows = run(resume=True)
    assert rows == history == _rows(tmp_path)
    assert all(torch.equal(resumed[k], weights[k]) for k in weights)


def _rows(out: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in json.loads((out / "history.json").read_text())]


def test_what_a_killed_run_left_is_removed(run, tmp_path):
    run(1)
    for name in ("state-00000", "state-00002.tmp", "best.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_bytes(b"half")
    (tmp_path / "history.json.partial").write_text("[")
    (tmp_path / "state-of-the-art").mkdir()  # others' files lie there, too
    (tmp_path / "scans.tar.partial").write_bytes(b"half")
    run(1, resume=True)
    left = ["history.json", "run.json", "scans.tar.partial", "state-00001", "state-of-the-art"]
    assert sorted(p.name for p in tmp_path.iterdir()) == left


def test_killed_before_its_first_state(run, tmp_path):
    run(1)
    shutil.rmtree(tmp_path / "state-00001")
    (tmp_path / "state-00001.tmp").mkdir()
    with pytest.raises(RunError, match="stopped in its first epoch: start it again, without --resume"):
        run(1, resume=True)
    run(1)
    assert last_state(tmp_path).name == "state-00001"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda s: flip(s / "model.safetensors"), "model.safetensors has sha256 [0-9a-f]{16}…, expected"),
        (lambda s: flip(s / "ema.safetensors"), "ema.safetensors has sha256"),
        (lambda s: flip(s / "optimizer.bin"), "optimizer.bin has sha256"),
        (lambda s: (s / "progress.json").write_text("{}"), "progress.json has sha256"),
        (lambda s: (s / "optimizer.bin").unlink(), "no optimizer.bin"),
        (lambda s: (s / "sampler.bin").write_bytes(b""), "sampler.bin is not in manifest.json"),
        (lambda s: (s / MANIFEST).unlink(), "no whole manifest.json"),
        (lambda s: (s / MANIFEST).write_text('{"sha256": {'), "no whole manifest.json"),
        (lambda s: (s / MANIFEST).write_text("[]"), "no whole manifest.json"),
    ],
)
def test_damaged_state_is_named_and_not_loaded(run, tmp_path, damage, words, monkeypatch):
    run(1)
    damage(tmp_path / "state-00001")
    monkeypatch.setattr("accelerate.Accelerator.load_state", lambda *args: pytest.fail("it was loaded"))
    with pytest.raises(RunError, match=f"state-00001: .*{words}"):
        run(1, resume=True)


def test_manifest_names_every_file(run, tmp_path):
    run(1)
    state = last_state(tmp_path)
    names = json.loads((state / MANIFEST).read_text())["sha256"].keys()
    assert names == {p.name for p in state.iterdir()} - {MANIFEST}
    check_state(state)


@pytest.mark.parametrize("form", [save_evil, lambda path, marker: path.write_bytes(evil(marker))])
@pytest.mark.parametrize(
    "name", ["optimizer.bin", "random_states_0.pkl", "pytorch_model.bin", "custom_checkpoint_0.pkl"]
)
def test_a_state_runs_no_code(run, tmp_path, name, form):
    """Not even one whose manifest was forged: pickles are opened by torch's weights_only alone, or not at all."""
    run(1)
    state, marker = last_state(tmp_path), tmp_path / "was-run"
    form(state / name, marker)
    if name == "pytorch_model.bin":  # accelerate's second choice
        (state / "model.safetensors").unlink()
    write_manifest(state)
    if name == "random_states_0.pkl":  # accelerate goes on without them, and each epoch has a seed of its own
        run(1, resume=True)
    else:
        with pytest.raises(RunError, match="state-00001: can't be loaded"):
            run(1, resume=True)
    assert not marker.exists()


def test_full_disk_while_a_state_is_written(run, tmp_path, monkeypatch):
    run(1)

    def full(self, folder):
        Path(folder).mkdir()
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    with monkeypatch.context() as patch:
        patch.setattr("accelerate.Accelerator.save_state", full)
        with pytest.raises(RunError, match=r"state-00001: can't be written .*; there is none before it"):
            again(run, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.json"]


def small(value: float) -> OctNet:
    model = OctNet(channels=(4, 4, 4, 4, 4, 8), hidden=(8, 8), serving=ServingConfig(tuple("abcd"), (64, 128)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


@pytest.mark.parametrize("exchange", [True, False])
def test_checkpoint_takes_anothers_place(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(checkpoint_folder, "_exchange", lambda one, other: False)
    folder = tmp_path / "checkpoint"
    for value in (0.5, 0.25):
        replace_checkpoint(small(value), folder, training={"value": value})
        assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint"]
        assert json.loads((folder / "training.json").read_text()) == {"value": value}
        assert next(OctNet.from_pretrained(folder).parameters()).flatten()[0] == value
    assert (folder / "golden.json").is_file()


def test_checkpoint_that_cannot_be_written_leaves_the_other(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint"
    replace_checkpoint(small(0.5), folder)

    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint_folder, "write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        replace_checkpoint(small(0.25), folder, training={})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint"]
    assert next(OctNet.from_pretrained(folder).parameters()).flatten()[0] == 0.5


def test_folders_change_places_in_one_step(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    take_place(tmp_path / "new", tmp_path / "old")
    assert [p.name for p in (tmp_path / "old").iterdir()] == ["new"]

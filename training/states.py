"""A run's states on the disk: written whole, then renamed, and compared with their hashes before they are read.

A state is what accelerate stores of the model, the optimizer and the random numbers, the averaged weights, the
schedule, and where the run stands. Nothing in it can run code when it is read: accelerate opens its pickles with
torch's weights_only, and the rest is safetensors and JSON.
"""

import json
import re
import shutil
from pathlib import Path
from pickle import UnpicklingError

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from octhub.whole_files import PARTIAL, naming, sync, write_whole
from training.samples import sha256

STATE = "state-"
"""How the folders of states are called, before the number of epochs that are behind them."""

EMA, PROGRESS, MANIFEST = "ema.safetensors", "progress.json", "manifest.json"
"""In a state: the averaged weights, the schedule and where the run stands, and the sha256 of every other file."""

UNFINISHED = ".tmp"
"""How the name of a state's folder ends while it is written."""

WHOLE = re.compile(rf"{STATE}\d{{5}}")
"""How a whole state's folder is called."""

OURS = re.compile(r"(checkpoint|best|(run|history|encoder)\.json|(encoder|last)\.safetensors)" + re.escape(PARTIAL))
"""What else a run begins to write in its folder."""


class RunError(ValueError):
    """A run that can't start or continue in its folder."""


def last_state(out: Path) -> Path | None:
    """The newest whole state under `out`, or None."""
    return max((p for p in Path(out).glob(f"{STATE}*") if WHOLE.fullmatch(p.name)), default=None)


def clear_leftovers(out: Path) -> None:
    """Remove what a run that was killed had begun to write under `out`, and the states that it had begun to remove."""
    newest = last_state(out)
    for path in out.iterdir():  # the folder may hold others' files, too
        name = path.name
        if (OURS.fullmatch(name) or WHOLE.fullmatch(name.removesuffix(UNFINISHED))) and path != newest:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def save_state(accelerator: Accelerator, out: Path, average: nn.Module, progress: dict) -> Path:
    """Write the state after `progress["epoch"]` epochs, and then remove the older ones. Every process calls it.

    Args:
        average: the averaged model.
        progress: where the run stands, for JSON.

    Raises:
        RunError: it can't be written; the state before it stays.
    """
    state = out / f"{STATE}{progress['epoch']:05d}"
    partial = state.with_suffix(UNFINISHED)
    try:
        accelerator.save_state(str(partial))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            save_model(average, str(partial / EMA))
            write_whole(partial / PROGRESS, json.dumps(progress))
            write_manifest(partial)
    except (OSError, RuntimeError, SafetensorError) as e:  # torch and safetensors have errors of their own
        shutil.rmtree(partial, ignore_errors=True)
        before = last_state(out)
        hope = f"{before.name} is whole, and --resume goes on from it" if before else "there is none before it"
        raise RunError(f"{state}: can't be written ({str(e).splitlines()[0]}); {hope}") from e
    if accelerator.is_main_process:
        partial.rename(state)
        clear_leftovers(out)
    accelerator.wait_for_everyone()
    return state


def load_state(accelerator: Accelerator, state: Path, average: nn.Module) -> dict:
    """Read a state back, into what `accelerator` has prepared and the averaged model; returns `progress`.

    Raises:
        RunError: the state isn't what was written.
    """
    check_state(state)
    try:
        accelerator.load_state(str(state))
        load_model(average, str(state / EMA))
    except (OSError, RuntimeError, UnpicklingError, SafetensorError) as e:
        raise RunError(f"{state}: can't be loaded ({str(e).splitlines()[0].rstrip(':')})") from e
    return json.loads((state / PROGRESS).read_text(encoding="utf-8"))


def write_manifest(state: Path) -> None:
    """Store the hash of every file of a state, all of which are on the disk then."""
    hashes = {}
    for path in _files(state):
        with naming(path):
            sync(path)
            hashes[path.relative_to(state).as_posix()] = sha256(path)
    write_whole(state / MANIFEST, json.dumps({"sha256": hashes}, indent=1))


def check_state(state: Path) -> None:
    """Compare a state's files with its manifest.

    Raises:
        RunError: one is missing, is damaged or was exchanged, or has been added; the message names it.
    """
    try:
        expected = json.loads((state / MANIFEST).read_text(encoding="utf-8"))["sha256"]
        problems = [f"no {name}" for name in expected if not (state / name).is_file()]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise RunError(f"{state}: no whole {MANIFEST} ({type(e).__name__}), {_OTHERWISE}") from e
    for path in _files(state):
        name = path.relative_to(state).as_posix()
        if name not in expected:
            problems.append(f"{name} is not in {MANIFEST}")
        elif (found := sha256(path)) != expected[name]:
            problems.append(f"{name} has sha256 {found[:16]}…, expected {str(expected[name])[:16]}…")
    if problems:
        raise RunError(f"{state}: {'; '.join(problems)}: the state is damaged or was exchanged, {_OTHERWISE}")


_OTHERWISE = "and isn't loaded; remove it to go on from an older state, or to start anew"


def _files(state: Path) -> list[Path]:
    return sorted(p for p in state.rglob("*") if p.is_file() and p != state / MANIFEST)

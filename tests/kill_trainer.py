"""Kill trainings at random moments, resume them, and compare with one that nobody disturbed:

    python tests/kill_trainer.py --kills 20 --seed 0

A tiny OctNet and a tiny UNet learn from made-up scans, each in a process group of its own that is killed (SIGKILL):
half of the times after a random while, be it while Python still imports, and half at a random change on the disk, just
before it or some milliseconds later: while a state is written, between its renaming and the removal of the one before,
while a checkpoint is replaced. A killed run is resumed, and killed again, until it ends by itself. Then checkpoint,
weights and history must be those of the undisturbed run to the bit, and nothing half written may be left.
"""

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SMALL = {
    "octnet": (
        "training.train_octnet",
        "--size 64 128 --batch-size 8 --val-fraction 0.2 --epochs 3 --dropout 0.5 --mixup 0.2 --ema 0.8 --workers 1",
    ),
    "unet": (
        "training.train_unet",
        "--size 64 96 --crop 64 64 --crops 16 --batch-size 8 --val S03 --epochs 3 --backbone resnet10t --encoder random"
        " --ema 0.9 --workers 0 --half",
    ),
}
"""Model → module and arguments of a training of a few seconds."""

CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "open")
"""Python's audit events that tell of a change on the disk; an "open" only if it's for writing. What torch and
safetensors write themselves is between two of them."""

UNTIMED = ("seconds", "hardware")
"""Keys of records and histories that differ between two runs."""


@dataclass(frozen=True)
class Kill:
    """When to kill: after `seconds`, or at the `change`-th change on the disk (from 1) and `delay` seconds."""

    seconds: float = 0
    change: int = 0
    delay: float = 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each model (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="+", choices=SMALL, default=list(SMALL))
    parser.add_argument("--every", action="store_true", help="kill once at each change on the disk, in turn")
    parser.add_argument("--fork", action="store_true", help="import once for all runs: faster, and none dies importing")
    args = parser.parse_args(argv)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            failed += not Experiment(model, Path(folder) / model, args).run()
    print("every run that was killed ended as the undisturbed one did" if not failed else f"{failed} models differ")
    return 1 if failed else 0


class Experiment:
    """All runs of one model."""

    def __init__(self, model: str, folder: Path, args: argparse.Namespace):
        self.model, self.folder, self.args = model, folder, args
        self.module, words = SMALL[model]
        self.data = make_data(model, folder / "data")
        self.words = [*words.split(), "--data", str(self.data), "--cpu"]
        self.random = random.Random(f"{args.seed} {model}")
        if args.fork:
            import torch

            torch.set_num_threads(1)  # so that there is nothing that a fork could break
            importlib.import_module(self.module)

    def run(self) -> bool:
        """Print the table; False if a run ended otherwise than it should have."""
        whole = self.folder / "whole"
        started = time.monotonic()
        if self.start(whole)[0] != 0:
            raise SystemExit(f"the undisturbed {self.model} failed:\n{self.log.read_text()}")
        self.seconds = time.monotonic() - started
        self.changes = sum(line.startswith("change ") for line in self.log.read_text().splitlines())
        print(
            f"{self.model}: undisturbed {self.seconds:.1f} s, {self.changes} changes on the disk; seed {self.args.seed}"
        )
        print("run  kill  killed                                                      then")
        kills = runs = 0
        good = True
        wanted = self.changes if self.args.every else self.args.kills
        while kills < wanted:
            runs += 1
            out = self.folder / f"run-{runs}"
            killed = False
            while True:
                leave_alone = kills == wanted or (self.args.every and killed)
                status, where, said = self.start(out, None if leave_alone else self.draw(kills))
                if killed:
                    print(said)
                if status != -signal.SIGKILL:
                    break
                kills, killed = kills + 1, True
                print(f"{runs:3}  {kills:4}  {where:58}  ", end="", flush=True)
            problems = [f"exit status {status}"] if status else differences(whole, out)
            print(f"{runs:3}        {'differs: ' + '; '.join(problems) if problems else 'ended, equal to the bit'}")
            if problems:
                good = False
                print(self.log.read_text())
            shutil.rmtree(out, ignore_errors=True)
        return good

    def draw(self, kills: int) -> Kill:
        if self.args.every:
            return Kill(change=kills + 1)
        if self.random.random() < 0.5:
            return Kill(seconds=self.random.uniform(0, self.seconds))
        delay = self.random.choice((0, self.random.uniform(0, 0.02)))
        return Kill(change=self.random.randint(1, self.changes), delay=delay)

    def start(self, out: Path, kill: Kill | None = None) -> tuple[int, str, str]:
        """Start or resume a run and wait till it ends or is killed: (status, where it was killed, what it took up)."""
        kill = kill or Kill()
        begun = any(p.suffix != ".tmp" for p in out.glob("state-*"))
        words = [*self.words, "--out", str(out), *(["--resume"] if begun else [])]
        self.log = self.folder / "log"
        group = self.fork(words, kill) if self.args.fork else self.spawn(words, kill)
        seconds = kill.seconds
        deadline, status = time.monotonic() + (seconds or 600), None
        while status is None:
            if time.monotonic() > deadline:
                os.killpg(group, signal.SIGKILL)
            pid, code = os.waitpid(group, os.WNOHANG)
            if pid:
                status = os.waitstatus_to_exitcode(code)
            else:
                time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)  # workers that load data
        lines = self.log.read_text().splitlines()
        last = next((line.removeprefix("change ") for line in reversed(lines) if line.startswith("change ")), None)
        where = f"after {seconds:.1f} s, behind {last or 'its start'}" if seconds else f"at {last}"
        said = next((line.replace(f"{out}/", "") for line in lines if line.startswith("resumed")), None)
        said = said or ("killed again before it resumed" if begun else "started anew")
        return (-signal.SIGKILL if status == -signal.SIGALRM else status), where, said

    def spawn(self, words: list[str], kill: Kill) -> int:
        command = [sys.executable, __file__, "child", self.module, json.dumps(vars(kill)), *words]
        with self.log.open("w") as log:
            options = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
            return subprocess.Popen(command, cwd=ROOT, **options).pid

    def fork(self, words: list[str], kill: Kill) -> int:
        sys.stdout.flush()
        if pid := os.fork():
            return pid
        os.setsid()
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = 1
        try:
            status = child(self.module, kill, words)
        finally:
            sys.stdout.flush()
            os._exit(status)


def child(module: str, kill: Kill, words: list[str]) -> int:
    """Train, in the process that is to be killed."""
    out = words[words.index("--out") + 1]
    seen = 0

    def watch(event: str, args: tuple) -> None:
        nonlocal seen
        if event == "ctypes.dlsym" and args[1] == "renameat2":
            what = "exchange of two folders"
        elif event in CHANGES and is_change(event, args, out):
            names = [os.path.relpath(str(p), out) for p in args[: 2 if event == "os.rename" else 1]]
            what = (
                f"{event.removeprefix('os.')} {' → '.join(names if args[0] and str(args[0])[0] == '/' else args[:1])}"
            )
        else:
            return
        seen += 1
        os.write(1, f"\nchange {what}\n".encode())
        if seen == kill.change:
            if not kill.delay:
                os.killpg(0, signal.SIGKILL)
            signal.setitimer(signal.ITIMER_REAL, kill.delay)  # nobody handles its signal, so it ends the process

    sys.addaudithook(watch)
    return importlib.import_module(module).main(words)


def is_change(event: str, args: tuple, out: str) -> bool:
    path = args[0]
    if not isinstance(path, str | os.PathLike):
        return False
    if event == "open":
        writes = any(c in "wax+" for c in args[1] or "") or bool((args[2] or 0) & (os.O_WRONLY | os.O_RDWR))
        return writes and str(path).startswith(out)
    relative = event in ("os.remove", "os.rmdir") and args[1] != -1  # rmtree's, inside a folder that it has opened
    return relative or str(path).startswith(out)


def differences(whole: Path, out: Path) -> list[str]:
    """What a run that was killed left otherwise than the undisturbed one."""
    found = []
    for name in sorted({p.relative_to(d).as_posix() for d in (whole, out) for p in (d / "checkpoint").rglob("*")}):
        one, other = (untimed(d / name) if (d / name).is_file() else None for d in (whole, out))
        if one != other:
            found.append(f"{name} differs" if other else f"no {name}")
    if untimed(whole / "history.json") != untimed(out / "history.json"):
        found.append("history.json differs")
    names = [{p.relative_to(d).as_posix() for p in d.rglob("*")} for d in (whole, out)]
    return found + [
        f"{name} is {'left over' if name in names[1] else 'missing'}" for name in sorted(names[0] ^ names[1])
    ]


def untimed(path: Path) -> object:
    """A file's content; of JSON without what depends on the clock."""
    if path.suffix != ".json":
        return path.read_bytes()
    value = json.loads(path.read_text())
    for row in value if isinstance(value, list) else [value]:
        for key in UNTIMED:
            row.pop(key, None)
    return value


def make_data(model: str, folder: Path) -> Path:
    from synthetic import make_oct2017
    from synthetic_masks import make_masked_scans

    return (
        make_oct2017(folder, patients=4, test_patients=1)
        if model == "octnet"
        else make_masked_scans(folder, subjects=3)
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        sys.exit(child(sys.argv[2], Kill(**json.loads(sys.argv[3])), sys.argv[4:]))
    sys.exit(main())

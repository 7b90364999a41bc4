"""How much memory a model takes, measured in a process of its own: `python -m benchmarks.memory NAME`.

It prints by how many bytes the process's resident memory grew at most, from before the model was built: weights,
activations and the library's workspace.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import psutil
import torch

from benchmarks.contestants import Contestant, classifiers, segmenters

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def highest() -> int:
    """Bytes of resident memory that this process had at most since `forget_highest`.

    Linux keeps count by process. Elsewhere what the system has kept since the process began has to do.
    """
    if STATUS.is_file():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_highest() -> None:
    """Let `highest` begin anew, where the system can."""
    if CLEAR.exists():
        CLEAR.write_text("5")


def growth(contestant: Contestant, batch: int, layout: torch.memory_format, dtype: torch.dtype) -> int:
    """Bytes by which a forward pass, and all that it needs, let this process grow."""
    forget_highest()
    before = psutil.Process().memory_info().rss
    model = contestant.build().to(dtype=dtype, memory_format=layout)
    with torch.inference_mode():
        input = torch.randn(batch, *contestant.shape, dtype=dtype).contiguous(memory_format=layout)
        for _ in range(2):
            model(input)
    return highest() - before


def measured(name: str, batch: int, layout: str, dtype: str, threads: int, size: tuple[int, int] | None) -> int:
    """The same, by a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", name, "--batch", batch, "--layout", layout, "--dtype", dtype]
    command += ["--threads", threads, *(["--size", *size] if size else [])]
    here = Path(__file__).resolve().parent.parent
    found = subprocess.run(list(map(str, command)), cwd=here, check=True, capture_output=True, text=True)
    return int(found.stdout)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--layout", choices=("channels_last", "contiguous_format"), default="channels_last")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, nargs=2)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    size = tuple(args.size) if args.size else None
    known = {c.name: c for c in classifiers(size)}
    if args.name not in known:
        known |= {c.name: c for c in segmenters(size)}
    if args.name not in known:
        parser.error(f"{args.name!r}, expected one of {', '.join(known)}")
    print(growth(known[args.name], args.batch, getattr(torch, args.layout), getattr(torch, args.dtype)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

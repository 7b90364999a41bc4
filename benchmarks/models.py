"""Model against model: `python -m benchmarks.models`.

OctNet beside ResNet-50, MobileNetV2 and EfficientNet-Lite0, each at its usual input, and OctNet at theirs as well; UNet
beside U-Net++ and DeepLabV3+, with the same encoder at the same input. In eager PyTorch, from a batch that is in memory
to its logits, each model in the memory layout that is faster for it. On a GPU: `--device cuda`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from benchmarks.arguments import arguments, ms, number
from benchmarks.bars import Bar, at_least, told
from benchmarks.contestants import classifiers, segmenters
from benchmarks.forward import Ready, wait
from benchmarks.memory import measured
from benchmarks.peak import matrix_product
from benchmarks.report import save, table
from benchmarks.side_by_side import in_turns
from octhub.device import pick_device
from training.arguments import positive

PEAK = "matrix product"
"""Takes its turn among the models."""

GRAPH = ", CUDA graph"
"""Behind a model's name."""

BARS = (("ResNet-50", "OctNet", 8), ("U-Net++", "UNet", 2))
"""(rival, ours, how many times as fast ours has to be at batch 1)."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = arguments("models", __doc__, 20, "each model once; on a CPU a fifth of them for larger batches")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--dtype", help="float32, bfloat16 (by default float32 on a CPU, bfloat16 elsewhere)")
    parser.add_argument("--threads", type=positive, nargs="+", default=[1, 2], help="of the CPU (%(default)s)")
    parser.add_argument("--batches", type=positive, nargs="+", help="of the classifiers (1 32; on a GPU 1 8 64 256)")
    parser.add_argument("--segmenter-batches", type=positive, nargs="+", help="(1 4; on a GPU 1 8 64)")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="some of them alone")
    parser.add_argument("--size", type=positive, nargs=2, metavar=("HEIGHT", "WIDTH"), help="of every model's input")
    parser.add_argument("--graphs", action="store_true", help="on a GPU, also each model as a CUDA graph")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave the peak memory out")
    args = parser.parse_args(argv)
    on_cpu = args.device == "cpu"
    args.dtype = args.dtype or ("float32" if on_cpu else "bfloat16")
    args.batches = args.batches or ([1, 32] if on_cpu else [1, 8, 64, 256])
    args.segmenter_batches = args.segmenter_batches or ([1, 4] if on_cpu else [1, 8, 64])
    args.threads = args.threads if on_cpu else [1]
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    device, dtype = pick_device(args.device), getattr(torch, args.dtype)
    groups = {
        "classifiers": (classifiers(args.size), args.batches),
        "segmenters": (segmenters(args.size), args.segmenter_batches),
    }
    record: dict[str, Any] = {"dtype": args.dtype, "models": [], "runs": []}
    for group, (everyone, batches) in groups.items():
        models = [Ready.of(c, device, dtype) for c in everyone if not args.models or c.name in args.models]
        record["models"] += [{"group": group, **model.about()} for model in models]
        for threads in args.threads if models else ():
            torch.set_num_threads(threads)
            for batch in batches:
                rounds = args.rounds if batch == 1 or device.type == "cuda" else -(-args.rounds // 5)
                runs = compared(models, batch, rounds, args.graphs)
                record["runs"] += [{"group": group, "threads": threads, "batch": batch, **run} for run in runs]
        del models  # so that no other's memory is in the way
    if device.type == "cpu" and args.memory:
        add_memory(record, max(args.threads), args)
    record["bars"] = [bar.as_dict() for bar in bars(record["runs"])]
    print(full(record))
    save("models", record, args.device, args.results)
    return 0


def compared(models: Sequence[Ready], batch: int, rounds: int, graphs: bool) -> Iterator[dict[str, Any]]:
    """Every model on a batch, in turns, with a matrix product among them; the first is what ratios are relative to."""
    device, dtype = models[0].device, models[0].dtype
    runs, macs, memory = {}, {}, {}
    for model in models:
        name = model.contestant.name
        runs[name], macs[name] = model.forward(batch), model.macs * batch
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            runs[name]()
            memory[name] = torch.cuda.max_memory_allocated(device)
            if graphs:
                runs[name + GRAPH], macs[name + GRAPH] = model.graph(batch), macs[name]
    product, operations = matrix_product(device, dtype)

    def peak() -> None:
        product()
        wait(device)

    turns = in_turns({**runs, PEAK: peak}, rounds, warm_up=2 if batch == 1 else 1)
    most = operations / turns[PEAK].median
    for name in runs:
        found = turns[name].as_dict()
        each_second = 2 * macs[name] / found["seconds"]
        yield {
            "model": name,
            **found,
            "scans_a_second": batch / found["seconds"],
            "gflops": each_second / 1e9,
            "peak_gflops": most / 1e9,
            "of_peak": each_second / most,
            **({"memory": memory[name]} if name in memory else {}),
        }


def add_memory(record: dict[str, Any], threads: int, args: argparse.Namespace) -> None:
    """Peak memory, each in a process of its own, into the runs with the most threads."""
    layouts = {m["name"]: m["layout"] for m in record["models"]}
    for run in record["runs"]:
        if run["threads"] == threads:
            name = run["model"]
            run["memory"] = measured(name, run["batch"], layouts[name], args.dtype, threads, args.size)


def bars(runs: Sequence[dict[str, Any]]) -> Iterator[Bar]:
    """Ours against theirs at batch 1, for each number of threads."""
    for rival, ours, limit in BARS:
        for run in runs:
            if run["model"] == rival and run["batch"] == 1:
                mine = [r for r in runs if (r["model"], r["batch"], r["threads"]) == (ours, 1, run["threads"])]
                if mine:
                    threads = f"{run['threads']} thread{'s' * (run['threads'] > 1)}"
                    yield at_least(f"{ours} is faster than {rival} at batch 1, {threads}", run["ratio"], limit)


def full(record: dict[str, Any]) -> str:
    """All of a record."""
    about = {m["name"]: m for m in record["models"]}
    parts = []
    for group in ("classifiers", "segmenters"):
        runs = [run for run in record["runs"] if run["group"] == group]
        if not runs:
            continue
        first = runs[0]["model"]
        header = ("", "threads", "batch", "ms (quartiles)", "scans/s", f"time, {first} = 1 (quartiles)")
        rows = [
            (
                run["model"],
                run["threads"],
                run["batch"],
                ms(run["seconds"], run["quartiles"]),
                number(run["scans_a_second"]),
                f"{run['ratio']:.2f} ({' to '.join(f'{q:.2f}' for q in run['ratio_quartiles'])})",
                f"{run['gflops']:.0f} of {run['peak_gflops']:.0f}, {run['of_peak']:.0%}",
                memory_of(run),
            )
            for run in runs
        ]
        parts.append(table((*header, "GFLOP/s of the peak", "peak memory, MB"), rows))
        described = [
            (m["name"], shape_of(m), f"{m['parameters']:,}", f"{m['macs'] / 1e9:.2f}", m["layout"])
            for m in about.values()
            if m["group"] == group
        ]
        parts.append(table(("", "input", "parameters", "GMACs a scan", "memory layout"), described))
    return "\n\n".join([*parts, told(record["bars"])])


def readme(record: dict[str, Any]) -> str:
    """README.md's table: each model with the most threads, one scan and many at a time."""
    about, rows = {m["name"]: m for m in record["models"]}, []
    threads = max(run["threads"] for run in record["runs"])
    most = {g: max(r["batch"] for r in record["runs"] if r["group"] == g) for g in {r["group"] for r in record["runs"]}}
    for one in record["runs"]:
        if one["threads"] != threads or one["batch"] != 1:
            continue
        many = next(
            r
            for r in record["runs"]
            if (r["model"], r["threads"], r["batch"]) == (one["model"], threads, most[one["group"]])
        )
        m = about[one["model"].removesuffix(GRAPH)]
        rows.append(
            (
                one["model"],
                shape_of(m),
                f"{m['parameters'] / 1e6:.1f} M",
                f"{m['macs'] / 1e9:.2f} G",
                ms(one["seconds"]),
                f"{one['ratio']:.2f}",
                f"{number(many['scans_a_second'])} ({many['batch']})",
                f"{many['of_peak']:.0%}",
                memory_of(one),
            )
        )
    header = ("", "input", "parameters", "MACs", "ms a scan", "relative", "scans/s (batch)", "of peak", "memory, MB")
    return table(header, rows)


def shape_of(model: dict[str, Any]) -> str:
    return "×".join(map(str, model["input"]))


def memory_of(run: dict[str, Any]) -> str:
    return f"{run['memory'] / 1e6:.0f}" if "memory" in run else ""


if __name__ == "__main__":
    sys.exit(main())

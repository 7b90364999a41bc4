"""Many users at once: does everybody get their own answer, how soon, and does the server's memory stay what it was?

    python -m benchmarks.load

starts the app, lets 1, 5, 20 and 50 users ask it for two minutes each as people do, then counts the memory over 2,000
requests. It fails if an answer was lost, or somebody else's, or if the memory grows.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import httpx

from benchmarks import report
from benchmarks.load_client import App
from benchmarks.load_memory import Curve, watched
from benchmarks.load_scans import Questions, questions
from benchmarks.load_users import PATIENCE, Tally, User, alone, percentile, together
from benchmarks.running_app import running_app
from octhub import Classifier, Segmenter
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER

STEADY = 8
"""Users who ask while the memory is counted: the queue is never empty, and never full."""

EVERY = 250
"""Requests from one look at the memory to the next."""

WARM_UP = 250
"""Requests before the first look: allocator and libraries take what they need once."""

GROWTH = 20.0
"""MB per 1,000 requests that are no leak. A visit is kept for 25 minutes, as the page promises, with its scan's heatmap
and outlines in some 50 kB; with a session for every five questions, that is 10 MB at most. The rest is for noise."""

CHECKED_ALONE = 8
"""Scans that are asked for once more by nobody but one user."""


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--url", help="an app that runs already; its memory isn't counted (default: start one)")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 5, 20, 50], help="at once (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=120, help="for each number of users (default %(default)g)")
    parser.add_argument("--requests", type=int, default=2000, help="over which memory is counted (default %(default)s)")
    parser.add_argument("--scans", type=int, default=2, help="of each user (default %(default)s)")
    parser.add_argument("--classifier", default=DEFAULT_CLASSIFIER, help="default %(default)s")
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER, help="default %(default)s")
    parser.add_argument("--growth", type=float, default=GROWTH, help="MB per 1,000 requests (default %(default)g)")
    parser.add_argument("--no-save", action="store_true", help="write no record")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and save. Returns the exit status: 1 if anything went wrong."""
    args = options(argv)
    users = max(*args.users, STEADY if args.requests else 1)
    print(f"Computing the right answers for {users * args.scans} scans …", flush=True)
    models = Classifier.from_pretrained(args.classifier), Segmenter.from_pretrained(args.segmenter)
    asked = questions(users, args.scans, *models)
    del models
    command = ["app.py", "--classifier", args.classifier, "--segmenter", args.segmenter]
    with nullcontext() if args.url else running_app(command) as app:
        figures = asyncio.run(measure(args.url or app.url, app and app.pid, asked, args))
    if not args.no_save:
        report.save("load", figures)
    for problem in figures["problems"]:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 1 if figures["problems"] else 0


async def measure(url: str, pid: int | None, asked: Questions, args: argparse.Namespace) -> dict[str, Any]:
    """All rounds, and the memory curve; printed as they come."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(timeout=PATIENCE, limits=limits, trust_env=False) as http:
        app = await App.at(url, http)
        total = Tally()  # of all rounds: what is the same over them
        rounds = [await one_round(app, http, asked, n, args.seconds, pid, total) for n in args.users]
        print(report.table(HEADER, [row(r) for r in rounds]), flush=True)
        curve = None
        if args.requests and pid:
            curve = await memory(app, http, asked, args.requests, pid, total)
        one = User(0, asked, app, http, total, lambda: True)
        mine = [scan for scans in asked.scans for scan in scans][:CHECKED_ALONE]
        before = len(total.other_bits)
        await alone(one, mine)
        print(f"\nalone again, {len(mine)} scans: {len(total.other_bits) - before} with other bits", flush=True)
    problems = [f"{n} × {what}" for what, n in total.errors.items()]
    problems += [f"a wrong answer: {what}" for what in total.mixed]
    problems += [f"other bits: {what}" for what in total.other_bits]
    figures: dict[str, Any] = {"rounds": rounds, "segmenter": args.segmenter, "classifier": args.classifier}
    if curve is not None:
        figures["memory"] = {"requests": curve.requests, "mb": curve.mb, "slope": curve.slope, "bound": args.growth}
        print(f"\nmemory, MB: {', '.join(f'{n}: {mb:.0f}' for n, mb in zip(curve.requests, curve.mb, strict=True))}")
        print(f"slope {curve.slope:.1f} MB per 1,000 requests, at most {args.growth:g} expected")
        if curve.slope > args.growth:
            problems.append(f"memory grows by {curve.slope:.1f} MB per 1,000 requests, more than {args.growth:g}")
    return figures | {"problems": problems}


HEADER = ["users", "answered", "busy", "errors", "mixed up", "requests/s", "p50 s", "p95 s", "peak MB"]


def readme(record: dict[str, Any]) -> str:
    """README.md's table, and what became of the memory."""
    said = report.table(HEADER, [row(r) for r in record["rounds"]])
    memory = record.get("memory")
    if memory is None:
        return said
    curve = ", ".join(f"{mb:.0f} after {n}" for n, mb in zip(memory["requests"], memory["mb"], strict=True))
    bound = f"at most {memory['bound']:g} is no leak"
    return (
        f"{said}\n\nMemory in MB over {memory['requests'][-1]} more requests by {STEADY} users: {curve}; a slope of "
        + (f"{memory['slope']:.1f} MB per 1,000 requests, where {bound}.")
    )


def row(r: dict[str, Any]) -> list[Any]:
    """A round, by HEADER."""
    peak = "–" if r["peak_mb"] is None else f"{r['peak_mb']:.0f}"
    counts = [r[key] for key in ("users", "answered", "busy", "errors", "mixed")]
    return [*counts, f"{r['per_second']:.2f}", f"{r['p50']:.2f}", f"{r['p95']:.2f}", peak]


async def one_round(
    app: App, http: httpx.AsyncClient, asked: Questions, users: int, seconds: float, pid: int | None, total: Tally
) -> dict[str, Any]:
    """So many users at once, for so long; everybody waits for the answer to their last question."""
    tally = Tally(bits=total.bits, other_bits=total.other_bits)
    until = time.monotonic() + seconds
    crowd = [User(i, asked, app, http, tally, lambda: time.monotonic() > until) for i in range(users)]
    async with watched(pid) as peak:
        took = await together(crowd)
    add(total, tally)
    times = tally.times
    return {
        "users": users,
        "seconds": took,
        "answered": len(times),
        "busy": tally.busy,
        "errors": tally.errors.total(),
        "mixed": len(tally.mixed),
        "per_second": len(times) / took,
        "p50": percentile(times, 50),
        "p95": percentile(times, 95),
        "peak_mb": peak.mb,
        "kinds": {
            kind: {"answered": len(t), "p50": percentile(t, 50), "p95": percentile(t, 95)}
            for kind, t in sorted(tally.seconds.items())
        },
    }


async def memory(app: App, http: httpx.AsyncClient, asked: Questions, requests: int, pid: int, total: Tally) -> Curve:
    """Memory at the start, after every EVERY requests, and at the end."""
    curve, tally, done = Curve(), Tally(bits=total.bits, other_bits=total.other_bits), 0

    def told() -> None:
        nonlocal done
        done += 1
        counted = done - WARM_UP
        if counted >= 0 and (counted % EVERY == 0 or counted == requests) and counted <= requests:
            curve.look(counted, pid)

    # Who fails doesn't count, so failures end it, too
    def enough() -> bool:
        return done >= WARM_UP + requests or tally.errors.total() > requests

    await together([User(i, asked, app, http, tally, enough, told) for i in range(STEADY)])
    add(total, tally)
    return curve


def add(total: Tally, tally: Tally) -> None:
    total.busy += tally.busy
    total.errors += tally.errors
    total.mixed += tally.mixed


if __name__ == "__main__":
    sys.exit(main())

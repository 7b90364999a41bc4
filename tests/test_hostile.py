"""Hostile uploads, thousands of them: each ends in a right answer or in the door's own error (see fuzz_door.py)."""

import time
from pathlib import Path

import fuzz_door
import fuzz_in_process
import hostile_images
import pytest
from fuzz_door import in_process
from hostile_bombs import SLOW

COUNT, OVER_HTTP = 2000, 120
"""Uploads that every run of the tests tries; the long run is a command."""

SERVER_MB = 300
"""Megabytes by which the server may grow over the rest."""


def assert_all_kinds(table, kinds) -> None:
    assert not set(kinds) - set(table.rows), "kinds that weren't tried"
    assert not table.problems, "\n".join([*table.problems[:30], table.text()])
    assert not table.left


def test_in_process():
    table = in_process(0, COUNT)
    print(table.text())
    assert table.tried == COUNT
    assert_all_kinds(table, fuzz_in_process.KINDS)
    answered = sum(row.answered for row in table.rows.values())
    assert COUNT / 4 < answered < COUNT * 3 / 4  # the generator is neither all good nor all bad


def test_a_seed_is_the_same_upload_always():
    for seed in range(0, 200, 7):
        again = fuzz_in_process.case(seed)
        assert (again.name, again.data, again.expect) == (
            fuzz_in_process.case(seed).name,
            fuzz_in_process.case(seed).data,
            again.expect,
        )


def test_what_hangs_or_dies_is_told_and_the_rest_goes_on(tmp_path, monkeypatch):
    """With a child that hangs at one seed and crashes at another."""
    child = tmp_path / "child.py"
    child.write_text("""if True:
        import argparse, json, os, time
        parser = argparse.ArgumentParser()
        parser.add_argument("--child", action="store_true")
        parser.add_argument("--seed", type=int)
        parser.add_argument("--count", type=int)
        args = parser.parse_args()
        for seed in range(args.seed, args.seed + args.count):
            said = {"seed": seed, "kind": "any"}
            print(json.dumps(said), flush=True)
            if seed == 2:
                time.sleep(60)
            if seed == 4:
                os.abort()
            found = {"answered": True, "problems": [], "seconds": 0.1, "megabytes": 1, "left": 0}
            print(json.dumps(said | found), flush=True)
    """)
    monkeypatch.setattr(fuzz_door, "__file__", str(child))
    start = time.monotonic()
    table = in_process(0, 6, patience=5)
    assert time.monotonic() - start < 40
    assert (table.tried, table.rows["any"].answered) == (6, 4)
    hangs, dies = table.problems
    assert hangs.startswith("seed 2, any: hangs")
    assert dies.startswith("seed 4, any: ended the process with status -6")


def test_a_wrong_answer_and_a_bomb_would_be_noticed(tmp_path, monkeypatch):
    """The checks check: each promise, broken, is a problem."""
    monkeypatch.chdir(tmp_path)

    def problems(case) -> str:
        return "; ".join(fuzz_in_process.try_door(case, tmp_path).problems)

    right = hostile_images.case(0)
    assert not problems(right)
    monkeypatch.setattr(fuzz_in_process, "read_input", lambda path, name: _raise(KeyError("a stranger")))
    assert "raised KeyError" in problems(right)
    real = hostile_images.case(0).pixels.astype("float32")
    for broken, word in (
        (lambda path, name: (real[::-1].copy(), _given(name, real)), "gave wrong pixels"),
        (lambda path, name: (real * 2, _given(name, real)), "gave values"),
        (lambda path, name: (real, _given("other", real)), "recorded as"),
        (lambda path, name: ((tmp_path / "left").touch(), (real, _given(name, real)))[1], "left 1 files behind"),
        (lambda path, name: (bytearray(200_000_000), (real, _given(name, real)))[1], "MB, expected at most 100"),
        (lambda path, name: _raise(fuzz_in_process.ScanError("no")), "the message doesn't begin with the name"),
    ):
        monkeypatch.setattr(fuzz_in_process, "read_input", broken)
        assert word in problems(right)
        (tmp_path / "left").unlink(missing_ok=True)


def _raise(error: Exception):
    raise error


def _given(name: str, pixels):
    from octhub.provenance import Input

    return Input(name, "", "file", *pixels.shape)


def memory(pid: int) -> float:
    """Megabytes of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def elsewhere(server) -> set[Path]:
    """Files that the server wrote, but for uploads."""
    return {path for path in server.elsewhere.rglob("*") if path.is_file()}


@pytest.fixture
def watched(server):
    """The server, which must not grow, write or complain meanwhile."""
    written, said, grown = elsewhere(server), len(server.log.read_text()), memory(server.process.pid)
    yield server
    assert elsewhere(server) == written
    assert "Traceback" not in server.log.read_text()[said:]
    assert memory(server.process.pid) - grown < SERVER_MB


def test_over_http(watched):
    from fuzz_http import over_http

    # A heatmap of 20 megapixels takes the server several seconds: that is for the long run
    seeds = [seed for seed in range(2 * OVER_HTTP) if fuzz_in_process.case(seed).kind not in SLOW][:OVER_HTTP]
    table = over_http(watched.url, seeds)
    print(table.text())
    assert table.tried == OVER_HTTP
    assert_all_kinds(table, hostile_images.LIGHT)

"""What the benchmarks measure with: turns, tables and records. Their timings are no matter for tests."""

import json
import re

import pytest

from benchmarks import report
from benchmarks.machine import machine, slug, told
from benchmarks.side_by_side import in_turns


def test_everyone_runs_once_a_round_and_in_changing_order():
    ran = []
    turns = in_turns({name: lambda name=name: ran.append(name) for name in "abc"}, rounds=3, warm_up=1)
    rounds = [ran[i : i + 3] for i in range(0, 12, 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len(rounds) == 4
    assert rounds[0] != rounds[1] != rounds[2]
    assert [len(t.seconds) for t in turns.values()] == [3, 3, 3]
    assert set(turns["a"].ratios) == {1.0}


def test_ratios_are_relative_to_the_first_in_the_same_round(monkeypatch):
    clock = iter([0, 1, 1, 3, 10, 14, 14, 16])  # b takes 1, a 2; then a takes 4, b 2
    monkeypatch.setattr("benchmarks.side_by_side.time.perf_counter", lambda: next(clock))
    turns = in_turns({"a": lambda: None, "b": lambda: None}, rounds=2, warm_up=0)
    assert turns["a"].seconds == (2, 4)
    assert turns["b"].ratios == (0.5, 0.5)
    assert turns["b"].as_dict()["ratio"] == 0.5
    assert turns["a"].as_dict()["seconds"] == 3


def test_a_table_is_markdown():
    lines = report.table(["model", "×"], [["OctNet", 1], ["a longer name", 12.5]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert re.fullmatch(r"\|(-+\|)+", lines[1])


def test_a_record_names_machine_and_day(tmp_path, capsys):
    path = report.save("turns", {"ratio": 2.0}, folder=tmp_path)
    record = json.loads(path.read_text())
    assert record["ratio"] == 2.0
    assert path.name == f"turns.{slug(record['machine'])}.json"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
    assert told(record["machine"]) in capsys.readouterr().out
    assert record["machine"]["torch"] in told(machine())


def test_a_gpu_gives_the_file_its_name():
    found = machine() | {"gpu": "NVIDIA H100 80GB HBM3", "cuda": "13.0"}
    assert slug(found) == "nvidia-h100-80gb-hbm3"
    assert told(found).startswith("NVIDIA H100 80GB HBM3 (CUDA 13.0); ")


@pytest.mark.parametrize("path", sorted(report.RESULTS.glob("*.json")), ids=lambda p: p.name)
def test_committed_records_are_named_after_their_machine(path):
    record = json.loads(path.read_text())
    assert path.name == f"{record['benchmark']}.{slug(record['machine'])}.json"

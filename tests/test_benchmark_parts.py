"""The parts of a call, and the tables in README.md."""

import json
from types import SimpleNamespace

import pytest

from benchmarks import bars, readme
from benchmarks.arguments import ms, number
from benchmarks.parts import OTHER, PartError, Parts, shares


@pytest.fixture
def kitchen(monkeypatch):
    """Two functions where their caller looks them up by name; one calls the other. Time passes by `wait` alone."""
    clock = [0.0]
    monkeypatch.setattr("benchmarks.parts.time.perf_counter", lambda: clock[0])
    place = SimpleNamespace(wait=lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    place.cut = lambda: place.wait(2)
    place.cook = lambda: (place.cut(), place.wait(4))
    return place


def test_parts_add_up_and_nothing_counts_twice(kitchen):
    parts = Parts({"cook": [(kitchen, "cook")], "cut": [(kitchen, "cut")]})
    before = kitchen.cook
    with parts.watched():
        found = parts.of(lambda: (kitchen.cut(), kitchen.cook(), kitchen.wait(3)))
    assert found == {"cut": 2, "cook": 6, OTHER: 3}  # the cut within the cooking is the cooking's
    assert kitchen.cook is before
    assert sum(shares([found, found]).values()) == pytest.approx(1)
    assert list(shares([found]))[-1] == OTHER


def test_a_part_that_is_gone_is_told(kitchen):
    with (
        pytest.raises(PartError, match=r"SimpleNamespace has no fry, where .* 'fry'"),
        Parts({"cut": [(kitchen, "cut")], "fry": [(kitchen, "fry")]}).watched(),
    ):
        pass
    assert kitchen.cut.__name__ == "<lambda>"


def test_a_part_that_did_not_run_is_told(kitchen):
    parts = Parts({"cook": [(kitchen, "cook")], "cut": [(kitchen, "cut")]})
    with parts.watched():
        parts.of(kitchen.cut, expected=["cut"])
        with pytest.raises(PartError, match=r"'cook' didn't run: nothing called SimpleNamespace\.cook"):
            parts.of(kitchen.cut)


def test_methods_are_watched_on_the_object_alone():
    class Cook:
        def cook(self):
            return "soup"

    one, other = Cook(), Cook()
    parts = Parts({"cook": [(one, "cook")]})
    with parts.watched():
        assert set(parts.of(one.cook)) == {"cook", OTHER}
        with pytest.raises(PartError):
            parts.of(other.cook)
    assert "cook" not in vars(one)


def test_class_methods_are_put_back_as_they_were():
    class Pot:
        @classmethod
        def of(cls, what: str) -> str:
            return f"{what} in a {cls.__name__}"

    before = vars(Pot)["of"]
    parts, said = Parts({"fill": [(Pot, "of")]}), []
    with parts.watched():
        parts.of(lambda: said.append(Pot.of("soup")))
    assert said == ["soup in a Pot"]
    assert vars(Pot)["of"] is before


def test_bars_say_whether_they_are_met():
    met, missed = bars.at_least("speed", 9.14, 8), bars.at_most("share", 31.2, 30, " %")
    assert str(met) == "met: speed: 9.14×, expected at least 8×"
    assert str(missed) == "MISSED: share: 31.2 %, expected at most 30 %"
    assert bars.told([met.as_dict(), missed.as_dict()]) == f"{met}\n{missed}"


def test_numbers_have_three_digits():
    assert [number(x) for x in (1234.5, 123.4, 12.34, 1.234, 0.1234)] == ["1,234", "123", "12.3", "1.23", "0.123"]
    assert ms(0.0123, [0.0121, 0.0126]) == "12.3 (12.1 to 12.6)"


class TestReadme:
    def record(self, folder, day: str, machine: str, **more) -> None:
        programs = {"import torch": {"seconds": float(day[-2:]), "ratio": 1.0}}
        found = {
            "name": machine,
            "cores": 2,
            "instructions": "AVX2",
            "memory_gb": 8,
            "torch": "2",
            "python": "3",
            **more,
        }
        made = {"benchmark": "startup", "date": day, "machine": found, "programs": programs, "app": {}, "bars": []}
        (folder / f"startup.{machine}.json").write_text(json.dumps(made))

    def test_newest_result_of_its_kind_of_machine(self, tmp_path):
        self.record(tmp_path, "2026-01-02", "a")
        self.record(tmp_path, "2026-01-01", "b")
        self.record(tmp_path, "2026-01-03", "c", gpu="H100", cuda="13.0")
        assert readme.newest("startup", False, tmp_path)["machine"]["name"] == "a"
        assert readme.newest("startup", True, tmp_path)["machine"]["name"] == "c"
        assert readme.newest("models", False, tmp_path) is None

    def test_places_are_filled_and_filled_anew(self, tmp_path):
        empty = (
            "before\n<!-- benchmark: startup -->\n<!-- end -->\nafter\n<!-- benchmark: models gpu -->\n<!-- end -->\n"
        )
        assert readme.filled(empty, tmp_path) == empty
        self.record(tmp_path, "2026-01-02", "a")
        once = readme.filled(empty, tmp_path)
        assert "| `import torch` | 2.00 | 1.00     |" in once
        assert once.startswith("before\n<!-- benchmark: startup -->\n\n| a new process")
        assert "2026-01-02, a, 2 cores" in once
        assert once.endswith("<!-- end -->\nafter\n<!-- benchmark: models gpu -->\n<!-- end -->\n")
        assert readme.filled(once, tmp_path) == once

    def test_readme_has_what_the_committed_results_say(self):
        text = readme.README.read_text(encoding="utf-8")
        assert readme.PLACE.findall(text)
        assert readme.filled(text) == text

"""A few of tests/kill_trainer.py's kills: what is killed and resumed ends as what nobody disturbed."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, str(Path(__file__).parent / "kill_trainer.py")]


@pytest.mark.parametrize(("model", "seed"), [("octnet", 3), ("unet", 4)])
def test_killed_and_resumed_is_equal_to_the_bit(model, seed):
    command = [*COMMAND, "--fork", "--kills", "4", "--seed", str(seed), "--models", model]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ended, equal to the bit") >= 1
    assert "differs" not in done.stdout


def test_a_difference_would_be_told(tmp_path):
    from kill_trainer import differences

    for name, text in (("one", "[]"), ("other", "[1]")):
        (tmp_path / name / "checkpoint").mkdir(parents=True)
        (tmp_path / name / "history.json").write_text('[{"epoch": 1, "seconds": 1}]')
        (tmp_path / name / "checkpoint/config.json").write_text(text.replace("1", '{"a": 1}'))
    (tmp_path / "other/state-00001.tmp").mkdir()
    found = differences(tmp_path / "one", tmp_path / "other")
    assert found == ["checkpoint/config.json differs", "state-00001.tmp is left over"]

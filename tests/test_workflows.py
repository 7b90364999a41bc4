"""What GitHub runs: the workflows parse, may read only, and give commands that the command line understands."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from octhub.__main__ import _parser

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_workflow(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]
    assert all(job["timeout-minutes"] for job in workflow["jobs"].values())
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)
        assert "${{" not in step.get("run", "")  # what others have named would run as a command
        assert re.fullmatch(
            r"actions/(checkout|setup-python|upload-artifact)@v\d+", step.get("uses", "actions/checkout@v0")
        )


def test_workflows_run_what_there_is():
    commands = "\n".join(step.get("run", "") for path in WORKFLOWS for step in steps(yaml.safe_load(path.read_text())))
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    assert ".ci/run" in commands
    verify = re.findall(r"^python -m octhub (.*)$", commands, re.MULTILINE)
    asked = [_parser().parse_args(shlex.split(arguments)) for arguments in verify]
    assert [a.url for a in asked] == ["http://127.0.0.1:7860", "$OCTHUB_SPACE"]
    assert all(a.timeout >= 180 for a in asked)
    assert "python app.py --port 7860" in commands


@pytest.mark.parametrize(
    ("event", "status", "said"),
    [("push", 0, "::notice::"), ("pull_request", 0, "::notice::"), ("schedule", 1, "::error::")],
)
def test_without_a_space_nothing_is_skipped_in_silence(event, status, said):
    workflow = yaml.safe_load((ROOT / ".github/workflows/gallery.yml").read_text())
    first, *others = workflow["jobs"]["space"]["steps"]
    assert first["if"] == "env.OCTHUB_SPACE == ''"
    assert {step["if"] for step in others} == {"env.OCTHUB_SPACE != ''"}
    command = ["bash", "-e", "-c", first["run"]]
    ended = subprocess.run(command, check=False, env={"GITHUB_EVENT_NAME": event}, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout[: len(said)]) == (status, said)
    assert "OCTHUB_SPACE is not set" in ended.stdout


def test_dependencies_are_audited_every_week_and_when_they_change():
    workflow = yaml.safe_load((ROOT / ".github/workflows/audit.yml").read_text())
    when = workflow[True]  # YAML takes "on" for it
    assert re.fullmatch(r"\d+ \d+ \* \* \d", when["schedule"][0]["cron"])
    for event in ("push", "pull_request"):
        watched = {path.name for pattern in when[event]["paths"] for path in ROOT.glob(pattern)}
        assert watched == {"requirements.txt", "requirements-dev.txt", "pyproject.toml", "audit.yml"}
    audited = re.findall(r"^python -m pip_audit -r (\S+)$", "\n".join(s.get("run", "") for s in steps(workflow)), re.M)
    assert audited == ["requirements.txt", "requirements-dev.txt"]
    assert "continue-on-error" not in json.dumps(workflow, default=str)

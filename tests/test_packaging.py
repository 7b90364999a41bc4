"""What a Space, pip and a clone install is the same."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


APP_ALONE = {"gradio", "mcp"}
"""What the app needs and the package doesn't."""


def requirements(name: str) -> dict[str, str]:
    """Package → version specifier of a requirements file."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and line[0] not in "#-"]
    return {re.split("[<>=]", line)[0]: line for line in lines}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is new in Python 3.11")
def test_pyproject_and_requirements_agree():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    app = requirements("requirements.txt")
    assert sorted(project["dependencies"]) == sorted(line for name, line in app.items() if name not in APP_ALONE)
    dev = requirements("requirements-dev.txt")
    for extra in ("training", "onnx"):
        assert set(project["optional-dependencies"][extra]) <= set(dev.values())


def test_space_and_requirements_name_the_same_gradio():
    version = re.search(r"^sdk_version: (\S+)$", (ROOT / "README.md").read_text(), re.MULTILINE)[1]
    assert requirements("requirements.txt")["gradio"] == f"gradio=={version}"


def test_a_space_can_install_the_requirements_alone():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert not [line for line in lines if line.startswith("-")]  # they are installed before the repository is there

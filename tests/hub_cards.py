"""Cards (README.md with front matter), and a few of the checks that the Hub makes of them."""

import re
from collections.abc import Iterator

import yaml

FRONT_MATTER = re.compile(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))")
"""huggingface_hub's expression, which is the Hub's."""

SDKS = ("gradio", "docker", "static", "streamlit")
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
REQUIRED = {"task": ("type",), "dataset": ("type", "name"), "metrics": ("type", "value")}
"""What a result in model-index must say."""


def card_data(content: bytes) -> dict:
    """A card's front matter; {} if there is none or it can't be read."""
    found = FRONT_MATTER.match(content.decode(errors="replace"))
    try:
        data = yaml.safe_load(found[2]) if found else {}
    except yaml.YAMLError:
        data = {}
    return data if isinstance(data, dict) else {}


def card_problems(content: str, kind: str) -> tuple[list[str], list[str]]:
    """(errors, warnings) of a README.md: a few of the Hub's checks, those that a typing mistake runs into."""
    found = FRONT_MATTER.match(content)
    try:
        data = yaml.safe_load(found[2]) if found else None
    except yaml.YAMLError as e:
        return [f"YAML Metadata Error: {e}"], []
    if data is not None and not isinstance(data, dict):
        return ["YAML Metadata Error: expected an object"], []
    warnings = [] if data else ["empty or missing yaml metadata in repo card"]
    check = {"space": _space_errors, "model": _index_errors}.get(kind, lambda data: ())
    return list(check(data or {})), warnings


def _space_errors(data: dict) -> Iterator[str]:
    if data.get("sdk") not in SDKS:
        yield f'"sdk" must be one of [{", ".join(SDKS)}]'
    for key in ("colorFrom", "colorTo"):
        if data.get(key, "red") not in COLORS:
            yield f'"{key}" must be one of [{", ".join(COLORS)}]'
    if len(str(data.get("short_description", ""))) > 60:
        yield '"short_description" length must be less than or equal to 60 characters long'


def _index_errors(data: dict) -> Iterator[str]:
    for i, model in enumerate(data.get("model-index") or []):
        if not isinstance(model, dict) or not model.get("name") or not isinstance(model.get("results"), list):
            yield f'"model-index[{i}].name" and "model-index[{i}].results" are required'
            continue
        for j, result in enumerate(model["results"]):
            for key, names in REQUIRED.items():
                found = result.get(key) if isinstance(result, dict) else None
                for part in found or [None] if key == "metrics" else [found]:
                    missing = [n for n in names if not isinstance(part, dict) or part.get(n) is None]
                    yield from (f'"model-index[{i}].results[{j}].{key}.{name}" is required' for name in missing)

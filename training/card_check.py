"""Is a card fit to be read? What is left over, leads nowhere, or is a figure that no file of its checkpoint holds."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import ModelCard

from training.card import eval_results, read_records, render_card

HOSTS = ("doi.org", "github.com", "huggingface.co")
"""Whose pages a card may link to."""

PLACEHOLDERS = (
    r"\{\{|\}\}",
    r"\{%|%\}",
    r"\bTODO\b",
    r"\[More Information Needed\]",
    r"\bundefined\b",
    r"\bNone\b",
    r"\b(?i:nan)\b",
)
"""What a template, or a value that isn't there, leaves behind."""

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]\n]*\]\(([^()\s]*)\)")
URL = re.compile(r"\b[a-z]{3,5}://[^\s)>}\]\"']+")
FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)

NO_FIGURES = (r"doi:10\.\d{4,}/\S+", r"CC BY \d\.\d", r"Apache License \d\.\d", r"95 % (Wilson )?interval")
"""Numbers that aren't measured: DOIs, versions of licences, and the level of the intervals, which is in their name."""

FIGURE = re.compile(r"(?<![\w.])(\d+\.\d+|\d+(?=\s?%))(?:\s?(%|min\b|M\b))?(?![\w.]*\d)")
"""A decimal number, or a percentage, and its unit."""

UNITS = {"%": 100, "min": 1 / 60, "M": 1e-6, "": 1}
"""Unit → what the files' figures (shares, seconds, counts) are multiplied by to be printed in it."""


def problems(text: str, checkpoint: Path) -> list[str]:
    """Everything that is wrong with a card, in words; nothing if it is fit.

    Args:
        text: of the card, with its front matter.
        checkpoint: the folder whose files its figures and links must be found in.

    Raises:
        FileNotFoundError: the checkpoint lacks a record.
    """
    checkpoint = Path(checkpoint)
    found = [f"left over: {m.group()!r}" for pattern in PLACEHOLDERS for m in re.finditer(pattern, text)]
    return (
        found + link_problems(text, checkpoint) + figure_problems(text, checkpoint) + index_problems(text, checkpoint)
    )


def stale(text: str, checkpoint: Path, repo_id: str | None = None, space_id: str | None = None) -> list[str]:
    """A problem if a card isn't what its checkpoint's files render now; the ids as for render_card."""
    expected = str(render_card(checkpoint, repo_id, space_id)).splitlines()
    lines = text.splitlines()
    if lines == expected:
        return []
    first = next((i for i, pair in enumerate(zip(lines, expected, strict=False)) if pair[0] != pair[1]), None)
    where = "the end" if first is None else f"line {first + 1}, {lines[first][:80]!r}"
    return [f"README.md isn't what the checkpoint's files render, from {where}: render it anew"]


def link_problems(text: str, checkpoint: Path) -> list[str]:
    """Links and pictures that lead nowhere, and addresses that a card shouldn't have."""
    prose = CODE.sub("", FENCE.sub("", text))
    anchors = _anchors(prose)
    found = []
    for target in LINK.findall(prose):
        if target.startswith("#"):
            if target[1:] not in anchors:
                found.append(f"no heading for the link {target}")
        elif "://" not in target and not (target and (checkpoint / target).is_file()):
            found.append(f"no file for the link {target or '()'}")
    for address in URL.findall(text):
        url = urlsplit(address.rstrip(".,;:*"))
        if url.scheme != "https" or url.netloc not in HOSTS or len(url.path) < 2:
            found.append(f"address {address}, expected https and a page of {', '.join(HOSTS)}")
    return found


def figure_problems(text: str, checkpoint: Path) -> list[str]:
    """Decimal numbers and percentages outside code that no record holds, at the precision in which they are printed."""
    records = read_records(checkpoint)
    versions = [re.escape(records["training"][key]) for key in ("octhub", "torch")]
    prose = CODE.sub("", FENCE.sub("", FRONT.sub("", text)))
    for pattern in (*NO_FIGURES, *versions, URL.pattern):
        prose = re.sub(pattern, "", prose)
    held = [abs(figure) for record in records.values() for figure in _figures(record)]
    printed: dict[tuple[int, str], set[str]] = {}
    found = []
    for number, unit in FIGURE.findall(prose):
        decimals = len(number.partition(".")[2])
        if (decimals, unit) not in printed:
            printed[decimals, unit] = {f"{figure * UNITS[unit]:.{decimals}f}" for figure in held}
        if number not in printed[decimals, unit]:
            found.append(f"{number} {unit}".rstrip() + " is in none of the checkpoint's records")
    return found


def index_problems(text: str, checkpoint: Path) -> list[str]:
    """A front matter that can't be read back, or whose model-index isn't metrics.json's."""
    records = read_records(checkpoint)
    try:
        data = ModelCard(text).data
    except Exception as e:  # YAML's errors, the Hub client's, or whatever a damaged front matter causes
        return [f"front matter: {type(e).__name__} {e}"]
    listed, expected = (
        sorted((r.dataset_type, r.dataset_name, r.dataset_split or "", r.metric_type, r.metric_value) for r in results)
        for results in (data.eval_results or [], eval_results(records["config"], records["metrics"]))
    )
    wrong = [f"model-index: {row}, which metrics.json doesn't hold" for row in listed if row not in expected]
    return wrong + [f"model-index: no {row}, which metrics.json holds" for row in expected if row not in listed]


def _anchors(prose: str) -> set[str]:
    """What GitHub and the Hub call the headings: lower case, hyphens for spaces, no other punctuation."""
    anchors: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        copies = (f"{slug}-{n}" for n in range(1, len(anchors) + 2))
        anchors.add(slug if slug not in anchors else next(c for c in copies if c not in anchors))
    return anchors


def _figures(value: object) -> Iterator[float]:
    """Every number in a JSON value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _figures(item)
    elif isinstance(value, list):
        for item in value:
            yield from _figures(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value

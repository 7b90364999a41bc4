"""Names that others gave to files, made fit for a path in a ZIP, a table or a message. Nothing is opened by them."""

import re
import unicodedata
from pathlib import PurePosixPath

LONGEST, DEEPEST = 100, 8
"""Characters of a part and parts of a path that are kept: Windows opens no path of more than 260 characters."""

ASKEW = re.compile(r'[<>:"|?*]')
"""What Windows allows in no name."""

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that are devices on Windows, whatever follows the dot."""

FORMULA = re.compile(r"[=+\-@]")
"""A spreadsheet takes a cell that begins with one of them for a formula, and would run it."""


def safe_path(name: str) -> PurePosixPath:
    """A relative path without "..", hidden or unprintable parts that looks like `name`, as far as that is safe.

    Backslashes are slashes, as ZIPs of some Windows programs have them. Of a deep path the last parts stay. What may
    not be asked of a name here, such as not to be absolute, is asked by who reads it (see octhub.archive).
    """
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    return PurePosixPath(*map(_safe, parts[-DEEPEST:] or [""]))


def apart(path: PurePosixPath, taken: dict[str, int]) -> PurePosixPath:
    """The path, or with a number before its suffix if its `key` is taken already. Now it is.

    Args:
        taken: key → the number that the last path of this name got, so that thousands of one name take no longer than
            as many of different ones.
    """
    name, found = key(path), path
    number = taken.get(name, 0)
    while key(found) in taken:
        number += 1
        found = path.with_name(f"{path.stem} ({number}){path.suffix}")
    taken[key(found)] = 1
    taken[name] = max(number, 1)
    return found


def key(path: PurePosixPath) -> str:
    """What two paths have in common that are one file on Windows or on a Mac."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def _safe(part: str) -> str:
    """One part of a path. Unprintable characters go: some turn the text around them, so that gpj.exe reads exe.jpg."""
    text = unicodedata.normalize("NFC", part)
    text = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
    text = ASKEW.sub("_", text).lstrip(" ").rstrip(" .")
    dot = text.rfind(".")
    suffix = text[dot:] if dot > 0 and len(text) - dot <= 10 else ""
    text = text[: LONGEST - len(suffix)].rstrip(" .") + suffix if len(text) > LONGEST else text
    if not text or text.startswith(".") or FORMULA.match(text) or RESERVED.match(text):
        text = f"_{text}"
    return text

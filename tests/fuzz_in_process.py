"""What must come of a hostile upload, in process: a right answer, or an error that says what is wrong; in bounded time
and memory, and without a trace."""

import ctypes
import json
import sys
import time
import warnings
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import hostile_images
import hostile_zips
import numpy as np
from hostile import ANSWERED, EITHER, REFUSED, Case

from many_run import Order, Step, status_html, steps, table_html
from octhub.batch import MAX_SCANS, BatchError
from octhub.mask import UNKNOWN, MaskError, read_mask
from octhub.provenance import read_input
from octhub.safe_path import LONGEST
from octhub.scan import MAX_PIXELS, MIN_SIDE, ScanError

KINDS = [*hostile_images.KINDS, *hostile_zips.KINDS]

MAX_SECONDS = 5.0
"""Of processor time for one upload: what it may cost a server."""

MAX_MB, MAX_LARGE_MB = 100, 500
"""Megabytes by which the process may grow for one upload, and for a scan of up to 20 megapixels. The largest are WebPs
with transparency: 80 MB as a file's pixels, and as many for each copy on the way to 80 MB of grey levels."""

LONGEST_MESSAGE = 800

M_PERTURB = -6
"""Of glibc's mallopt (see malloc.h)."""


@dataclass(frozen=True)
class Outcome:
    """What came of an upload.

    Attributes:
        answered: whether there was an answer.
        problems: what is wrong about it; empty if all is well.
        seconds: of processor time.
        megabytes: by which the process grew.
        left: files that it left behind.
    """

    answered: bool
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    megabytes: float = 0.0
    left: int = 0


def case(seed: int) -> Case:
    """The upload of a seed: three images, then a ZIP."""
    return hostile_zips.case(seed // 4) if seed % 4 == 3 else hostile_images.case(seed // 4 * 3 + seed % 4)


def try_door(case: Case, folder: Path) -> Outcome:
    """Bring the upload to the door.

    Args:
        folder: an empty one, in which the process also has its temporary files and works.
    """
    path = folder / f"upload{'.zip' if case.kind.startswith('ZIP') else '.bin'}"
    path.write_bytes(case.data)
    check = _check_zip if case.kind.startswith("ZIP") else _check_image
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        grown, start = Growth(), time.process_time()
        try:
            answered, problems = check(case, path, grown)
        except Exception as e:  # whatever it is, it isn't what the door may raise
            answered, problems = False, [f"raised {type(e).__name__}: {e}"]
        seconds = time.process_time() - start
    path.unlink()
    left = sum(1 for found in folder.rglob("*") if found.is_file())
    problems += [f"warned: {warning.message}" for warning in caught]
    if left:
        problems.append(f"left {left} files behind")
    if seconds > MAX_SECONDS:
        problems.append(f"took {seconds:.1f} s, expected at most {MAX_SECONDS:g}")
    most = MAX_LARGE_MB if case.large else MAX_MB
    if grown.megabytes > most:
        problems.append(f"took {grown.megabytes:.0f} MB, expected at most {most}")
    return Outcome(answered, problems, seconds, grown.megabytes, left)


class Growth:
    """By how much the process has grown at most since it was made, in megabytes. Linux alone tells that."""

    def __init__(self):
        self.megabytes = 0.0
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            self._before = _memory("VmRSS")
        except OSError:  # then the peak since the process started has to do
            self._before = _memory("VmHWM")

    def stop(self) -> None:
        self.megabytes = max(0.0, _memory("VmHWM") - self._before)


def filled(byte: int) -> None:
    """Have glibc fill with a byte whatever memory it hands out; 0 for no more of this."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_PERTURB, byte)


def _memory(name: str) -> float:
    if sys.platform != "linux":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) / 1024


def _check_image(case: Case, path: Path, grown: Growth) -> tuple[bool, list[str]]:
    pixels, problems = None, []
    try:
        pixels, given = read_input(path, case.name)
    except ScanError as e:
        problems += _of_message(str(e), case.name, path)
    grown.stop()
    if pixels is not None:
        problems += _of_pixels(pixels, case.pixels, case.atol)
        if (given.file, given.height, given.width) != (case.name or path.name, *pixels.shape):
            problems.append(f"recorded as {given}")
    answered = pixels is not None
    problems += _of_expectation(case.expect, answered)
    if case.large:
        return answered, problems
    return answered, [*problems, *_of_mask(case, path), *(_of_memory(case) if case.expect == EITHER else ())]


def _of_memory(case: Case) -> list[str]:
    """Whether an answer depends on what lay in memory before: then it shows memory that belongs to others."""
    found = []
    for byte in (0x55, 0xAA):
        filled(byte)
        try:
            found.append(read_input(case.data)[0].tobytes())
        except ScanError as e:
            found.append(str(e))
        finally:
            filled(0)
    return [] if found[0] == found[1] else ["the answer shows memory that was never written to"]


def _of_expectation(expect: str, answered: bool) -> list[str]:
    if (expect == ANSWERED and not answered) or (expect == REFUSED and answered):
        return [f"{'answered' if answered else 'refused'}, expected it to be {expect}"]
    return []


def _of_message(message: str, name: str, path: Path) -> list[str]:
    problems = []
    if not message.startswith(f"{name or path.name}: "):
        problems.append(f"the message doesn't begin with the name: {message!r}")
    if "expected" not in message:
        problems.append(f"the message doesn't say what was expected: {message!r}")
    if str(path.parent) in message or len(message) > LONGEST_MESSAGE + len(name):
        problems.append(f"the message says too much: {message[: 2 * LONGEST_MESSAGE]!r}")
    return problems


def _of_pixels(pixels: np.ndarray, expected: np.ndarray | None, atol: float) -> list[str]:
    if pixels.dtype != np.float32 or pixels.ndim != 2 or not pixels.flags.c_contiguous:
        return [f"gave {pixels.dtype} of shape {pixels.shape}"]
    if min(pixels.shape) < MIN_SIDE or pixels.size > MAX_PIXELS:
        return [f"gave pixels of shape {pixels.shape}"]
    if not 0 <= pixels.min() <= pixels.max() <= 1:
        return [f"gave values from {pixels.min()} to {pixels.max()}"]
    if expected is None:
        return []
    if pixels.shape != expected.shape:
        return [f"gave pixels of shape {pixels.shape}, expected {expected.shape}"]
    off = float(np.abs(pixels - expected).max())
    return [f"gave wrong pixels, up to {off:.3g} off"] if off > atol else []


def _of_mask(case: Case, path: Path) -> list[str]:
    """The same file, given as an expert's mask."""
    try:
        ids = read_mask(path, name=case.name)
    except MaskError as e:
        message = str(e)
        wanted = case.ids is not None and (case.ids <= UNKNOWN).all() and not (case.ids == UNKNOWN).all()
        return _of_message(message, case.name, path) + ([f"refused as a mask: {message}"] if wanted else [])
    if ids.dtype != np.uint8 or ids.ndim != 2 or (ids == UNKNOWN).all():
        return [f"as a mask gave {ids.dtype} of shape {ids.shape}"]
    if case.ids is not None and not np.array_equal(ids, case.ids):
        return ["as a mask gave wrong ids"]
    return []


def _check_zip(case: Case, path: Path, grown: Growth) -> tuple[bool, list[str]]:
    """A run of many scans over the ZIP, with no models: what is asked about is looked at, and nothing is answered."""
    order, asked, last = Order(None, None), [], Step()
    result = path.with_name("result.zip")
    named = path.rename(path.with_name(_file_name(case.name)))
    try:
        last = run(named, order, asked, result)
    except BatchError as e:
        grown.stop()
        return False, _of_expectation(case.expect, False) + ([] if "expected" in str(e) else [f"the message: {e}"])
    finally:
        if not path.exists():
            named.rename(path)
    grown.stop()
    problems = _of_results(last, result)
    result.unlink()
    problems += [p for row in last.rows if row["error"] for p in _of_row(row["error"], path)]
    scans = iter(asked)
    found = {row["file"]: None if row["error"] else next(scans) for row in last.rows}
    problems += [p for pixels in asked for p in _of_pixels(pixels, None, 0)]
    problems += _of_expectation(case.expect, bool(asked))
    if case.members is not None:
        problems += _of_members(found, case)
    elif case.pixels is not None:
        problems += [p for pixels in asked for p in _of_pixels(pixels, case.pixels, case.atol)]
    return bool(asked), problems


def _file_name(name: str) -> str:
    """A name that a file can have."""
    return Path(name.replace("\0", "").replace("/", "_")).name.encode()[-200:].decode(errors="ignore") or "_.zip"


def run(path: Path, order: Order, asked: list[np.ndarray], result: Path) -> Step:
    def ask(scan: np.ndarray, *_: bool) -> tuple[None, None]:
        asked.append(scan)
        return None, None

    last = None
    for last in steps([str(path)], order, ask, result, lambda: ""):
        status_html(last)
        table_html(order, last)
    return last


def _of_results(last: Step, result: Path) -> list[str]:
    """The ZIP of results holds a record of each scan, whose name is a path inside, and unlike any other's."""
    with zipfile.ZipFile(result) as file:
        record = json.loads(file.read("record.json"))["scans"]
    names = [row["file"] for row in last.rows]
    problems = [] if [entry["file"] for entry in record] == names else ["the record doesn't fit the table"]
    if len({name.casefold() for name in names}) != len(names) or len(names) > MAX_SCANS:
        problems.append("names are not apart")
    for name in names:
        parts = name.split("/")
        if not all(part and part[0] not in ". " and part.isprintable() and len(part) <= LONGEST + 10 for part in parts):
            problems.append(f"a scan is called {name!r}")
    return problems


def _of_row(message: str, path: Path) -> list[str]:
    wrong = "expected" not in message or str(path.parent) in message or len(message) > LONGEST_MESSAGE
    return [f"a member's message: {message[: 2 * LONGEST_MESSAGE]!r}"] if wrong else []


def _of_members(found: dict[str, np.ndarray | None], case: Case) -> list[str]:
    inside = {name.partition("/")[2]: pixels for name, pixels in found.items()}
    if set(inside) != set(case.members):
        return [f"gave members {sorted(inside)}, expected {sorted(case.members)}"]
    problems = []
    for label, pixels in inside.items():
        expected = case.members[label]
        if (pixels is None) != (expected is None):
            problems.append(f"{label} was {'refused' if pixels is None else 'answered'}")
        elif pixels is not None:
            problems += [f"{label} {problem}" for problem in _of_pixels(pixels, expected, case.atol)]
    return problems

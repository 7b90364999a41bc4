"""What must come of a hostile upload over HTTP: what comes of it in process, in the same words, from an app that goes
on.

Uploads and calls are plain HTTP, as any program makes them: POST to /gradio_api/upload, then to /gradio_api/call/NAME.
"""

import hashlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import fuzz_in_process
import httpx
import numpy as np
from fuzz_door import Table
from hostile import Case
from hostile_right import grey
from PIL import Image

from many_run import Order
from octhub.batch import BatchError
from octhub.mask import read_mask
from octhub.provenance import read_input
from octhub.render import overlay
from octhub.scan import ScanError

TIMEOUT = 120
"""Seconds for one answer: others may be in the queue."""

STRANGE = "\r\n\0"
"""What a file name in a request may not hold; Gradio refuses "..", too."""


class App:
    """A running app, as a visitor's program sees it."""

    def __init__(self, url: str):
        self._http = httpx.Client(base_url=f"{url.rstrip('/')}/gradio_api", timeout=TIMEOUT)
        _, about = self.call("about")
        self.class_names = about[0]["models"]["segmenter"]["class_names"]

    def upload(self, name: str, data: bytes, raw: bool = False) -> tuple[str, str]:
        """(the file's path on the server, "") or ("", why it was refused).

        Args:
            raw: send the name as it is; else as browsers do, with line breaks and quotes encoded.
        """
        if not raw:
            for strange in '\r\n"':
                name = name.replace(strange, f"%{ord(strange):02X}")
        head = b'--limit\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode() + b'"\r\n'
        body = head + b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n--limit--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=limit"}
        answer = self._http.post("/upload", content=body, headers=kind)
        if answer.status_code != httpx.codes.OK:
            return "", f"{answer.status_code} {answer.text}"
        return (answer.json() or [""])[0], ""

    def call(self, endpoint: str, *arguments: Any) -> tuple[str, Any]:
        """("complete", the last answers) or ("error", what the caller is told)."""
        event = self._http.post(f"/call/{endpoint}", json={"data": arguments}).raise_for_status().json()["event_id"]
        found, data = "", None
        with self._http.stream("GET", f"/call/{endpoint}/{event}") as stream:
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    found = line.removeprefix("event: ")
                elif line.startswith("data: ") and found != "heartbeat":
                    data = json.loads(line.removeprefix("data: "))
        return found, data

    def fetch(self, file: dict) -> bytes:
        """What an answer's file holds."""
        return self._http.get(f"/file={quote(file['path'])}").raise_for_status().content


def given(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def over_http(url: str, seeds: Iterable[int], tell: Callable[[Table], None] = lambda table: None) -> Table:
    """Try the seeds, and then whether the app still answers."""
    app, table = App(url), Table(left=None)
    for seed in seeds:
        case, start = fuzz_in_process.case(seed), time.monotonic()
        try:
            answered, problems = try_app(app, case, seed)
        except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError) as e:
            answered, problems = False, [f"the app's answer is none: {type(e).__name__}: {e}"]
        table.add(seed, case.kind, answered, problems, time.monotonic() - start)
        tell(table)
    good = grey(Random(0))
    answered, problems = _classify(app, Case(good.data, good.expect, good.pixels), app.upload("good.png", good.data)[0])
    table.problems += [] if answered and not problems else [f"in the end it didn't answer a good scan: {problems}"]
    return table


def try_app(app: App, case: Case, seed: int) -> tuple[bool, list[str]]:
    """(whether there was an answer, what is wrong): ZIPs go to /many; of the others one in five to /segment, as a scan
    and its own mask, and the rest to /classify."""
    raw = seed % 3 == 0
    path, why = app.upload(case.name, case.data, raw)
    if why:
        expected = why.startswith("400 ") and (case.name == ".." or any(c in case.name for c in STRANGE))
        return False, [] if expected else [f"the upload of {case.name!r} was refused: {why}"]
    if not path:
        return False, [] if raw else [f"the upload of {case.name!r} gave no file"]
    if case.kind.startswith("ZIP"):
        return _many(app, case, path)
    return _segment(app, case, path) if seed % 5 == 0 else _classify(app, case, path)


def _classify(app: App, case: Case, path: str) -> tuple[bool, list[str]]:
    """Without opacity, the picture of the answer is the scan itself."""
    name = Path(path).name
    outcome, answer = app.call("classify", given(path), "likeliest", 0)
    try:
        pixels, _ = read_input(case.data, name)
    except ScanError as e:
        return False, _of_error(outcome, answer, str(e))
    if outcome != "complete":
        return False, [f"no answer, but {outcome}: {answer}"]
    facts, picture = answer
    shown = np.asarray(Image.open(io.BytesIO(app.fetch(picture))))
    expected = overlay(pixels, np.zeros_like(pixels), 0)
    problems = _of_record(facts, case, name, pixels)
    if shown.shape != expected.shape or np.abs(shown.astype(int) - expected).max() > 1:
        problems.append("the picture is another")
    return True, problems


def _segment(app: App, case: Case, path: str) -> tuple[bool, list[str]]:
    name = Path(path).name
    outcome, answer = app.call("segment", given(path), given(path), None, None)
    try:
        pixels, _ = read_input(case.data, name)
        read_mask(case.data, pixels.shape, app.class_names, name)
    except ScanError as e:
        return False, _of_error(outcome, answer, str(e))
    if outcome != "complete":
        return False, [f"no answer, but {outcome}: {answer}"]
    facts, labels, *_ = answer
    problems = _of_record(facts, case, name, pixels)
    if np.asarray(Image.open(io.BytesIO(app.fetch(labels)))).shape != pixels.shape:
        problems.append("the outlines have another size")
    return True, problems if facts["scores"] else [*problems, "the mask wasn't compared"]


def _many(app: App, case: Case, path: str) -> tuple[bool, list[str]]:
    outcome, answer = app.call("many", [given(path)], True, False, None, None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(path).name
        file.write_bytes(case.data)
        try:
            last = fuzz_in_process.run(file, Order(None, None), [], Path(folder) / "results")
        except BatchError as e:
            return False, _of_error(outcome, answer, str(e))
    if outcome != "complete":
        return False, [f"no answer, but {outcome}: {answer}"]
    expected, found = ([(row["file"], row["error"]) for row in rows] for rows in (last.rows, answer[0]["table"]))
    return any(not error for _, error in found), [] if found == expected else [f"the table has {found}, not {expected}"]


def _of_error(outcome: str, answer: Any, expected: str) -> list[str]:
    found = answer.get("error") if isinstance(answer, dict) else None
    if outcome == "error" and found == expected:
        return []
    return [f"{outcome} {str(answer)[:500]}, expected the error {expected!r}"]


def _of_record(facts: dict, case: Case, name: str, pixels: np.ndarray) -> list[str]:
    found, digest = facts["provenance"]["input"], hashlib.sha256(case.data).hexdigest()
    wanted = {"file": name, "sha256": digest, "sha256_of": "file", "height": pixels.shape[0], "width": pixels.shape[1]}
    return [] if found == wanted else [f"recorded as {found}, expected {wanted}"]

"""What an answer came from: it goes into every answer of the API and every file that is handed out."""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from octhub import __version__
from octhub.scan import ScanSource, name_of, read_bytes, read_scan

if TYPE_CHECKING:
    from octhub.predict import Classifier, Segmenter

NOTE = "Research use only. Not a medical device."

COLUMNS = ["model", "model_sha256", "input_sha256", "octhub"]
"""The last columns of every table, so that each row says what it came from."""


@dataclass(frozen=True)
class Input:
    """A scan that was read.

    Attributes:
        file: what it is called; empty where there was no file.
        sha256: of the file's bytes or, where there was no file, of the pixels.
        sha256_of: "file" or "pixels"; the latter as `read_scan` gives them, row by row, as little-endian float32.
        height, width: in pixels.
    """

    file: str
    sha256: str
    sha256_of: str
    height: int
    width: int


def read_input(source: ScanSource, name: str | None = None) -> tuple[np.ndarray, Input]:
    """Read a scan, as `read_scan` does, and say what was read: (H, W) float32 in [0, 1], and its Input.

    Raises:
        ScanError: as `read_scan`.
    """
    if hasattr(source, "read") or isinstance(source, str | Path | bytes):
        name = name_of(source, name, "the image")
        data = read_bytes(source, name)
        scan, digest, kind = read_scan(data, name), hashlib.sha256(data), "file"
    else:
        scan = read_scan(source, name)
        digest, kind = hashlib.sha256(scan.astype("<f4", copy=False)), "pixels"
    return scan, Input(name or "", digest.hexdigest(), kind, *scan.shape)


def provenance(predictor: "Classifier | Segmenter", given: Input | None) -> dict[str, Any]:
    """What one answer came from, for JSON. `given` is None where the scan could not be read."""
    return {**about(), "model": model_facts(predictor), "input": asdict(given) if given else None}


def columns(provenance: dict[str, Any]) -> dict[str, str]:
    """The same in short, by COLUMNS. What isn't known is empty."""
    model, given = provenance["model"], provenance["input"] or {}
    revision = f"@{model['revision']}" if model["revision"] else ""
    values = f"{model['source'] or ''}{revision}", model["sha256"] or "", given.get("sha256", ""), provenance["octhub"]
    return dict(zip(COLUMNS, values, strict=True))


def about() -> dict[str, str]:
    """octhub's version, the time in UTC by ISO 8601, and what answers are good for."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"octhub": __version__, "time": now.replace("+00:00", "Z"), "note": NOTE}


def model_facts(predictor: "Classifier | Segmenter") -> dict[str, Any]:
    """Which weights answer, and how a scan is prepared for them, for JSON. What isn't known is None.

    A folder is known by its name alone, since the path to it is nobody else's business, a Hub repo by its commit, too.
    """
    model, serving = predictor.model, predictor.serving
    source, origin = None, model.origin
    if origin is not None:
        source = origin.folder.resolve().name if origin.repo is None else origin.repo.repo_id
    preprocessing = ("framing", "size", "mean", "std", "mirror", "logit_offsets")
    return {
        "source": source,
        "revision": origin and origin.commit,
        "sha256": model.weights_sha256,
        "architecture": type(model).__name__,
        "preprocessing": {key: getattr(serving, key) for key in preprocessing},
        "temperature": serving.temperature,
        "limits": {
            "bscan": serving.bscan and serving.bscan.limit,
            "unsure": serving.unsure and asdict(serving.unsure),
        },
        "class_names": serving.class_names,
    }

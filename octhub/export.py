"""`python -m octhub export`: a checkpoint as an ONNX file, which is left only if it answers as the checkpoint does."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from octhub.architectures import load
from octhub.gallery import EXAMPLES, Example, GalleryError
from octhub.gallery import load as load_gallery
from octhub.octnet import OctNet
from octhub.onnx_graph import OPSET, write_onnx
from octhub.onnx_serve import OnnxClassifier, OnnxSegmenter
from octhub.predict import Classifier, Segmenter, served_logits
from octhub.preprocess import preprocess
from octhub.scan import read_scan
from octhub.unet import UNet

NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""Packages of the extra `onnx`."""

LOGITS = {"float32": 1e-3, "float16": 0.02}
"""How far a logit may be off, by how weights are stored. In float32, adding in another order moves them by 1e-5 or so;
in float16 each weight is rounded, by up to 0.05 %."""

PIXELS = {"float32": 0.001, "float16": 0.005}
"""The share of a mask's pixels that may be of another class: where two are as likely, the least difference decides."""

HEAT = 0.02
"""How far a heatmap, in [0, 1], may be off."""


class ExportError(ValueError):
    """A model that can't be exported; the message says why."""


class DisagreementError(ExportError):
    """The file doesn't answer as the checkpoint does."""


@dataclass(frozen=True)
class Agreement:
    """How the file's answer for one example compares with the checkpoint's.

    Attributes:
        name: the example's file.
        logits: the largest difference of a logit.
        said: how the answers compare, in words.
        problem: what is beyond the tolerance; empty when nothing is.
    """

    name: str
    logits: float
    said: str = ""
    problem: str = ""

    def __str__(self) -> str:
        line = f"{'FAIL' if self.problem else 'ok  '} {self.name:16} logits differ by {self.logits:.1e}"
        return ", ".join(filter(None, (line, self.said))) + (f": {self.problem}" if self.problem else "")


def place(model: OctNet | UNet, out: Path) -> Path:
    """The file to write: `out` if it ends with .onnx and is no folder, or else the checkpoint's name in that folder."""
    if out.suffix == ".onnx" and not out.is_dir():
        return out
    name = type(model).__name__.lower() if model.origin is None else str(model.origin).split("@")[0].split("/")[-1]
    return out / f"{name}.onnx"


def export(model: OctNet | UNet, out: Path, examples: Sequence[Example], dtype: str = "float32") -> Iterator[Agreement]:
    """Write the file, compare its answers, one after the other, and move it to its place if all agree.

    Args:
        model: in eval mode, on the CPU.
        out: the file; one that is there is replaced, in the end.
        examples: of a gallery; those that promise something of the model's kind are compared.
        dtype: how weights are stored (see octhub.onnx_graph.DTYPES).

    Raises:
        ExportError: nothing to compare, no serving configuration, or packages are missing.
        DisagreementError: after the last example, if an answer is beyond the tolerance. No file is left then.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ExportError(f"{', '.join(missing)} not installed: `pip install 'octhub[onnx]'`, or {' '.join(NEEDED)}")
    if model.serving is None:
        raise ExportError("the model has no serving configuration (size, normalisation, class names)")
    segments = isinstance(model, UNet)
    scans = [e.path for e in examples if (e.segment if segments else e.label) is not None]
    if not scans:
        raise ExportError(f"the gallery has no example for a {type(model).__name__}, and without one nothing is proved")
    failed = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=out.parent) as folder:  # beside it, so that it can be moved
        file = Path(folder) / out.name
        write_onnx(model, file, dtype)
        for agreement in (compare_segmenter if segments else compare_classifier)(model, file, scans, dtype):
            yield agreement
            failed += bool(agreement.problem)
        if failed:
            raise DisagreementError(
                f"{out.name} isn't written: {failed} of {len(scans) + 1} comparisons are beyond the tolerance"
            )
        os.replace(file, out)


def compare_classifier(model: OctNet, file: Path, scans: Sequence[Path], dtype: str) -> Iterator[Agreement]:
    """Logits, decision and heatmap of each scan, and all logits in one batch."""
    ours, theirs = Classifier(model, "cpu"), OnnxClassifier(file)
    batch = torch.stack([preprocess(read_scan(scan), model.serving)[0] for scan in scans])
    with torch.inference_mode():
        expected = torch.cat([model(input[None]) for input in batch])
    for scan, input, logits in zip(scans, batch, expected.numpy(), strict=True):
        a, b = ours(scan, heatmap=True), theirs(scan, heatmap=True)
        off, heat = _difference(theirs.run(input[None])["logits"][0], logits), _difference(a.heatmap, b.heatmap)
        alike = (a.label, a.decision) == (b.label, b.decision)
        said = f"{b.decision}, heatmaps by {heat:.1e}"
        problem = "" if alike else f"{a.decision} ({a.label}) expected, {b.label} is likeliest"
        problem = problem or ("" if heat <= HEAT else f"heatmaps may differ by {HEAT}")
        yield Agreement(scan.name, off, said, problem or _logits_problem(off, dtype))
    yield _in_one_batch(theirs.run(batch)["logits"], expected.numpy(), dtype)


def compare_segmenter(model: UNet, file: Path, scans: Sequence[Path], dtype: str) -> Iterator[Agreement]:
    """Logits and mask of each scan, and all logits in one batch."""
    ours, theirs = Segmenter(model, "cpu"), OnnxSegmenter(file)
    batch = torch.stack([preprocess(read_scan(scan), model.serving)[0] for scan in scans])
    expected = torch.stack([served_logits(ours.model, input, model.serving) for input in batch])
    for scan, input, logits in zip(scans, batch, expected.numpy(), strict=True):
        a, b = ours(scan), theirs(scan)
        off = _difference(theirs.run(input[None])["logits"][0], logits)
        other = int((a.mask != b.mask).sum())
        problem = "" if a.decision == b.decision else f"{b.decision}, expected {a.decision}"
        problem = problem or ("" if other <= PIXELS[dtype] * a.mask.size else f"at most {PIXELS[dtype]:.1%} allowed")
        said = f"masks in {other} of {a.mask.size} px"
        yield Agreement(scan.name, off, said, problem or _logits_problem(off, dtype))
    yield _in_one_batch(theirs.run(batch)["logits"], expected.numpy(), dtype)


def _in_one_batch(found: np.ndarray, expected: np.ndarray, dtype: str) -> Agreement:
    off = _difference(found, expected)
    return Agreement(f"all {len(found)} in a batch", off, problem=_logits_problem(off, dtype))


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest; infinite where something isn't a number."""
    off = float(np.abs(a - b).max())
    return off if np.isfinite(off) else float("inf")


def _logits_problem(off: float, dtype: str) -> str:
    return "" if off <= LOGITS[dtype] else f"at most {LOGITS[dtype]} allowed"


def command(args: argparse.Namespace) -> int:
    """`python -m octhub export`: the exit status is 0, 1 (the file doesn't agree) or 2 (it can't be exported).

    Raises:
        CheckpointError: the checkpoint can't be loaded.
        OSError: the file can't be written.
    """
    try:
        examples = load_gallery(args.examples or EXAMPLES)
        model = load(args.checkpoint)
        out, worst = place(model, args.out), 0.0
        for agreement in export(model, out, examples, args.dtype):
            print(agreement, flush=True)
            worst = max(worst, agreement.logits)
    except (ExportError, GalleryError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1 if isinstance(e, DisagreementError) else 2
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, weights in {args.dtype}, opset {OPSET}; logits differ by at most "
        f"{worst:.1e}, {LOGITS[args.dtype]:g} allowed"
    )
    return 0

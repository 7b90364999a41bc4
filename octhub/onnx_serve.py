"""Answers of an exported ONNX file, by ONNX Runtime, as Classifier and Segmenter give them.

    from octhub.onnx_serve import OnnxClassifier

    OnnxClassifier("octnet-oct2017.onnx")("scan.jpeg").probabilities

The same by hand, with nothing of octhub but how a scan is prepared:

    session = onnxruntime.InferenceSession("octnet-oct2017.onnx")
    serving = ServingConfig(**json.loads(session.get_modelmeta().custom_metadata_map["serving"]))
    input, box = preprocess(read_scan("scan.jpeg"), serving)
    (logits,) = session.run(["logits"], {"scan": input[None].numpy()})
    probabilities = scipy.special.softmax(logits[0] / serving.temperature)  # by serving.class_names
"""

from pathlib import Path

import numpy as np
import torch

from octhub.decision import NOT_BSCAN, OUTLINED, decide, not_bscan
from octhub.explain import heatmaps
from octhub.mask import UNKNOWN
from octhub.onnx_graph import SCAN, read_metadata
from octhub.predict import Classification, ScanLike, Segmentation
from octhub.preprocess import classes_to_scan, preprocess, to_scan
from octhub.scan import read_scan
from octhub.tissue import Tissue


class OnnxFileError(ValueError):
    """A file that can't be served; the message says why."""


class OnnxModel:
    """An exported file, loaded. Safe to share between threads."""

    ARCHITECTURE: str

    def __init__(self, path: str | Path, threads: int = 0):
        """Args: path: the file; threads: to compute with; as many as there are cores by default.

        Raises:
            OnnxFileError: no such file, not an ONNX file, not octhub's, or of another kind of model.
            ImportError: ONNX Runtime isn't installed.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            architecture, self.serving = read_metadata(self.session.get_modelmeta().custom_metadata_map)
        except Exception as e:  # ONNX Runtime's own have no common base
            raise OnnxFileError(f"{path}: {e}") from e
        if architecture != self.ARCHITECTURE:
            raise OnnxFileError(f"{path}: of architecture {architecture}, expected {self.ARCHITECTURE}")
        self.names = [output.name for output in self.session.get_outputs()]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.serving.class_names

    def run(self, batch: torch.Tensor) -> dict[str, np.ndarray]:
        """(B, in_chans, h, w) of prepared scans → the file's outputs, by name."""
        return dict(zip(self.names, self.session.run(self.names, {SCAN: batch.numpy()}), strict=True))


class OnnxClassifier(OnnxModel):
    """What octhub.Classifier is, of a file."""

    ARCHITECTURE = "OctNet"

    def __call__(self, scan: ScanLike, heatmap: bool | str = False) -> Classification:
        """Classify one scan; see Classifier for arguments and errors."""
        if isinstance(heatmap, str) and heatmap not in self.class_names:
            raise ValueError(f"heatmap class {heatmap!r}, expected one of {', '.join(self.class_names)}")
        pixels = read_scan(scan)
        tissue = Tissue.of(pixels)
        input, box = preprocess(tissue, self.serving)
        found = {name: values[0] for name, values in self.run(input[None]).items()}
        scaled = torch.from_numpy(found["logits"]) / self.serving.temperature
        named = dict(zip(self.class_names, scaled.softmax(0).tolist(), strict=True))
        label = max(named, key=named.get)
        novelty = float(found["novelty"]) if "novelty" in found else None
        decided = decide(tissue, self.serving, label, named[label], novelty)
        if not heatmap:
            return Classification(label, named, None, None, *decided)
        shown = heatmap if isinstance(heatmap, str) else label
        heat = torch.from_numpy(found["gradcam"][self.class_names.index(shown)])
        cam = heatmaps(heat[None], self.serving.size)[0]
        return Classification(label, named, to_scan(cam, box, pixels.shape), shown, *decided)


class OnnxSegmenter(OnnxModel):
    """What octhub.Segmenter is, of a file."""

    ARCHITECTURE = "UNet"

    def __call__(self, scan: ScanLike) -> Segmentation:
        """Outline the classes in one scan; see Segmenter."""
        pixels = read_scan(scan)
        tissue = Tissue.of(pixels)
        input, box = preprocess(tissue, self.serving)
        logits = torch.from_numpy(self.run(input[None])["logits"][0])
        reason = not_bscan(tissue, self.serving.bscan)
        mask = classes_to_scan(logits, box, pixels.shape, UNKNOWN)
        return Segmentation(mask, self.class_names, NOT_BSCAN if reason else OUTLINED, reason)

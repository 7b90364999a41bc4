"""A served model as an ONNX file: what goes in, what comes out, and what the file says of itself."""

import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from octhub import __version__
from octhub.octnet import OctNet
from octhub.provenance import NOTE
from octhub.serving import ServingConfig
from octhub.unet import UNet

if TYPE_CHECKING:
    import onnx

OPSET = 20
"""Of ONNX's operators, since 2023: the exporter's own default, and what ONNX Runtime knows from 1.17 on."""

DTYPES = ("float32", "float16")
"""How weights are stored. They are computed with in float32 either way: for most processors, ONNX Runtime has no
convolution in half precision."""

HALVED = 1024
"""Numbers in the smallest tensor that float16 halves; biases and shapes gain nothing."""

SCAN = "scan"
"""The input: (batch, in_chans, height, width) float32, as octhub.preprocess makes it."""


class ClassifierGraph(nn.Module):
    """All that an OctNet's answer needs, without a second run or a gradient.

    Outputs by name, B scans:
        logits (B, num_classes): over the serving's temperature, then a softmax, they are probabilities.
        features (B, F).
        gradcam (B, num_classes, h, w): every class's Grad-CAM on the last block's grid, from 0, not scaled.
        novelty (B,): distance from what the model remembers, in [0, 2]; not there if it remembers nothing.
    """

    def __init__(self, model: OctNet):
        super().__init__()
        self.model = model
        self.names = ["logits", "features", "gradcam", *(["novelty"] if model.memory is not None else [])]

    def forward(self, scan: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, in_chans, H, W) → the outputs, in the order of `names`."""
        activation = self.model.activation(scan)
        features = self.model.pooled(activation)
        logits, gradients = logits_and_gradients(self.model.mlp, features)
        height, width = activation.shape[2:]
        # As OctNet.heat, whose gradient autograd takes, which an ONNX graph can't
        gradcam = (gradients @ activation.flatten(2) / (height * width)).relu().unflatten(2, (height, width))
        novelty = self.model.novelty(features)
        return logits, features, gradcam, *(() if novelty is None else (novelty,))


def logits_and_gradients(mlp: nn.Sequential, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, F) → logits (B, C) of linear layers with ReLU in between, and their gradients (B or 1, C, F).

    Those are a product of the layers' weights, with nothing where a ReLU gave 0. Dropout is as in eval mode.
    """
    *hidden, last = (layer for layer in mlp if isinstance(layer, nn.Linear))
    open_gates = []
    for layer in hidden:
        features = layer(features).relu()
        open_gates.append((features > 0).to(features.dtype))
    gradients = last.weight[None]
    for layer, gate in zip(hidden[::-1], open_gates[::-1], strict=True):
        gradients = (gradients * gate[:, None]) @ layer.weight
    return last(features), gradients


class SegmenterGraph(nn.Module):
    """A UNet as it is served: `logits` (B, num_classes, H, W) is the mean with the mirror image's, and offset, if the
    serving says so. The largest is the answer."""

    names = ("logits",)

    def __init__(self, model: UNet):
        super().__init__()
        self.model, self.mirror = model, model.serving.mirror
        offsets = model.serving.logit_offsets
        self.register_buffer("offsets", torch.tensor(offsets)[:, None, None] if offsets else None)

    def forward(self, scan: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, H, W) → (B, num_classes, H, W)."""
        if self.mirror:
            batch = scan.shape[0]
            both = self.model(torch.cat([scan, scan.flip(-1)]))
            logits = (both[:batch] + both[batch:].flip(-1)) / 2
        else:
            logits = self.model(scan)
        return logits if self.offsets is None else logits + self.offsets


def write_onnx(model: OctNet | UNet, path: Path, dtype: str = "float32") -> None:
    """Write one self-contained ONNX file.

    The batch may have any size; a UNet's scan, too, while an OctNet's has the serving's. Batch norms are part of their
    convolutions. `metadata` is in the file.

    Args:
        model: in eval mode, with a serving configuration, on the CPU.
        dtype: of DTYPES.
    """
    import onnx

    graph = (SegmenterGraph if isinstance(model, UNet) else ClassifierGraph)(model).eval()
    dims = {0: "batch", 2: "height", 3: "width"} if isinstance(model, UNet) else {0: "batch"}
    scan = torch.zeros(2, model.in_chans, *model.serving.size)  # 2: a batch of 1 is taken for a constant
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of torch's own innards
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            graph,
            (scan,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[SCAN],
            output_names=list(graph.names),
            dynamic_shapes={SCAN: dims},
            verbose=False,
        )
    proto = program.model_proto
    _tidy(proto, dims)
    if dtype == "float16":
        _halve(proto)
    onnx.helper.set_model_props(proto, metadata(model) | {"stored": dtype})
    onnx.save(proto, path)


def metadata(model: OctNet | UNet) -> dict[str, str]:
    """What a file says of itself: `serving` and `class_names` are JSON, the rest is text."""
    return {
        "architecture": type(model).__name__,
        "class_names": json.dumps(model.serving.class_names),
        "serving": json.dumps(asdict(model.serving)),
        "source": "" if model.origin is None else str(model.origin),
        "weights_sha256": model.weights_sha256 or "",
        "octhub": __version__,
        "note": NOTE,
    }


def read_metadata(found: dict[str, str]) -> tuple[str, ServingConfig]:
    """(architecture, serving) of a file's metadata. Raises ValueError: octhub didn't write them."""
    try:
        return found["architecture"], ServingConfig(**json.loads(found["serving"]))
    except (KeyError, TypeError, ValueError) as e:
        raise ValueError(f"no metadata as octhub writes them ({type(e).__name__}: {e})") from e


def _tidy(proto: "onnx.ModelProto", dims: dict[int, str]) -> None:
    """Name octhub as the maker and the outputs' dimensions as the input's; drop the exporter's notes, among them the
    paths of source files."""
    proto.producer_name, proto.producer_version = "octhub", __version__
    proto.doc_string = f"{NOTE} See the metadata."
    graph = proto.graph
    for noted in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del noted.metadata_props[:]
    for output in graph.output:
        for axis, dim in enumerate(output.type.tensor_type.shape.dim):
            if dim.dim_param and axis in dims:
                dim.dim_param = dims[axis]
    del graph.value_info[:]  # shapes of what is in between, by the old names; a runtime infers them


def _halve(proto: "onnx.ModelProto") -> None:
    """Store the weights in float16, each with a cast to float32 behind it, which runtimes do once, when they load."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < HALVED:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)

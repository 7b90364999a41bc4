"""The forms that a network can be served in on a CPU: each is made of the same weights, and takes a scan to logits."""

import os
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from octhub import OctNet, UNet
from octhub.onnx_graph import SCAN, write_onnx

Network = Callable[[torch.Tensor], torch.Tensor]
"""(1, in_chans, H, W) float32 → logits (1, …) float32."""


@dataclass(frozen=True)
class Making:
    """What a form is made of.

    Attributes:
        model: in eval mode, without gradients; a form copies it before it changes it.
        scan: (1, in_chans, H, W), a prepared one, for forms that record what happens to it.
        threads: to compute with; torch is set to it.
        calibration: prepared scans that int8 takes its ranges from; none of them may be measured afterwards.
        folder: for files.
    """

    model: OctNet | UNet
    scan: torch.Tensor
    threads: int
    calibration: tuple[torch.Tensor, ...]
    folder: Path


class CannotError(Exception):
    """A form that can't be made here or of this model; the message says why."""


def plain(making: Making) -> Network:
    return _eager(making.model)


def channels_last(making: Making) -> Network:
    return _eager(_channels_last(making.model), torch.channels_last)


def fused(making: Making) -> Network:
    return _eager(fuse_batch_norms(making.model))


def fused_channels_last(making: Making) -> Network:
    return _eager(_channels_last(fuse_batch_norms(making.model)), torch.channels_last)


def bfloat16_autocast(making: Making) -> Network:
    network = fused_channels_last(making)

    def run(scan: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(scan)

    return run


def bfloat16_weights(making: Making) -> Network:
    network = _eager(_channels_last(fuse_batch_norms(making.model)).bfloat16(), torch.channels_last)
    return lambda scan: network(scan.bfloat16())


def compiled(making: Making) -> Network:
    return _compile(making.model, making.scan)


def compiled_channels_last(making: Making) -> Network:
    return _compile(_channels_last(making.model), making.scan, torch.channels_last)


def compiled_frozen(making: Making) -> Network:
    """Weights become constants, so that batch norms are folded and weights are laid out as oneDNN likes them."""
    return _compile(_channels_last(making.model), making.scan, torch.channels_last, {"freezing": True})


def compiled_bfloat16(making: Making) -> Network:
    """Frozen, too, under autocast."""
    options = {"freezing": True}
    return _compile(_channels_last(making.model), making.scan, torch.channels_last, options, torch.bfloat16)


def ahead_of_time(making: Making) -> Network:
    """AOTInductor: compiled before, into a file that needs no compiler where it runs."""
    scan = making.scan.to(memory_format=torch.channels_last)
    package = str(making.folder / f"{type(making.model).__name__}-{making.threads}.pt2")
    with torch.no_grad():
        program = torch.export.export(_channels_last(making.model), (scan,))
        torch._inductor.aoti_compile_and_package(
            program, package_path=package, inductor_configs={"freezing": True, "cpp.threads": making.threads}
        )
    loaded = torch._inductor.aoti_load_package(package)
    return lambda scan: loaded(scan.contiguous(memory_format=torch.channels_last)).float()


def dynamic_int8(making: Making) -> Network:
    """Linear layers with int8 weights, and activations by each batch's range: torch has no dynamic convolution."""
    if not any(isinstance(module, nn.Linear) for module in making.model.modules()):
        raise CannotError("no linear layers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to move to torchao
        return _eager(torch.ao.quantization.quantize_dynamic(deepcopy(making.model), {nn.Linear}, torch.qint8))


def onnx_runtime(making: Making) -> Network:
    return _session(_onnx_file(making), making.threads)


def onnx_fixed_size(making: Making) -> Network:
    """The same file, told beforehand that every input has this size."""
    sizes = dict(zip(("batch", "height", "width"), making.scan[:, 0].shape, strict=True))
    return _session(_onnx_file(making), making.threads, sizes)


def onnx_static_int8(making: Making) -> Network:
    """Convolutions in int8, with ranges from the calibration's scans."""
    if not making.calibration:
        raise CannotError("no --calibrate")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Scans(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(making.calibration)

        def get_next(self) -> dict | None:
            scan = next(self.rest, None)
            return None if scan is None else {SCAN: scan.numpy()}

    file, quantized = _onnx_file(making), making.folder / f"{type(making.model).__name__}-int8.onnx"
    if not quantized.exists():
        prepared = making.folder / "prepared.onnx"
        quant_pre_process(file, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            Scans(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return _session(quantized, making.threads)


FORMS: Mapping[str, Callable[[Making], Network]] = {
    "torch, as it is": plain,
    "channels_last": channels_last,
    "batch norms folded": fused,
    "folded, channels_last": fused_channels_last,
    "folded, channels_last, bf16 autocast": bfloat16_autocast,
    "folded, channels_last, bf16 weights": bfloat16_weights,
    "torch.compile": compiled,
    "torch.compile, channels_last": compiled_channels_last,
    "torch.compile, channels_last, frozen": compiled_frozen,
    "torch.compile, frozen, bf16 autocast": compiled_bfloat16,
    "AOTInductor, channels_last, frozen": ahead_of_time,
    "dynamic int8, linear layers": dynamic_int8,
    "ONNX Runtime": onnx_runtime,
    "ONNX Runtime, fixed size": onnx_fixed_size,
    "ONNX Runtime, static int8": onnx_static_int8,
}
"""The first is what the others are compared with.

Not among them: torch's own static int8, since inductor of torch 2.11 can't compile what torchao 0.18 makes of a
convolution ("UnsupportedOperatorException: onednn.qconv_prepack").
"""


def fuse_batch_norms(model: nn.Module) -> nn.Module:
    """A copy whose batch norms are part of the convolutions before them, where a module has both as neighbours."""
    model = deepcopy(model)
    for module in list(model.modules()):
        children = list(module.named_children())
        for (name, conv), (follower, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, follower, nn.Identity())
    return model


def _channels_last(model: nn.Module) -> nn.Module:
    return deepcopy(model).to(memory_format=torch.channels_last)


def _eager(model: nn.Module, layout: torch.memory_format = torch.contiguous_format) -> Network:
    def run(scan: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(scan.contiguous(memory_format=layout)).float()

    return run


def _compile(
    model: nn.Module,
    scan: torch.Tensor,
    layout: torch.memory_format = torch.contiguous_format,
    options: dict | None = None,
    dtype: torch.dtype | None = None,
) -> Network:
    """By inductor, for one size; compiled at once, so that it fails here if it does."""
    network = torch.compile(model, fullgraph=True, dynamic=False, options=options)

    def run(scan: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype is not None):
            return network(scan.contiguous(memory_format=layout)).float()

    run(scan)
    return run


def _onnx_file(making: Making) -> Path:
    """The network alone: logits, without mirror image and offsets."""
    import onnx

    file = making.folder / f"{type(making.model).__name__}.onnx"
    if not file.exists():
        bare = deepcopy(making.model)
        bare.set_serving(replace(bare.serving, mirror=False, logit_offsets=()))
        write_onnx(bare, file)
        onnx.save(onnx.utils.Extractor(onnx.load(file)).extract_model([SCAN], ["logits"]), file)
    return file


def _session(file: Path, threads: int, sizes: Mapping[str, int] | None = None) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")  # its threads would disturb who is next
    for name, size in (sizes or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    session = onnxruntime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
    return lambda scan: torch.from_numpy(session.run(["logits"], {SCAN: scan.numpy()})[0])

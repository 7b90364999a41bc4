"""What a machine can do at most: a large matrix product; and what a model asks of it."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

SIDE = {"cpu": 2048, "cuda": 8192}
"""Of the matrices: large enough that nothing but arithmetic counts, and a product takes less than half a second."""


def matrix_product(
    device: torch.device, dtype: torch.dtype, side: int | None = None
) -> tuple[Callable[[], torch.Tensor], int]:
    """(what multiplies two square matrices, its floating-point operations)."""
    side = side or SIDE.get(device.type, SIDE["cpu"])
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, generator=generator, device=device, dtype=dtype) for _ in range(2))
    return lambda: a @ b, 2 * side**3


def count_macs(model: nn.Module, input: torch.Tensor) -> int:
    """Multiply-accumulates of a forward pass, as PyTorch counts them: convolutions and matrix products alone. It counts
    floating-point operations, of which a multiply-accumulate is two."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(input)
    return counter.get_total_flops() // 2


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())

"""Noise for scans at three strengths: what devices, eyes and exports do to a B-scan."""

import zlib
from collections.abc import Callable

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from octhub.tissue import white_margins

Corruption = Callable[[torch.Tensor, float], torch.Tensor]
"""((1, H, W) float32 in [0, 1], strength) → the same shape; values may leave [0, 1]."""


def _speckle(scan: torch.Tensor, sigma: float) -> torch.Tensor:
    return scan * (1 + sigma * torch.randn_like(scan))


def _gaussian(scan: torch.Tensor, sigma: float) -> torch.Tensor:
    return scan + sigma * torch.randn_like(scan)


def _blur(scan: torch.Tensor, sigma: float) -> torch.Tensor:
    return F.gaussian_blur(scan, kernel_size=2 * int(3 * sigma) + 1, sigma=sigma)


def _low_contrast(scan: torch.Tensor, share: float) -> torch.Tensor:
    return scan.mean() + share * (scan - scan.mean())


def _jpeg(scan: torch.Tensor, quality: float) -> torch.Tensor:
    return F.jpeg(F.to_dtype(scan, torch.uint8, scale=True), int(quality)).float() / 255


CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, float, float], str]] = {
    "speckle": (_speckle, (0.2, 0.4, 0.8), "σ of the factor"),
    "Gaussian": (_gaussian, (0.05, 0.1, 0.2), "σ, of the white level"),
    "blur": (_blur, (1.0, 2.0, 4.0), "σ in pixels"),
    "low contrast": (_low_contrast, (0.2, 0.1, 0.05), "share of the contrast left"),
    "JPEG": (_jpeg, (30.0, 15.0, 5.0), "quality"),
}
"""Name → (what it does, its strengths from mild to strong, their unit)."""


def corrupt(scan: np.ndarray, kind: str, level: int, name: str = "") -> np.ndarray:
    """A scan with noise, stored in 8 bits as an export would store it.

    White margins stay white and black sides black: the device's software paints them, its noise doesn't reach them.

    Args:
        scan: (H, W) float32 in [0, 1].
        kind: of CORRUPTIONS.
        level: 0 for none, 1 to 3 from mild to strong.
        name: of the scan; together with kind and level it seeds the noise, so every model gets the same.

    Returns:
        (H, W) uint8.

    Raises:
        KeyError: unknown kind.
        ValueError: unknown level.
    """
    function, strengths, _ = CORRUPTIONS[kind]
    if not 0 <= level <= len(strengths):
        raise ValueError(f"level {level}, expected 0 to {len(strengths)}")
    image = torch.from_numpy(scan)[None]
    if level:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(zlib.crc32(f"{kind} {level} {name}".encode()))
            image = function(image, strengths[level - 1])
    noisy = (image[0].clamp(0, 1) * 255).round().byte().numpy()
    margin = white_margins(scan)
    if margin is not None:
        noisy[margin] = 255
    noisy[:, ~scan.any(axis=0)] = 0
    return noisy

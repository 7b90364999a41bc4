"""Random geometry for a scan and its mask at once: one sampling grid, so each is interpolated only once."""

import math

import torch
from torch.nn import functional as F

from octhub.mask import UNKNOWN


def random_grid(
    frame: tuple[int, int], crop: tuple[int, int], centre_row: float, strength: float = 1.0, flip: bool = True
) -> torch.Tensor:
    """Where to sample a crop of a scan: flipped, zoomed, tilted, bent, and smoothly distorted, all at random.

    Both axes zoom on their own, since devices differ in pixel size along each; rows shift as functions of the column
    (tilt, bend), as the eye's pose makes them. The layers keep their order and nothing folds.

    Args:
        frame: (height, width) in pixels of the scan as the model sees it.
        crop: (height, width) in pixels of the crop.
        centre_row: the retina's row as a share of the height, around which most crops lie.
        strength: 0 for a plain crop from anywhere, 1 for the full range.
        flip: whether left and right are alike.

    Returns:
        (*crop, 2) float32, for grid_sample with align_corners=False: (x, y), -1 and 1 at the frame's borders.
    """
    height, width = crop
    side, zoom_x, zoom_y, tilt, bend, sway, up, across, anywhere = torch.rand(9).tolist()
    scale_x = math.exp((2 * zoom_x - 1) * 0.45 * strength)
    scale_y = math.exp((2 * zoom_y - 1) * 0.3 * strength)
    rows, columns = ((2 * torch.arange(n) + 1) / n - 1 for n in crop)  # the pixels' centres
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    rise = 0.25 * strength * (2 * tilt - 1) * x + 0.2 * strength * (2 * bend - 1) * (x**2 - 1 / 3)
    y = y + rise
    coarse = torch.randn(1, 2, 5, 5) * 0.03 * strength * sway  # σ up to 4 of 256 pixels
    dx, dy = F.interpolate(coarse, crop, mode="bicubic", align_corners=True)[0]
    # From units of half a crop to units of half a frame
    half_x, half_y = scale_x * width / frame[1], scale_y * height / frame[0]
    middle_x = (2 * across - 1) * max(0.1 * strength, 1 - half_x)
    spread = 0.25 * strength
    middle_y = 2 * centre_row - 1 + spread * (2 * up - 1)
    if anywhere < 0.15 * strength:  # so that vitreous and choroid far from the retina are known, too
        middle_y = 2 * up - 1
    elif not strength:  # anywhere, too, but no crop leaves the frame
        middle_y = (2 * up - 1) * max(0.0, 1 - half_y)
    x, y = middle_x + half_x * (x + dx), middle_y + half_y * (y + dy)
    return torch.stack([-x if flip and side < 0.5 and strength else x, y], -1)


def warp(image: torch.Tensor, mask: torch.Tensor, grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample a scan and its mask, which may differ in resolution, at a grid.

    Args:
        image: (C, h, w) float.
        mask: (H, W) uint8 class ids.
        grid: (h', w', 2), see random_grid.

    Returns:
        (C, h', w') float, bilinear, 0 outside; (h', w') int64, nearest, UNKNOWN outside.
    """
    sampled = F.grid_sample(image[None], grid[None], mode="bilinear", align_corners=False)[0]
    shifted = (mask.float() + 1)[None, None]  # what lies outside becomes 0
    ids = F.grid_sample(shifted, grid[None], mode="nearest", align_corners=False)[0, 0].long() - 1
    return sampled, torch.where(ids < 0, UNKNOWN, ids)

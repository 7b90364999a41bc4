"""Scans with masks for a small segmenter to learn from: two layers and fluid, in the layout of any data set."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASS_NAMES = ("above", "upper layer", "lower layer", "below", "fluid")


def masked_bscan(rng: np.random.Generator, height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) uint8 scan and (H, W) uint8 mask; a strip at the left is not annotated (255)."""
    rows, columns = np.indices((height, width))
    top = height * rng.uniform(0.3, 0.5) + rng.uniform(-6, 6) * np.cos(columns / width * 3)
    depth = rows - top
    mask = np.select([depth < 0, depth < 14, depth < 30], [0, 1, 2], 3).astype(np.uint8)
    x, y = rng.uniform(0.4, 0.8) * width, top.mean() + 14
    mask[((rows - y) / 7) ** 2 + ((columns - x) / 14) ** 2 < 1] = 4
    scan = np.array([15, 110, 230, 70, 25])[mask] + rng.normal(0, 12, mask.shape)
    mask[:, :12] = 255
    return np.clip(scan, 0, 255).astype(np.uint8), mask


def make_masked_scans(root: Path, *, subjects: int = 4, scans: int = 2, seed: int = 0) -> Path:
    """`root`/images, /masks and /masks_2 (the same, shifted by a pixel) with SUBJECT_N.png, and classes.txt."""
    rng = np.random.default_rng(seed)
    for name in ("images", "masks", "masks_2"):
        (root / name).mkdir(parents=True)
    for subject in range(1, subjects + 1):
        for number in range(scans):
            scan, mask = masked_bscan(rng)
            name = f"S{subject:02}_{number}.png"
            Image.fromarray(scan).save(root / "images" / name)
            Image.fromarray(mask).save(root / "masks" / name)
            Image.fromarray(np.roll(mask, 1, axis=0)).save(root / "masks_2" / name)
    (root / "classes.txt").write_text("\n".join(CLASS_NAMES) + "\n")
    return root

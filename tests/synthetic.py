"""B-scan-like pictures with planted signs, in OCT2017's layout: enough for a small model to learn from."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("CNV", "DME", "DRUSEN", "NORMAL")


def bscan(label: str, rng: np.random.Generator, height: int = 160, width: int = 200) -> np.ndarray:
    """(H, W) uint8: dark noise, a bright curved band, and the class's sign on it."""
    rows, columns = np.indices((height, width))
    middle = height * rng.uniform(0.4, 0.6) + rng.uniform(-8, 8) * np.cos(columns / width * 3)
    scan = rng.uniform(0, 40, (height, width))
    scan += 90 * (np.abs(rows - middle) < 22) + 100 * (np.abs(rows - middle - 18) < 4)
    x = rng.uniform(0.35, 0.65) * width
    if label == "DME":  # dark cysts within the band
        for dx in (-25, 0, 25):
            scan[(rows - middle) ** 2 + (columns - x - dx) ** 2 < 90] *= 0.1
    elif label == "CNV":  # a bright hump under the band
        scan[((rows - middle - 30) / 18) ** 2 + ((columns - x) / 30) ** 2 < 1] = 240
    elif label == "DRUSEN":  # small bright bumps on the lower line
        for dx in range(-60, 61, 20):
            scan[(rows - middle - 10) ** 2 + (columns - x - dx) ** 2 < 40] = 250
    return np.clip(scan, 0, 255).astype(np.uint8)


def make_oct2017(root: Path, *, patients: int = 12, test_patients: int = 4, seed: int = 0) -> Path:
    """`root`/train and /test with `patients` and `test_patients` patients a class, two scans each."""
    rng = np.random.default_rng(seed)
    number = 1000
    for split, count in (("train", patients), ("test", test_patients)):
        for label in CLASSES:
            folder = root / split / label
            folder.mkdir(parents=True)
            for _ in range(count):
                number += 1
                for i in (1, 2):
                    Image.fromarray(bscan(label, rng)).save(folder / f"{label}-{number}-{i}.jpeg", quality=90)
    return root

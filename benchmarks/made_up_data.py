"""Made-up scans to train on, as large as real ones, so that everybody can time the training: they show nothing."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.synthetic import CLASSES, bscan
from tests.synthetic_masks import CLASS_NAMES, masked_bscan

HEIGHT, WIDTH = 496, 512
"""Pixels: of most of OCT2017's scans."""

MASKED_WIDTH = 768
"""Pixels: of Duke DME's scans, which are 496 high as well."""


def labelled(root: Path, scans: int) -> Path:
    """`root` in OCT2017's layout, with at least `scans` training scans and one a class for testing; each of a patient
    of its own. A few pictures are drawn, and saved under many names."""
    rng = np.random.default_rng(0)
    for number, label in enumerate(CLASSES):
        pictures = [Image.fromarray(bscan(label, rng, HEIGHT, WIDTH)) for _ in range(4)]
        for split, count in (("train", -(-scans // len(CLASSES))), ("test", 1)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                patient = 10_000 * (number + 1) + i + 5_000 * (split == "test")
                pictures[i % len(pictures)].save(folder / f"{label}-{patient}-1.jpeg", quality=90)
    return root


def masked(root: Path, scans: int) -> Path:
    """`root` with images/, masks/ and classes.txt, as training.train_unet takes it."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(scans):
        scan, mask = masked_bscan(rng, HEIGHT, MASKED_WIDTH)
        Image.fromarray(scan).save(root / "images" / f"S{number:02}_0.png")
        Image.fromarray(mask).save(root / "masks" / f"S{number:02}_0.png")
    (root / "classes.txt").write_text("\n".join(CLASS_NAMES) + "\n")
    return root

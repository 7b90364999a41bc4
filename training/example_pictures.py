"""Pictures of what a segmenter answers: `python -m training.example_pictures checkpoints/unet-duke-dme`.

The scans are of examples/, since few others may be shown: the first with an expert's mask, and the first in which a
class is to be found. metrics.json notes whose they are; the card shows them, and training.audit_checkpoint looks for
them among the scans that trained.
"""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from PIL import Image

from octhub.gallery import EXAMPLES, Example, GalleryError, load
from octhub.hub import CheckpointError
from octhub.mask import UNKNOWN, MaskError, read_mask
from octhub.mask_render import class_colours, is_background, mask_overlay
from octhub.predict import Segmenter
from octhub.render import grey
from octhub.scan import ScanError, read_scan
from training.card import write_card
from training.evaluate import record_beside

MARGIN = 25
"""Rows above and below the outlines that are shown."""

WIDTH, DPI = 9.6, 100
"""Of a picture, in inches and dots per inch: as wide as a page of GitHub or the Hub."""

FLAT, COLUMN = 0.28, 0.68
"""Height by width below which a scan's panels stand in one column, and the width of that column, by WIDTH."""


def chosen(examples: list[Example]) -> list[Example]:
    """The first example with an expert's mask, and the first with a class to find."""
    masked = [e for e in examples if e.mask is not None]
    others = [e for e in examples if e.segment is not None and e.mask is None]
    return masked[:1] + others[:1]


def draw(segmenter: Segmenter, example: Example, path: Path) -> float | None:
    """The scan, the model's outlines and, if there are any, the expert's, as a PNG; the mIoU between the two.

    Raises:
        ScanError, MaskError: a file can't be read or doesn't fit.
    """
    scan, names = read_scan(example.path), segmenter.class_names
    answer = segmenter(example.path)
    masks = {"model": answer.mask}
    if example.mask is not None:
        masks["expert"] = read_mask(example.mask, scan.shape, names)
    rows = np.flatnonzero(np.any([tissue(m, names) for m in masks.values()], axis=(0, 2)))
    rows = slice(max(rows.min() - MARGIN, 0), rows.max() + MARGIN) if rows.size else slice(None)
    panels = {"scan": grey(scan)} | {title: mask_overlay(scan, m, names) for title, m in masks.items()}
    panels = {title: pixels[rows] for title, pixels in panels.items()}
    present = sorted({int(i) for m in masks.values() for i in np.unique(m[tissue(m, names)])})
    _compose(panels, {names[i]: class_colours(names)[i] for i in present}, path)
    return answer.score(example.mask).miou if example.mask is not None else None


def tissue(mask: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    """(H, W) bool: where a class is neither background nor unknown."""
    table = np.zeros(256, bool)
    table[: len(class_names)] = ~is_background(class_names)
    table[UNKNOWN] = False
    return table[mask]


def _compose(panels: dict[str, np.ndarray], legend: dict[str, np.ndarray], path: Path) -> None:
    """Panels under their titles, side by side, or below one another where the retina is flat, and the classes' colours
    below; in 256 colours, since speckle compresses badly."""
    height, width = next(iter(panels.values())).shape[:2]
    columns = 1 if height < FLAT * width else len(panels)
    rows = len(panels) // columns
    wide = WIDTH if columns > 1 else WIDTH * COLUMN
    size = wide, rows * (wide / columns * height / width + 0.25) + 0.4
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained")
    for axis, (title, pixels) in zip(axes, panels.items(), strict=True):
        axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    patches = [Patch(color=colour / 255, label=name) for name, colour in legend.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=9)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.example_pictures", description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--examples", type=Path, default=EXAMPLES, help="gallery with a manifest.json")
    parser.add_argument("--device")
    args = parser.parse_args(argv)
    found = []
    try:
        segmenter = Segmenter.from_pretrained(args.checkpoint, device=args.device)
        for example in chosen(load(args.examples)):
            picture = f"overlay-{example.path.stem}.png"
            miou = draw(segmenter, example, args.checkpoint / picture)
            about = {key: getattr(example, key) for key in ("sha256", "source", "licence", "attribution", "patient")}
            found.append({"file": example.path.name, "picture": picture, **about, "miou": miou})
            print(args.checkpoint / picture)
        record_beside(args.checkpoint, "examples", found)
    except (CheckpointError, GalleryError, ScanError, MaskError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    write_card(args.checkpoint)
    return 0


if __name__ == "__main__":
    sys.exit(main())

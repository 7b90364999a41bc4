"""Scans that are copies of one another though their bytes differ: saved again, brightened, resized, cropped, mirrored.

B-scans look alike, so two steps are needed. A 512-bit difference hash, compared for every pair, finds candidates;
the fine texture of the two scans, compared after an affine alignment, confirms them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from os import cpu_count
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from training.samples import DataError

HASH_SIDE = 16
BITS = 2 * HASH_SIDE**2
"""Bits of a hash: 16 × 16 signs of the horizontal differences, and as many of the vertical ones."""

THRESHOLD = 120
"""Differing bits, of 512, up to which a pair is a candidate; see the table in training.duplicate_calibration."""

SAME_TEXTURE = 0.75
"""Correlation of the aligned textures from which a candidate is a duplicate; measured as above."""

SIDE = 128
"""Pixels a side at which scans are hashed and compared: four of a scan's 496 rows, most of the speckle gone."""

TEXTURE_SIGMA, TEXTURE_FLOOR = 4.0, 0.02
"""Texture is what a Gaussian of this many pixels (of 128) leaves, over its local deviation plus this much of full
scale (chosen by hand), so that the bright layers and the edges of white margins don't outweigh all else."""

LEAST_OVERLAP = 0.5
"""Share of the scan that the aligned other must cover."""

CHUNK = 2048
"""Scans compared at a time with as many others: 34 MB of distances."""

A, B = TypeVar("A"), TypeVar("B")


@dataclass(frozen=True)
class Pair:
    """Two scans that were found alike, by their index in the two lists that were compared.

    `flipped` when one is the other's mirror image, `distance` in differing bits of 512, `texture` the correlation in
    [-1, 1] after alignment.
    """

    a: int
    b: int
    flipped: bool
    distance: int
    texture: float


def read_small(path: Path, data: bytes | None = None) -> np.ndarray:
    """(128, 128) float32 in [0, 1], squeezed from the file at `path`, whose bytes may be handed in.

    Raises:
        DataError: the file is no image, or a damaged one.
    """
    try:
        with Image.open(path if data is None else BytesIO(data)) as image:
            image.draft("L", (SIDE * 3 // 2,) * 2)  # a JPEG of 496 rows decodes straight to half of them, and faster
            deep = image.mode.startswith("I")
            gray = np.asarray(image if deep else image.convert("L"), np.float32) / (65535 if deep else 255)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:  # SyntaxError: a broken PNG
        raise DataError(f"{path}: can't be read as an image ({e})") from e
    return cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def mirror(scan: np.ndarray) -> np.ndarray:
    """Left and right exchanged, as between the two eyes."""
    return np.ascontiguousarray(scan[:, ::-1])


def fingerprint(scan: np.ndarray) -> np.ndarray:
    """(2, 64) uint8: the packed 512 bits of a (128, 128) scan and of its mirror image."""
    return np.stack([np.packbits(_differences(scan)), np.packbits(_differences(mirror(scan)))])


def texture_match(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation in [-1, 1] of two (128, 128) scans' textures after `b` is laid over `a`; 0 when it can't be.

    The alignment is affine and maximises the enhanced correlation coefficient (Evangelidis and Psarakis 2008, IEEE
    TPAMI 30:1858), so that a crop, which shifts and stretches the squeezed scan, doesn't hide a copy.
    """
    a, b = _texture(a), _texture(b)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    try:
        _, warp = cv2.findTransformECC(a, b, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:
        return 0.0  # it doesn't converge on scans that have nothing in common
    inverse = cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(np.ones_like(b), warp, (SIDE, SIDE), flags=cv2.INTER_NEAREST | inverse) > 0
    if seen.mean() < LEAST_OVERLAP:
        return 0.0
    a, b = a[seen], cv2.warpAffine(b, warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR | inverse)[seen]
    deviations = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean() / deviations) if deviations > 0 else 0.0


def candidates(a: np.ndarray, b: np.ndarray, threshold: int) -> Iterator[tuple[int, int, bool, int]]:
    """Pairs of hashes that are near: (index in a, index in b, flipped, distance), the nearer way round of the two.

    Memory is bounded whatever N and M: the distances are worked out in chunks, as matrix products of ±1.

    Args:
        a: (N, 2, 64) uint8 fingerprints.
        b: (M, 2, 64) uint8 fingerprints.
        threshold: differing bits, up to which a pair is near.
    """
    for top in range(0, len(a), CHUNK):
        rows = _signs(a[top : top + CHUNK, 0])
        for left in range(0, len(b), CHUNK):
            columns = b[left : left + CHUNK]
            ways = np.stack([BITS - rows @ _signs(columns[:, way]).T for way in (0, 1)]) / 2
            for i, j in zip(*np.nonzero(ways.min(0) <= threshold), strict=True):
                flipped = bool(ways[1, i, j] < ways[0, i, j])
                yield top + int(i), left + int(j), flipped, int(ways[int(flipped), i, j])


def near_duplicates(
    a: Sequence[Path], prints_a: np.ndarray, b: Sequence[Path], prints_b: np.ndarray, threshold: int = THRESHOLD
) -> list[Pair]:
    """Pairs across two lists of files that show the same scan, most alike first.

    Args:
        a, b: N and M files.
        prints_a, prints_b: their (N, 2, 64) and (M, 2, 64) fingerprints.
        threshold: differing bits, of 512, up to which a pair is confirmed by its texture.
    """

    def confirm(candidate: tuple[int, int, bool, int]) -> Pair:
        i, j, flipped, distance = candidate
        other = read_small(b[j])
        match = texture_match(read_small(a[i]), mirror(other) if flipped else other)
        return Pair(i, j, flipped, distance, round(match, 3))

    pairs = in_threads(confirm, candidates(prints_a, prints_b, threshold), "confirming near-duplicates")
    return sorted((p for p in pairs if p.texture >= SAME_TEXTURE), key=lambda p: (-p.texture, p.a, p.b))


def in_threads(function: Callable[[A], B], items: Iterable[A], what: str, total: int | None = None) -> Iterator[B]:
    """function(item) of each item, in order, on all cores, with a progress bar; few are under way at any time."""
    workers = cpu_count() or 1  # decoding, hashing and OpenCV leave the interpreter's lock
    items = iter(items)
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(desc=what, total=total, unit="scan" if total else "pair", disable=None) as bar,
    ):
        while batch := list(islice(items, 64 * workers)):
            for result in pool.map(function, batch):
                bar.update()
                yield result


def _differences(scan: np.ndarray) -> np.ndarray:
    """(512,) bool: is the right neighbour brighter, is the lower one; over 16 × 17 and 17 × 16 cells."""
    n = HASH_SIDE
    wide = cv2.resize(scan, (n + 1, n), interpolation=cv2.INTER_AREA)
    tall = cv2.resize(scan, (n, n + 1), interpolation=cv2.INTER_AREA)
    return np.concatenate([(wide[:, 1:] > wide[:, :-1]).ravel(), (tall[1:] > tall[:-1]).ravel()])


def _signs(packed: np.ndarray) -> np.ndarray:
    """(N, 64) uint8 → (N, 512) float32 of ±1."""
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def _texture(scan: np.ndarray) -> np.ndarray:
    detail = scan - cv2.GaussianBlur(scan, (0, 0), TEXTURE_SIGMA)
    return detail / np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), TEXTURE_SIGMA) + TEXTURE_FLOOR**2)

"""How many copies the near-duplicate search finds, and how many strangers it takes for copies.

`python -m training.audit ROOT --calibrate` makes altered copies of the scans and looks for each original, then looks
for duplicates among scans of different patients, where there should be none. Both constants of
training.near_duplicates were chosen by it, on 1,804 OCT2017 scans of 1,076 patients (Kermany et al. 2018); "near" is
by hash, "alike" by texture, "found" by both:

    copies                                      found    of   near  alike   bits: median, 99 %, most   texture: least
    JPEG at quality 50                           1804  1804   1804   1804             11    25    35             0.97
    10 % brighter                                1804  1804   1804   1804              4    12    19             0.98
    10 % darker                                  1804  1804   1804   1804              5    33    77             0.98
    half the size                                1804  1804   1804   1804              4    12    18             0.98
    1 % cropped off two sides                    1804  1804   1804   1804             39    62    68             0.82
    2 % cropped off two sides                    1804  1804   1804   1804             67    98   108             0.80
    1 % cropped off all sides                    1804  1804   1804   1804             40    64    74             0.81
    2 % cropped off all sides                    1804  1804   1804   1804             67    98   117             0.80
    5 % cropped off two sides                     403  1804    509   1008            132   175   188            -0.05
    turned by 1 degree                           1804  1804   1804   1804             43    76   101             0.75
    mirrored                                     1804  1804   1804   1804              4    11    16             0.98
    mirrored, 2 % cropped off two sides, JPEG    1804  1804   1804   1804             68   100   114             0.79
    1623705 pairs of different patients, each also with one mirrored:
      up to 104 bits: 8 near, 0 of them alike, texture up to 0.60
      up to 120 bits: 172 near, 0 of them alike, texture up to 0.68
      up to 136 bits: 2485 near, 0 of them alike, texture up to 0.68
"""

import zlib
from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from training.near_duplicates import (
    SAME_TEXTURE,
    THRESHOLD,
    candidates,
    fingerprint,
    in_threads,
    mirror,
    read_small,
    texture_match,
)
from training.samples import Sample

MOST_SCANS = 2000
"""Scans tried at most, evenly spaced in the list: pairs grow with the square."""

SLACK = 16
"""Strangers are looked for this many bits beyond the threshold, too: would the texture alone have told them apart?"""


def _crop(share: float, one_sided: bool) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        cut = [round(share * n) for n in image.size * 2]  # left, top, right, bottom
        if one_sided:
            for side in rng.integers(0, 2, 2) * 2 + (0, 1):
                cut[side] = 0
        return image.crop((cut[0], cut[1], image.width - cut[2], image.height - cut[3]))

    return crop


ALTERATIONS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "JPEG at quality 50": lambda image, _: image,  # saved as such below
    "10 % brighter": lambda image, _: ImageEnhance.Brightness(image).enhance(1.1),
    "10 % darker": lambda image, _: ImageEnhance.Brightness(image).enhance(0.9),
    "half the size": lambda image, _: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "1 % cropped off two sides": _crop(0.01, True),
    "2 % cropped off two sides": _crop(0.02, True),
    "1 % cropped off all sides": _crop(0.01, False),
    "2 % cropped off all sides": _crop(0.02, False),
    "5 % cropped off two sides": _crop(0.05, True),
    "turned by 1 degree": lambda image, _: image.rotate(1, Image.Resampling.BICUBIC),
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "mirrored, 2 % cropped off two sides, JPEG": lambda image, rng: _crop(0.02, True)(ImageOps.mirror(image), rng),
}


def calibrate(samples: Sequence[Sample], threshold: int = THRESHOLD) -> str:
    """Measure on real scans; returns the report, as text."""
    samples = sorted(samples)[:: -(-len(samples) // MOST_SCANS)]
    rows = list(in_threads(_measure, samples, "altering copies", len(samples)))
    lines = [f"{len(samples)} scans of {len({s.patient for s in samples})} patients; up to {threshold} bits"]
    lines.append(
        f"{'copies':42} {'found':>6} {'of':>5} {'near':>6} {'alike':>6}   bits: median, 99 %, most   texture: least"
    )
    for k, name in enumerate(ALTERATIONS):
        bits, match = np.array([r[1][k] for r in rows]).T
        near, alike = bits <= threshold, match >= SAME_TEXTURE
        lines.append(
            f"{name:42} {(near & alike).sum():6} {len(rows):5} {near.sum():6} {alike.sum():6}   "
            f"{np.median(bits):12.0f} {np.quantile(bits, 0.99):5.0f} {bits.max():5.0f}   {match.min():14.2f}"
        )
    return "\n".join(lines + _strangers(samples, np.stack([r[0] for r in rows]), threshold))


def _measure(sample: Sample) -> tuple[np.ndarray, list[tuple[int, float]]]:
    """The scan's fingerprint, and (bits, texture) between it and each altered copy."""
    with Image.open(sample.path) as image:
        gray = image.convert("L")
    original = read_small(sample.path)
    prints = fingerprint(original)
    rng = np.random.default_rng(zlib.crc32(sample.path.name.encode()))
    found = []
    for name, alter in ALTERATIONS.items():
        file = BytesIO()
        alter(gray, rng).save(file, **({"format": "JPEG", "quality": 50} if "JPEG" in name else {"format": "PPM"}))
        copy = read_small(sample.path, file.getvalue())
        flipped, bits = next((f, d) for _, _, f, d in candidates(prints[None], fingerprint(copy)[None], 10**6))
        found.append((bits, texture_match(original, mirror(copy) if flipped else copy)))
    return prints, found


def _strangers(samples: Sequence[Sample], prints: np.ndarray, threshold: int) -> list[str]:
    """The report's lines on pairs of different patients."""
    patients = [s.patient for s in samples]
    pairs = [
        c for c in candidates(prints, prints, threshold + SLACK) if c[0] < c[1] and patients[c[0]] != patients[c[1]]
    ]
    smalls = dict(
        zip(
            used := sorted({i for c in pairs for i in c[:2]}),
            in_threads(lambda i: read_small(samples[i].path), used, "reading strangers", len(used)),
            strict=True,
        )
    )

    def match(pair: tuple[int, int, bool, int]) -> float:
        i, j, flipped, _ = pair
        return texture_match(smalls[i], mirror(smalls[j]) if flipped else smalls[j])

    matches = np.array(list(in_threads(match, pairs, "comparing strangers", len(pairs))))
    bits = np.array([p[3] for p in pairs])
    _, sizes = np.unique(patients, return_counts=True)
    total = (len(samples) ** 2 - (sizes**2).sum()) // 2
    lines = [f"{total} pairs of different patients, each also with one mirrored:"]
    for limit in (threshold - SLACK, threshold, threshold + SLACK):
        of = matches[bits <= limit] if pairs else matches
        most = f", texture up to {of.max():.2f}" if len(of) else ""
        lines.append(f"  up to {limit} bits: {len(of)} near, {(of >= SAME_TEXTURE).sum()} of them alike{most}")
    for k in np.flatnonzero(matches >= SAME_TEXTURE):
        i, j = pairs[k][:2]
        lines.append(f"  {samples[i].path.name} and {samples[j].path.name}: {bits[k]} bits, texture {matches[k]:.2f}")
    return lines

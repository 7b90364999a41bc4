"""Scans with masks as a torch data set: framed as serving frames them, cropped and augmented by a seed of their own."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from octhub.mask import UNKNOWN, read_mask
from octhub.preprocess import Box, normalise, preprocess
from octhub.scan import read_scan
from octhub.serving import ServingConfig
from training.augment import intensity
from training.masked_scans import MaskedScan
from training.samples import DataError
from training.warp import random_grid, warp

NEAR = 3
"""Pixels around a class that is drawn by another convention: its neighbours' borders are its own."""


class MaskDataset(Dataset):
    """Yields random crops: (input (in_chans, *crop) float32, class ids (*crop) int64, 255 for not annotated).

    A crop's randomness depends on (seed, epoch, index) alone, so that a resumed run repeats it whatever the number of
    workers. Crops are flipped if the serving averages mirror images. Scans are kept in memory, about 1.1 MB each at
    496×768.

    Args:
        scans: the scans to crop from, each equally often.
        extra: more scans, which make up `extra_share` of the crops.
        extra_unknown: classes that count as not annotated in `extra`, because it draws them by another convention.
        crops: crops an epoch.
        crop: (height, width) in pixels of the serving size's frame.
        strength: of the augmentation; 0 for none.
        second_masks: other graders' masks of `scans` (one each), used for `second_share` of the crops: in the mean
            over epochs, what the graders disagree on becomes a soft label.
    """

    def __init__(
        self,
        scans: Sequence[MaskedScan],
        serving: ServingConfig,
        *,
        crops: int,
        crop: tuple[int, int],
        extra: Sequence[MaskedScan] = (),
        extra_share: float = 0.0,
        extra_unknown: Sequence[str] = (),
        second_masks: Sequence[MaskedScan] = (),
        second_share: float = 0.0,
        strength: float = 1.0,
        seed: int = 0,
    ):
        if not scans:
            raise DataError("no scans to train on")
        if second_masks and [s.image for s in second_masks] != [s.image for s in scans]:
            raise DataError("the second masks are of other scans than the first")
        self.serving, self.crops, self.crop, self.strength, self.seed = serving, crops, crop, strength, seed
        self.extra_share, self.second_share = extra_share if extra else 0.0, second_share if second_masks else 0.0
        self.epoch = 0
        self.main = [framed(s, serving) for s in scans]
        ids = [serving.class_names.index(name) for name in extra_unknown]
        self.extra = [(image, forget(mask, ids)) for image, mask in (framed(s, serving) for s in extra)]
        self.second = [framed(s, serving)[1] for s in second_masks]
        self._intensity = intensity(strength) if strength else None

    def __len__(self) -> int:
        return self.crops

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((self.seed, self.epoch, index)) & 0x7FFFFFFF)
            image, mask = self._pick(index)
            grid = random_grid(image.shape[1:], self.crop, retina_share(mask), self.strength, self.serving.mirror)
            crop, ids = warp(image, mask, grid)
            if self._intensity:
                crop = self._intensity(crop)
        return normalise(crop.clamp(0, 1), self.serving), ids

    def _pick(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A scan and its mask; over an epoch, every scan comes as often as any other of its kind."""
        extras = round(self.crops * self.extra_share)
        if index < extras:
            return self.extra[self._turn(index, extras, len(self.extra))]
        chosen = self._turn(index - extras, self.crops - extras, len(self.main))
        image, mask = self.main[chosen]
        return image, self.second[chosen] if torch.rand(()) < self.second_share else mask

    def _turn(self, index: int, each_epoch: int, count: int) -> int:
        return (self.epoch * each_epoch + index) % count


def framed(scan: MaskedScan, serving: ServingConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """A scan's windowed frame (1, *size) float32 in [0, 1], and the mask's part (H, W) uint8 that it shows."""
    pixels = read_scan(scan.image)
    mask = read_mask(scan.mask, pixels.shape, serving.class_names)
    image, box = preprocess(pixels, replace(serving, mean=(0.0,), std=(1.0,)))
    return image, torch.from_numpy(np.ascontiguousarray(inside(mask, box)))


def forget(mask: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
    """A mask (H, W) uint8 in which some classes, and NEAR pixels around them, are UNKNOWN."""
    if not ids:
        return mask
    size = 2 * NEAR + 1
    near = cv2.dilate(np.isin(mask.numpy(), ids).astype(np.uint8), np.ones((size, size), np.uint8))
    return mask.masked_fill(torch.from_numpy(near).bool(), UNKNOWN)


def inside(mask: np.ndarray, box: Box) -> np.ndarray:
    """The part of an (H, W) map in a box."""
    return mask[box.top : box.top + box.height, box.left : box.left + box.width]


def retina_share(mask: torch.Tensor) -> float:
    """Where the annotated structures lie: the mean row of all but the largest areas, as a share of the height."""
    counts = torch.bincount(mask.flatten(), minlength=UNKNOWN + 1)[:UNKNOWN]
    rows = torch.cat(
        [(mask == id).nonzero()[:, 0] for id in range(UNKNOWN) if 0 < counts[id] < 0.1 * counts.sum()]
        or [torch.tensor([mask.shape[0] // 2])]
    )
    return float(rows.float().mean()) / mask.shape[0]


def class_frequencies(masks: Sequence[torch.Tensor], num_classes: int) -> torch.Tensor:
    """(num_classes,) share of the annotated pixels that each class has."""
    counts = sum(torch.bincount(m.flatten(), minlength=UNKNOWN + 1)[:num_classes] for m in masks)
    return counts / counts.sum()

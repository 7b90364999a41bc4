"""Labelled scans as a torch data set: read once, augmented by a seed of their own."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from octhub.preprocess import cut, normalise, preprocess, retina_box, retina_row
from octhub.scan import read_scan
from octhub.serving import ServingConfig
from octhub.tissue import Tissue
from training.augment import geometry, intensity, random_band, widen
from training.samples import CLASS_NAMES, Sample
from training.split import Splits

MOST_CACHED = 20_000
"""Scans that are kept decoded in memory, 0.3 MB each; larger sets are read from disk every time."""


class ScanDataset(Dataset):
    """Yields (input (in_chans, H, W) float32, class id).

    Without augmentation the input is exactly what serving makes of the scan. With it, the randomness depends on
    (seed, epoch, index) alone, so that a resumed run repeats it whatever the number of workers.

    Args:
        strength: of the augmentation; 0 for none.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        serving: ServingConfig,
        *,
        strength: float = 0,
        seed: int = 0,
    ):
        self.samples, self.serving, self.strength, self.seed = samples, serving, strength, seed
        self.epoch = 0
        self._cache: dict | None = {} if len(samples) <= MOST_CACHED else None
        self._augment = (geometry(strength), intensity(strength)) if strength else ()

    @property
    def cached(self) -> bool:
        """Whether scans are kept in memory."""
        return self._cache is not None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        sample = self.samples[index]
        target = self.serving.class_names.index(sample.label)
        if not self.strength:
            return self._plain(index), target
        scan, row = self._read(index)
        aspect = self.serving.size[1] / self.serving.size[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((self.seed, self.epoch, index)) & 0x7FFFFFFF)
            band = retina_box(scan.shape, row, aspect).height
            if torch.rand(()) < 0.5:
                scan = widen(scan, 0.8 * self.strength)
            box = random_band(scan.shape, row, scan.shape[1] / band, self.strength)
            image = cut(scan.astype(np.float32) / 255, box, self.serving.size)
            for step in self._augment:
                image = step(image)
        return normalise(image.clamp(0, 1), self.serving), target

    def _plain(self, index: int) -> torch.Tensor:
        if self.cached and index in self._cache:
            return self._cache[index]
        image = preprocess(read_scan(self.samples[index].path), self.serving)[0]
        if self.cached:
            self._cache[index] = image
        return image

    def warm(self, progress=iter) -> None:
        """Fill the cache before worker processes fork, so that they share it."""
        if self.cached:
            for index in progress(range(len(self))):
                self._read(index) if self.strength else self._plain(index)

    def _read(self, index: int) -> tuple[np.ndarray, float]:
        """A scan without its margins, (H, W) uint8, and its retina's row."""
        if self.cached and index in self._cache:
            return self._cache[index]
        scan = Tissue.of(read_scan(self.samples[index].path)).image
        entry = (scan * 255).round().astype(np.uint8), retina_row(scan)
        if self.cached:
            self._cache[index] = entry
        return entry


def normalisation(samples: Sequence[Sample], serving: ServingConfig, most: int = 400) -> tuple[float, float]:
    """(mean, standard deviation) of the windowed intensities of at most `most` scans, evenly spaced."""
    plain = replace(serving, mean=(0.0,), std=(1.0,))
    chosen = samples[:: -(-len(samples) // most)]
    pixels = torch.stack([preprocess(read_scan(s.path), plain)[0] for s in chosen])
    return round(pixels.mean().item(), 3), round(pixels.std().item(), 3)


def classification_sets(
    splits: Splits, size: tuple[int, int], *, strength: float, seed: int, quiet: bool
) -> tuple[ScanDataset, ScanDataset]:
    """(training, validation) scans in memory, normalised by the training scans; their `serving` says how.

    Args:
        size: (height, width) in pixels of the model's input.
        strength, seed: of the training scans' augmentation.
        quiet: no progress bar.
    """
    serving = ServingConfig(CLASS_NAMES, tuple(size))
    mean, std = normalisation(splits.train, serving)
    serving = replace(serving, mean=(mean,), std=(std,))
    sets = ScanDataset(splits.train, serving, strength=strength, seed=seed), ScanDataset(splits.val, serving)
    for dataset in sets:
        dataset.warm(lambda indices: tqdm(indices, "reading scans", disable=quiet, leave=False))
    return sets

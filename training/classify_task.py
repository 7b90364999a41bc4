"""What is particular to training a classifier: its loss and its validation."""

import multiprocessing
from collections import Counter

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from training.dataset import ScanDataset
from training.samples import CLASS_NAMES, DataError, Sample


class ClassifyTask:
    """Class-weighted cross-entropy with label smoothing and mixup."""

    def __init__(
        self,
        train: ScanDataset,
        val: ScanDataset,
        *,
        batch_size: int,
        workers: int,
        label_smoothing: float,
        mixup: float,
        balance: float,
        channels_last: bool,
    ):
        self.train, self.class_names = train, train.serving.class_names
        # Forked workers share what the data set holds in memory; elsewhere each would get a copy every epoch.
        fork = "fork" in multiprocessing.get_all_start_methods()
        workers = workers if fork or not train.cached else 0
        spawn = {"num_workers": workers, "multiprocessing_context": "fork" if workers and fork else None}
        self.train_loader = DataLoader(train, batch_size, shuffle=True, drop_last=True, **spawn)
        if not len(self.train_loader):
            raise DataError(f"{len(train)} training scans, expected at least one batch of {batch_size}")
        self.val_loader = DataLoader(val, batch_size, **({} if val.cached else spawn))
        self._val = None
        self.criterion = nn.CrossEntropyLoss(
            class_weights(train.samples, self.class_names, balance), label_smoothing=label_smoothing
        )
        self.mixup = v2.MixUp(alpha=mixup, num_classes=len(self.class_names)) if mixup else None
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def predict_val(self, model: nn.Module, accelerator: Accelerator) -> tuple[torch.Tensor, torch.Tensor]:
        """The validation split's (logits (N, C), targets (N,)) in every process."""
        if self._val is None:
            self._val = accelerator.prepare_data_loader(self.val_loader)
        return predict(model, self._val, accelerator)

    def start_epoch(self, epoch: int) -> None:
        self.train.epoch = epoch

    def loss(self, model: nn.Module, batch) -> tuple[torch.Tensor, float]:
        images, targets = batch
        mixed, soft = self.mixup(images, targets) if self.mixup else (images, targets)
        logits = model(mixed.to(memory_format=self.memory_format)).float()
        likeliest = soft.argmax(1) if soft.ndim == 2 else soft
        return self.criterion.to(logits.device)(logits, soft), (logits.argmax(1) == likeliest).float().mean().item()

    def validate(self, model: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        logits, targets = self.predict_val(model, accelerator)
        loss = nn.functional.cross_entropy(logits, targets).item()
        accuracy = (logits.argmax(1) == targets).float().mean().item()
        # Chosen by the loss: accuracy moves in steps of a scan, and some of OCT2017's labels are doubtful.
        return {"loss": loss, "accuracy": accuracy, "score": -loss}


def class_weights(samples: list[Sample], class_names: tuple[str, ...], power: float = 1.0) -> torch.Tensor:
    """(C,) weights of mean 1, each inverse to its class's count, to the `power` (1 balances fully, 0 not at all)."""
    counts = Counter(s.label for s in samples)
    weights = torch.tensor([1 / max(counts[c], 1) for c in class_names]) ** power
    return weights / weights.mean()


@torch.no_grad()
def predict(model: nn.Module, loader: DataLoader, accelerator: Accelerator) -> tuple[torch.Tensor, torch.Tensor]:
    """(logits (N, C), targets (N,)) of a whole split in every process, float32 on the CPU; `loader` is prepared."""
    rows = [accelerator.gather_for_metrics((model(images).float(), targets)) for images, targets in loader]
    return torch.cat([r[0] for r in rows]).cpu(), torch.cat([r[1] for r in rows]).cpu()


def counts(samples: list[Sample]) -> dict[str, int]:
    """Scans a class."""
    found = Counter(s.label for s in samples)
    return {c: found[c] for c in CLASS_NAMES}

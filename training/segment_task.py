"""What is particular to training a segmenter: its loss and its validation."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from octhub.mask import UNKNOWN, read_mask
from octhub.metrics import SegmentationScore
from octhub.preprocess import classes_to_scan, preprocess
from octhub.scan import read_scan
from training.mask_dataset import MaskDataset, class_frequencies, inside
from training.masked_scans import MaskedScan
from training.samples import DataError

COARSER = 0.5
"""Weight of a score map's loss, relative to that of the next finer one."""


class SegmentTask:
    """Class-weighted cross-entropy plus Dice, on every score map; validated on whole scans at their own size.

    The weights help a rare class to be learned, but a network trained with them finds it likelier than it is, and draws
    thin layers too thick: the configuration to serve with, `serving`, undoes them. Without validation scans, the newest
    weights count as the best.
    """

    def __init__(
        self,
        train: MaskDataset,
        val: Sequence[MaskedScan],
        *,
        batch_size: int,
        workers: int,
        balance: float,
    ):
        self.train, self.serving, self.epoch = train, train.serving, 0
        self.train_loader = DataLoader(train, batch_size, shuffle=True, drop_last=True, num_workers=workers)
        if not len(self.train_loader):
            raise DataError(f"{len(train)} crops an epoch, expected at least one batch of {batch_size}")
        masks = [mask for _, mask in (*train.main, *train.extra)]
        frequencies = class_frequencies(masks, len(self.serving.class_names))
        if (frequencies > 0).sum() < 2:
            found = self.serving.class_names[int(frequencies.argmax())]
            raise DataError(
                f"the training masks hold only {found!r} and 255 (not annotated), expected two classes or more; "
                "if 255 is what is to be found, give it an id of its own"
            )
        self.weights = class_weights(frequencies, balance)
        self.serving = replace(self.serving, logit_offsets=undo_weights(self.weights))
        self.val = []
        for scan in val:
            pixels = read_scan(scan.image)
            self.val.append(
                (*preprocess(pixels, self.serving), read_mask(scan.mask, pixels.shape, self.serving.class_names))
            )

    def start_epoch(self, epoch: int) -> None:
        self.train.epoch = self.epoch = epoch

    def loss(self, model: nn.Module, batch) -> tuple[torch.Tensor, float]:
        images, ids = batch
        maps = model(images.contiguous(memory_format=torch.channels_last), True)
        shares = [COARSER**k for k in range(len(maps))][::-1]
        weights = self.weights.to(images.device)
        loss = sum(
            share * segmentation_loss(logits.float(), ids, weights) for share, logits in zip(shares, maps, strict=True)
        )
        known = ids != UNKNOWN
        accuracy = (maps[-1].argmax(1)[known] == ids[known]).float().mean().item()
        return loss / sum(shares), accuracy

    def validate(self, model: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        if not self.val:
            return {"score": float(self.epoch)}
        losses, scores = [], []
        weights = self.weights.to(accelerator.device)
        for image, box, truth in self.val:
            with torch.inference_mode(), accelerator.autocast():
                logits = model(image[None].to(accelerator.device, memory_format=torch.channels_last)).float()
            size = logits.shape[2:]
            ids = torch.from_numpy(inside(truth, box)).long()
            ids = F.interpolate(ids[None, None].float(), size, mode="nearest-exact")[0].long().to(logits.device)
            losses.append(segmentation_loss(logits, ids, weights).item())
            offsets = torch.tensor(self.serving.logit_offsets, device=logits.device)[:, None, None]
            answer = classes_to_scan(logits[0] + offsets, box, truth.shape, UNKNOWN)
            scores.append(SegmentationScore.of(answer, truth, self.serving.class_names))
        pooled = sum(scores[1:], scores[0])
        return {
            "loss": sum(losses) / len(losses),
            "accuracy": pooled.pixel_accuracy,
            "score": pooled.miou,
            **{f"iou_{name}": iou for name, iou in pooled.iou.items()},
        }


def segmentation_loss(logits: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Class-weighted cross-entropy plus soft Dice; pixels of id 255 count in neither.

    Dice is taken over the batch, for the classes that it holds (Milletari et al. 2016, "V-Net").

    Args:
        logits: (B, C, H, W) float32.
        ids: (B, H, W) int64 class ids or 255.
        weights: (C,) of the cross-entropy.
    """
    known = (ids != UNKNOWN)[:, None]
    if not known.any():
        return 0 * logits.sum()
    cross_entropy = F.cross_entropy(logits, ids, weights, ignore_index=UNKNOWN)
    p = logits.softmax(1) * known
    truth = F.one_hot(ids.where(known[:, 0], 0), logits.shape[1]).permute(0, 3, 1, 2) * known
    both, sizes = (p * truth).sum((0, 2, 3)), (p + truth).sum((0, 2, 3))
    present = truth.sum((0, 2, 3)) > 0
    dice = 1 - (2 * both[present] / sizes[present]).mean()
    return cross_entropy + dice


def class_weights(frequencies: torch.Tensor, power: float) -> torch.Tensor:
    """(C,) weights inverse to the classes' shares, to the `power`: 1 on average over the pixels, 0 if absent."""
    weights = torch.where(frequencies > 0, frequencies.clamp(min=1e-6) ** -power, 0.0)
    return weights / (weights * frequencies).sum()


def undo_weights(weights: torch.Tensor) -> tuple[float, ...]:
    """What to add to the logits of a network trained with these (C,) class weights, so that their softmax estimates the
    classes' true shares: -ln of the weight (Menon et al. 2021, "Long-tail learning via logit adjustment"); 0 for
    absent classes."""
    return tuple(round(-math.log(w), 4) if w > 0 else 0.0 for w in weights.tolist())

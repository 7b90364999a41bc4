"""Grad-CAM: where a classifier looked."""

from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F


def heatmaps(heat: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Evidence for a class on a network's grid, enlarged and scaled as pytorch-grad-cam does it.

    Args:
        heat: (B, h, w), at least 0, of OctNet.heat.
        size: (height, width) of the network's input.

    Returns:
        (B, *size) in [0, 1]: each one's largest value is 1, or all are 0 where no evidence was found.
    """
    return _scaled(F.interpolate(_scaled(heat)[:, None], size, mode="bilinear", align_corners=False)[:, 0])


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    """(B, H, W) → from 0 to 1 in each."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    most = maps.amax((1, 2), keepdim=True)
    return maps / torch.where(most > 0, most, 1)


def grad_cam(
    model: nn.Module, input: torch.Tensor, class_index: int | None = None, layer: nn.Module | None = None
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Grad-CAM of one scan at any layer of any classifier, by pytorch-grad-cam (Selvaraju et al. 2017, "Grad-CAM:
    Visual Explanations from Deep Networks"). At OctNet's last block OctNet.heat gives the same without a backward pass.

    Not safe for threads that share a model: the package hooks the layer while it works. Hold a lock.

    Args:
        model: a classifier in eval mode; its parameters' gradients and flags are left as they were.
        input: (1, C, H, W), normalised.
        class_index: the class to explain; the likeliest by default.
        layer: the layer to look at; the model's `cam_layer()` by default.

    Returns:
        heatmap (H, W) in [0, 1], scaled so that its largest value is 1 (all 0 where no evidence for the class
        was found); logits (1, num_classes); the class explained.
    """
    if input.ndim != 4 or len(input) != 1:
        raise ValueError(f"input of shape {tuple(input.shape)}, expected (1, C, H, W)")
    from pytorch_grad_cam import GradCAM  # takes longer to import than a scan to explain
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    # The input carries the gradient, so the parameters can be frozen and no gradient is left on them.
    with torch.inference_mode(False), torch.enable_grad(), _frozen(model):
        x = input.detach().clone().requires_grad_(True)
        with GradCAM(model=model, target_layers=[layer or model.cam_layer()]) as cam:
            targets = None if class_index is None else [ClassifierOutputTarget(class_index)]
            heatmap = torch.from_numpy(cam(input_tensor=x, targets=targets)[0])
            logits = cam.outputs.detach()
    return heatmap, logits, int(logits.argmax()) if class_index is None else class_index


@contextmanager
def _frozen(model: nn.Module):
    flags = [(p, p.requires_grad) for p in model.parameters()]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)

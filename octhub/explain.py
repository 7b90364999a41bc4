"""Grad-CAM: where a classifier looked."""

from contextlib import contextmanager

import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn


def grad_cam(
    model: nn.Module, input: torch.Tensor, class_index: int | None = None, layer: nn.Module | None = None
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Grad-CAM of one scan (Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks").

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

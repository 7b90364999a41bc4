"""What Grad-CAM can't do without, in a plain PyTorch loop: a forward pass, and the gradient at the last activation."""

import torch

from octhub.octnet import OctNet


def forward_and_backward(model: OctNet, input: torch.Tensor) -> torch.Tensor:
    """The gradient of the likeliest class's logit at what Grad-CAM looks at.

    Args:
        model: in eval mode, frozen.
        input: (1, C, H, W), normalised.
    """
    seen: list[torch.Tensor] = []
    hook = model.cam_layer().register_forward_hook(lambda layer, given, out: seen.append(out))
    try:
        with torch.enable_grad():
            logits = model(input.requires_grad_(True))
            return torch.autograd.grad(logits[0, logits.argmax()], seen[0])[0]
    finally:
        hook.remove()

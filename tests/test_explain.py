"""Grad-CAM finds planted evidence, and leaves the model as it was."""

import pytest
import torch
from torch import nn

from octhub import OctNet
from octhub.explain import grad_cam


class Half(nn.Module):
    """Class 0 is the light on the left, class 1 on the right."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.conv.weight.data[:] = 1

    def cam_layer(self):
        return self.conv

    def forward(self, x):
        maps = self.conv(x)
        half = x.shape[-1] // 2
        return torch.stack([maps[:, 0, :, :half].sum((1, 2)), maps[:, 1, :, half:].sum((1, 2))], 1)


def small() -> OctNet:
    torch.manual_seed(0)
    return OctNet(channels=(4, 4, 8, 8, 8, 16), hidden=(8, 8)).eval()


def test_finds_the_spot():
    x = torch.zeros(1, 1, 32, 64)
    x[0, 0, 10:14, 50:54] = 1
    heatmap, logits, shown = grad_cam(Half().eval(), x)
    assert shown == 1
    assert logits.shape == (1, 2)
    assert heatmap.shape == (32, 64)
    assert divmod(int(heatmap.argmax()), 64)[0] in range(10, 14)
    assert divmod(int(heatmap.argmax()), 64)[1] in range(50, 54)
    assert 0 <= heatmap.min() <= heatmap.max() <= 1


def test_explains_any_class():
    for wanted in range(4):
        heatmap, _, shown = grad_cam(small(), torch.randn(1, 1, 64, 128), wanted)
        assert shown == wanted
        assert heatmap.shape == (64, 128)


def test_leaves_no_trace():
    model = small()
    model.blocks[0].conv.weight.requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    x = torch.randn(1, 1, 64, 64)
    before = model(x).detach()
    with torch.inference_mode():  # callers needn't care
        grad_cam(model, x)
    assert all(p.grad is None for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not model.cam_layer()._forward_hooks
    assert torch.equal(model(x), before)


def test_repeats_to_the_bit():
    model, x = small(), torch.randn(1, 1, 64, 64)
    assert torch.equal(grad_cam(model, x, 2)[0], grad_cam(model, x, 2)[0])


def test_one_scan_at_a_time():
    with pytest.raises(ValueError, match=r"expected \(1, C, H, W\)"):
        grad_cam(small(), torch.zeros(2, 1, 64, 64))

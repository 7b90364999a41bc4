"""OctNet's Grad-CAM in closed form is what pytorch-grad-cam finds by a backward pass."""

import pytest
import torch

from octhub import OctNet, read_scan
from octhub.explain import grad_cam, heatmaps
from octhub.preprocess import preprocess

CLOSE = 1e-4


def agree(model: OctNet, x: torch.Tensor) -> None:
    with torch.inference_mode():
        activation = model.activation(x)
    for wanted in range(model.num_classes):
        with torch.inference_mode():
            found = heatmaps(model.heat(activation, torch.full((len(x),), wanted)), x.shape[2:])
        for one, map in zip(x, found, strict=True):
            expected, _, _ = grad_cam(model, one[None], wanted)
            assert map.shape == expected.shape
            assert (map - expected).abs().max() < CLOSE


@pytest.mark.parametrize("size", [(64, 64), (96, 200), (130, 75)], ids=str)
def test_small_models_of_any_size_and_batch(size):
    for seed in range(4):
        torch.manual_seed(seed)
        model = OctNet(channels=(4, 4, 8, 8, 8, 16), hidden=(8, 8)).eval()
        for block in model.blocks:
            block.norm.running_mean.normal_(0, 0.1)
            block.norm.bias.data.normal_(0, 0.5)
        agree(model, torch.randn(3, 1, *size))


def test_the_committed_model_on_real_scans(root, classifier):
    scans = sorted((root / "examples").glob("*.jpeg"))
    inputs = [preprocess(read_scan(path), classifier.serving)[0] for path in scans]
    agree(classifier.model, torch.stack(inputs))


def test_leaves_no_trace():
    torch.manual_seed(0)
    model = OctNet(channels=(4, 4, 8, 8, 8, 16), hidden=(8, 8)).eval()
    with torch.inference_mode():
        model.heat(model.activation(torch.randn(1, 1, 64, 64)), torch.tensor([0]))
    assert all(p.grad is None for p in model.parameters())


def test_no_evidence_is_no_heat():
    assert torch.equal(heatmaps(torch.zeros(2, 3, 5), (30, 50)), torch.zeros(2, 30, 50))

"""OctNet keeps the models' contract, its size and its layout."""

import pytest
import timm
import torch
from contract import ModelContract

from octhub import OctNet


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


class TestOctNet(ModelContract):
    def make(self, **kwargs):
        return OctNet(**{"channels": (4, 4, 8, 8, 8, 16), "hidden": (8, 8), "num_classes": self.num_classes, **kwargs})

    def output_shape(self, batch, height, width):
        return batch, self.num_classes

    def test_too_small_an_input_is_named(self, model):
        with pytest.raises(ValueError, match="at least 64"):
            model(torch.zeros(1, 1, 63, 64))


def test_at_most_6_9_percent_of_resnet50():
    ours, resnet50 = parameters(OctNet()), parameters(timm.create_model("resnet50", pretrained=False))
    assert resnet50 == 25_557_032
    assert ours <= 1_763_435
    assert ours / resnet50 <= 0.069


def test_layout():
    model = OctNet()
    kinds = [[type(layer).__name__ for layer in block] for block in model.blocks]
    assert kinds == [["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]] * 6
    assert model.features(torch.zeros(1, 1, 64, 64)).shape == (1, 512)
    assert [layer.p for layer in model.mlp if isinstance(layer, torch.nn.Dropout)] == [0.5, 0.5]
    assert sum(isinstance(layer, torch.nn.Linear) for layer in model.mlp) == 3

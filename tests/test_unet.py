"""UNet keeps the models' contract, its layout and its scores at every resolution."""

import pytest
import timm
import torch
from contract import ModelContract

from octhub import UNet

SMALL = {"encoder": "resnet10t", "decoder_channels": (16, 16, 8, 8, 8)}


class TestUNet(ModelContract):
    def make(self, **kwargs):
        model = UNet(**{**SMALL, "num_classes": self.num_classes, **kwargs})
        for name, p in model.named_parameters():
            if "bn2.weight" in name:  # timm starts residual branches at zero, and no gradient reaches into them
                torch.nn.init.ones_(p)
        return model

    def output_shape(self, batch, height, width):
        return batch, self.num_classes, height, width

    def test_smallest_inputs(self, model):
        for size in ((1, 1), (31, 33)):
            assert model(self.scans(1, size)).shape == (1, self.num_classes, *size)

    def test_every_block_scores(self, model):
        x = self.scans(1, (70, 90))
        with torch.inference_mode():
            scores = model(x, every_score=True)
            assert [s.shape for s in scores] == [(1, self.num_classes, 70, 90)] * 5
            assert torch.equal(scores[-1], model(x))
            assert not torch.allclose(scores[-2], scores[-1])

    def test_finer_scores_refine_coarser_ones(self, model):
        """With the finer blocks' own scores silenced, what is left is the coarsest score, enlarged."""
        for block in model.decoder[1:]:
            torch.nn.init.zeros_(block.score.weight)
            torch.nn.init.zeros_(block.score.bias)
        with torch.inference_mode():
            first, *_, last = model(self.scans(1, (64, 64)), every_score=True)
        inner = slice(24, 40)  # repeated doubling and one big step differ at the border
        torch.testing.assert_close(first[..., inner, inner], last[..., inner, inner], rtol=0.3, atol=0.3)

    def test_encoder_starts_from_a_timm_classifier(self, model):
        torch.manual_seed(7)
        classifier = timm.create_model("resnet10t", in_chans=1, num_classes=4)
        tensors = {k: v for k, v in classifier.state_dict().items() if not k.startswith("fc.")}
        model.load_encoder(tensors)
        assert torch.equal(model.encoder.state_dict()["layer1.0.conv1.weight"], tensors["layer1.0.conv1.weight"])
        with pytest.raises(RuntimeError, match="conv1"):
            model.load_encoder({})


def test_layout():
    """timm's ResNet-34, and in every block a transposed convolution, two 3×3 convolutions and a 1×1 score."""
    model = UNet(in_chans=3, num_classes=9)
    resnet = timm.create_model("resnet34", features_only=True, in_chans=3).state_dict()
    assert {k: v.shape for k, v in model.encoder.state_dict().items()} == {k: v.shape for k, v in resnet.items()}
    assert len(model.decoder) == 5
    for block in model.decoder:
        assert (block.up.kernel_size, block.up.stride) == ((2, 2), (2, 2))
        convs = [m for m in block.conv if isinstance(m, torch.nn.Conv2d)]
        assert [c.kernel_size for c in convs] == [(3, 3), (3, 3)]
        assert block.score.kernel_size == (1, 1)
        assert block.score.out_channels == 9


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"encoder": "nonsense"}, "encoder 'nonsense', expected a model of timm"),
        ({"encoder": "convnext_atto"}, r"halves its input to \[4, 8, 16, 32\], expected \[2, 4, 8, 16, 32\]"),
        ({"decoder_channels": (8, 8)}, "2 decoder_channels, expected 5"),
    ],
)
def test_unfit_layouts_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        UNet(**{**SMALL, **kwargs})

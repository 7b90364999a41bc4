"""Augmentation that suits B-scans: anatomy stays, the device and the framing change."""

import numpy as np
import torch
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from octhub.preprocess import Box, retina_box


class Gamma(nn.Module):
    """Raise intensities in [0, 1] to a random power, log-uniform in [1 / most, most]: another device's tone curve."""

    def __init__(self, most: float):
        super().__init__()
        self.log_most = float(np.log(most))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.clamp(min=0) ** float(torch.empty(()).uniform_(-self.log_most, self.log_most).exp())


class Speckle(nn.Module):
    """Multiply by noise of standard deviation up to `most`, of a random grain: averaging differs by device.

    Speckle is multiplicative in OCT (Schmitt et al. 1999, J. Biomed. Opt. 4:95).
    """

    def __init__(self, most: float, grains: tuple[int, ...] = (1, 2)):
        super().__init__()
        self.most, self.grains = most, grains

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        strength = float(torch.rand(())) * self.most
        grain = self.grains[int(torch.randint(len(self.grains), ()))]
        height, width = image.shape[-2:]
        noise = torch.randn(1, height // grain, width // grain)
        if grain > 1:
            noise = F.resize(noise, [height, width], antialias=False)
        return image * (1 + strength * noise)


class Shadows(nn.Module):
    """Darken up to `most` vertical stripes, as the vessels above do."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        width = image.shape[-1]
        columns = torch.arange(width)
        shade = torch.ones(width)
        for _ in range(int(torch.randint(self.most + 1, ()))):
            centre, spread, depth = torch.rand(3).tolist()
            shade *= 1 - 0.7 * depth * torch.exp(-(((columns - centre * width) / (1 + 0.02 * spread * width)) ** 2))
        return image * shade


class DepthGain(nn.Module):
    """Multiply rows by an exponential ramp, 1 at the top, log-uniform in [1 / most, most] at the bottom.

    How bright the choroid is under the retina depends on the device's focus and light source.
    """

    def __init__(self, most: float):
        super().__init__()
        self.log_most = float(np.log(most))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        exponent = float(torch.empty(()).uniform_(-self.log_most, self.log_most))
        return image * torch.linspace(0, exponent, image.shape[-2]).exp()[:, None]


class Bend(nn.Module):
    """Shift columns by a random parabola, up to `down` and `up` of the height between the centre and the sides.

    How curved the retina looks depends on the width of the scan and the length of the optical path: wide scans of
    other devices bow upwards at the sides.
    """

    def __init__(self, down: float, up: float):
        super().__init__()
        self.down, self.up = down, up

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        x = torch.linspace(-1, 1, width)
        rise = 2 * float(torch.empty(()).uniform_(-self.down, self.up))  # the grid's height is 2
        displacement = torch.zeros(1, height, width, 2)
        displacement[..., 1] = rise * (x**2 - 1 / 3)
        return F.elastic(image, displacement, interpolation=v2.InterpolationMode.BILINEAR)


def intensity(strength: float = 1.0) -> v2.Compose:
    """Tone, noise, blur and shadows on windowed intensities in [0, 1]; `strength` scales all of them."""
    return v2.Compose(
        [
            Gamma(1 + 0.6 * strength),
            v2.ColorJitter(brightness=0.25 * strength, contrast=0.25 * strength),
            v2.RandomApply([DepthGain(1 + strength)], p=0.5),
            v2.RandomApply([v2.GaussianBlur(5, sigma=(0.1, 1.2 * strength + 0.1))], p=0.4),
            v2.RandomApply([Speckle(0.25 * strength)], p=0.4),
            v2.RandomApply([v2.GaussianNoise(sigma=0.05 * strength)], p=0.3),
            v2.RandomApply([Shadows(4)], p=0.4),
        ]
    )


def geometry(strength: float = 1.0) -> v2.Compose:
    """Flip, bend, small rotation, shear and shift."""
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomApply([Bend(0.1 * strength, 0.3 * strength)], p=0.7),
            v2.RandomAffine(
                degrees=10 * strength,
                translate=(0.05 * strength, 0.05 * strength),
                shear=(-8 * strength, 8 * strength),
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
        ]
    )


def widen(scan: np.ndarray, most: float) -> np.ndarray:
    """Mirror a scan at its left and right border by random amounts, up to `most` of its width in all.

    OCT2017's scans are 6 to 9 mm wide, other devices' up to 12: everything on those is narrower once the scan is
    resized. (H, W) → (H, W + …).
    """
    total, left = torch.rand(2).tolist()
    extra = total * most * scan.shape[1]
    return np.pad(scan, ((0, 0), (int(extra * left), int(extra * (1 - left)))), mode="reflect")


def random_band(shape: tuple[int, int], row: float, aspect: float, strength: float = 1.0) -> Box:
    """A random relative of `retina_box`: taller or flatter, shifted, and down to four fifths of the width.

    Crops of random place, height and width break the shortcuts that size and cropping are in OCT2017.
    """
    height, width = shape
    box = retina_box(shape, row, aspect)
    narrow, tall, across, up = torch.rand(4).tolist()
    new_width = max(1, round(width * (1 - 0.2 * strength * narrow)))
    stretch = float(np.exp((2 * tall - 1) * 0.4 * strength))
    new_height = int(np.clip(round(box.height * stretch * new_width / width), 1, height))
    middle = box.top + box.height / 2 + (up - 0.5) * 0.3 * strength * box.height
    top = int(np.clip(round(middle - new_height / 2), 0, height - new_height))
    return Box(top, round(across * (width - new_width)), new_height, new_width)

"""What a checkpoint's config.json says about running it on a scan."""

from dataclasses import dataclass
from math import isfinite

from octhub.bscan import BScanRule
from octhub.unsure import UnsureRule

FRAMINGS = ("retina", "whole", "plain")
"""What a model sees: the band around the retina, all of a scan but white margins and black sides, or an image as it
is, of whatever it may be (see octhub.preprocess)."""


@dataclass(frozen=True)
class ServingConfig:
    """Everything that training, serving and tests must agree on, stored in config.json.

    Attributes:
        class_names: one name per output channel, in the order of the logits.
        size: (height, width) in pixels of the model's input.
        mean, std: normalisation of the windowed intensities, one value per input channel.
        temperature: the logits are divided by it before the softmax (Guo et al. 2017,
            "On Calibration of Modern Neural Networks"); fitted on validation patients.
        mirror: a segmenter answers with the mean of a scan's logits and its mirror image's, in twice the time.
        logit_offsets: a segmenter adds them to its logits, one a class; () for none. They undo the class weights of
            its loss (Menon et al. 2021, "Long-tail learning via logit adjustment").
        framing: of FRAMINGS; a segmenter outlines the whole scan, a classifier looks at the retina.
        bscan: by what an image counts as a B-scan; None to take any image for one.
        unsure: when a classifier abstains; None for never.
    """

    class_names: tuple[str, ...]
    size: tuple[int, int]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    temperature: float = 1.0
    framing: str = "retina"
    mirror: bool = False
    logit_offsets: tuple[float, ...] = ()
    bscan: BScanRule | None = None
    unsure: UnsureRule | None = None

    def __post_init__(self):
        for field in ("class_names", "size", "mean", "std", "logit_offsets"):  # JSON turns tuples into lists
            object.__setattr__(self, field, tuple(getattr(self, field)))
        for field, rule in (("bscan", BScanRule), ("unsure", UnsureRule)):
            if isinstance(getattr(self, field), dict):
                object.__setattr__(self, field, rule(**getattr(self, field)))
        if len(self.size) != 2 or any(not isinstance(n, int) or n < 1 for n in self.size):
            raise ValueError(f"size is {self.size}, expected (height, width) in pixels")
        numbers = (*self.mean, *self.std, self.temperature)
        if not all(isinstance(n, int | float) and isfinite(n) for n in numbers):
            raise ValueError(f"mean {self.mean}, std {self.std} and temperature {self.temperature}: expected numbers")
        if self.framing not in FRAMINGS:
            raise ValueError(f"framing {self.framing!r}, expected one of {', '.join(FRAMINGS)}")
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(f"mean {self.mean} and std {self.std}: expected one value per input channel in each")
        if min(self.std) <= 0 or self.temperature <= 0:
            raise ValueError(f"std {self.std} and temperature {self.temperature} must be above 0")
        if self.logit_offsets and len(self.logit_offsets) != len(self.class_names):
            raise ValueError(f"{len(self.logit_offsets)} logit_offsets for {len(self.class_names)} classes")
        if not all(isinstance(n, int | float) and isfinite(n) for n in self.logit_offsets):
            raise ValueError(f"logit_offsets {self.logit_offsets}: expected numbers")
        if not all(isinstance(name, str) and name for name in self.class_names):
            raise ValueError(f"class_names {self.class_names}: expected names")
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"class_names {self.class_names}: a name appears twice")

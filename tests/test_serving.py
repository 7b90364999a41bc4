"""A serving configuration that can't work is refused when it is made."""

import pytest

from octhub import ServingConfig


def test_lists_from_json_become_tuples():
    assert ServingConfig(["a", "b"], [64, 128]) == ServingConfig(("a", "b"), (64, 128))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": (64,)}, "size is"),
        ({"size": (0, 64)}, "size is"),
        ({"size": (64.0, 64)}, "size is"),
        ({"mean": (0.1, 0.2)}, "one value per input channel"),
        ({"mean": (), "std": ()}, "one value per input channel"),
        ({"mean": ("a",)}, "expected numbers"),
        ({"temperature": float("nan")}, "expected numbers"),
        ({"std": (0.0,)}, "must be above 0"),
        ({"temperature": 0.0}, "must be above 0"),
        ({"logit_offsets": (0.5,)}, "1 logit_offsets for 2 classes"),
        ({"logit_offsets": (0.5, "a")}, "expected numbers"),
        ({"framing": "half"}, "expected one of retina, whole, plain"),
        ({"class_names": ("a", "a")}, "appears twice"),
        ({"class_names": ("a", 1)}, "expected names"),
    ],
)
def test_nonsense_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ServingConfig(**{"class_names": ("a", "b"), "size": (64, 64), **kwargs})

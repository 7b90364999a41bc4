"""A serving configuration that can't work is refused when it is made."""

import pytest

from octhub import ServingConfig


def test_lists_from_json_become_tuples():
    assert ServingConfig(["a", "b"], [64, 128]) == ServingConfig(("a", "b"), (64, 128))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"size": (64,)},
        {"size": (0, 64)},
        {"size": (64.0, 64)},
        {"mean": (0.1, 0.2)},
        {"mean": (), "std": ()},
        {"std": (0.0,)},
        {"temperature": 0.0},
        {"class_names": ("a", "a")},
    ],
)
def test_nonsense_is_refused(kwargs):
    with pytest.raises(ValueError, match=r"."):
        ServingConfig(**{"class_names": ("a", "b"), "size": (64, 64), **kwargs})

"""Hostile images by the thousand, from seeds: `case(seed)` is the same upload on every machine."""

from dataclasses import replace
from random import Random

from hostile import Case, Make, name_for
from hostile_bombs import HEAVY
from hostile_damage import DAMAGE
from hostile_right import RIGHT
from hostile_wrong import WRONG


def wrong_suffix(random: Random) -> Case:
    """A good scan that is called something else: its content decides."""
    suffix = random.choice((".txt", ".exe", ".html", ".svg", ".dcm", ".gif", "", "."))
    return replace(RIGHT[random.choice(list(RIGHT))](random), name=name_for(random, suffix))


LIGHT: dict[str, Make] = {**RIGHT, **WRONG, **DAMAGE, "wrong suffix": wrong_suffix}

KINDS = [*LIGHT, *HEAVY]

CYCLE: list[str] = []
"""The kinds of consecutive seeds: all of LIGHT, and one of HEAVY."""

for kind in HEAVY:
    CYCLE += [*LIGHT, kind]


def case(seed: int) -> Case:
    """The upload of a seed."""
    random, kind = Random(seed), CYCLE[seed % len(CYCLE)]
    made = (LIGHT | HEAVY)[kind](random)
    return replace(made, kind=kind, name=made.name or name_for(random))

"""The known mistakes of this field, as plants.toml has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from prove.mutant import Change, Mutant


class _Plant(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    suites: list[str]
    change: list[Change]


class _Garden(msgspec.Struct, forbid_unknown_fields=True):
    """suites: by a name that stands for several."""

    suites: dict[str, list[str]]
    plant: list[_Plant]


def _read() -> Sequence[Mutant]:
    garden = msgspec.toml.decode(Path(__file__).with_suffix(".toml").read_bytes(), type=_Garden)
    return [
        Mutant(plant.name, [suite for name in plant.suites for suite in garden.suites.get(name, [name])], plant.change)
        for plant in garden.plant
    ]


PLANTS: Final = _read()

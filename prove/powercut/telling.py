"""Which of many failures are told: one bug breaks many units, and the others should not be hidden behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_TOLD: Final = 12
_KIND: Final = 80  # characters of a sentence that tell its kind
_VARYING: Final = re.compile(r"0x\w\w|\d+|`\w+`|once|lasting")


def told(failures: Sequence[str]) -> list[str]:
    """Give a failure of each kind first, that is, those that differ in more than numbers and data; few in all."""
    kinds: dict[str, str] = {}
    for failure in failures:
        kinds.setdefault(_VARYING.sub("", failure)[:_KIND], failure)
    first = list(kinds.values())[:_TOLD]
    more = len(failures) - len(first)
    return [*first, f"and {more} more failures"] if more else first

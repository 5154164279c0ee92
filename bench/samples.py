"""How much is measured, and how: ours and the others in turn (A B A B), the median of the rounds, and their range."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Rates: TypeAlias = dict[str, list[float]]
"""What each contender gave, a figure for each round."""


@dataclass(frozen=True)
class Effort:
    """share: of the full number of jobs; rounds: of each contender."""

    share: float = 1.0
    rounds: int = 3

    def __call__(self, number: int) -> int:
        """Give how many to measure instead of `number`."""
        return max(20, round(number * self.share))

    def in_turn(self, contenders: Mapping[str, Callable[[], float]]) -> Rates:
        """Run each contender once per round, so that what disturbs the machine disturbs all of them."""
        rates: Rates = {name: [] for name in contenders}
        for _ in range(self.rounds):
            for name, run in contenders.items():
                rates[name].append(run())
        return rates


FULL = Effort()
QUICK = Effort(share=0.002, rounds=1)


def ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Give the ratio of the medians, and the lowest and highest of the rounds' own ratios."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(ours) / statistics.median(theirs), min(each), max(each)


def percentile(values: list[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def spread(values: list[float], unit: str = "/s") -> str:
    """Say the median and the range: `31,000/s (30,500 to 31,900)`."""
    middle = statistics.median(values)
    digits = 0 if middle >= 100 else 2
    said = f"{middle:,.{digits}f}{unit}"
    if len(values) == 1:
        return said
    return f"{said} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"

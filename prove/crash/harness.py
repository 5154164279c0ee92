"""The harness around the loop: units for as long as told, each on a ground of its own, and their figures together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

from prove.crash.ground import Lend
from prove.crash.loop import Told, Unit
from prove.verdict import Verdict


class CrashLoop:
    """The harness `name`, which plays units of one kind, of so many rounds.

    grounds: lent for a run. figures: of all units, by the words of the verdict. why_not: why it cannot be done here.
    remarks: what is to be said beside the figures.
    """

    def __init__(
        self,
        name: str,
        unit: type[Unit],
        grounds: Callable[[], AbstractContextManager[Lend]],
        figures: Callable[[Sequence[Told]], dict[str, int]],
        *,
        rounds: int,
        remarks: Callable[[Sequence[Told]], list[str]] = lambda _told: [],
        why_not: Callable[[], str] = str,
    ) -> None:
        self._name = name
        self._unit = unit
        self._grounds = grounds
        self._figures = figures
        self._rounds = rounds
        self._remarks = remarks
        self._why_not = why_not

    def run(self, seconds: float, seed: int) -> Verdict:
        """Play units until the time is over."""
        began = time.monotonic()
        if reason := self._why_not():
            return Verdict(harness=self._name, seed=seed, seconds=0.0, counts={}, remarks=[reason])
        told: list[Told] = []
        with self._grounds() as lend:
            while not told or time.monotonic() < began + seconds:
                told.append(self._play(lend, seed, len(told)))
        return self._verdict(seed, began, dict(enumerate(told)))

    def repeat(self, words: list[str]) -> Verdict:
        """Play one unit again: SEED UNIT. Raises ValueError for other words."""
        match words:
            case [first, second] if first.isdigit() and second.isdigit():
                seed, number = int(first), int(second)
            case _:
                raise ValueError(f"expected: SEED UNIT, got: {' '.join(words)!r}")
        began = time.monotonic()
        with self._grounds() as lend:
            told = self._play(lend, seed, number)
        return self._verdict(seed, began, {number: told})

    def _play(self, lend: Lend, seed: int, number: int) -> Told:
        with TemporaryDirectory(prefix="workqueue-prove-") as folder:
            with lend(Path(folder)) as ground:
                return self._unit(Path(folder), seed, number, ground=ground, rounds=self._rounds).play()

    def _verdict(self, seed: int, began: float, told: dict[int, Told]) -> Verdict:
        return Verdict(
            harness=self._name,
            seed=seed,
            seconds=time.monotonic() - began,
            counts=self._figures(list(told.values())),
            failures=[
                f"{sentence} (python -m prove repeat {self._name} {seed} {number})"
                for number, one in told.items()
                for sentence in one.broken
            ],
            remarks=self._remarks(list(told.values())),
        )


def together(told: Sequence[Told]) -> Counter[str]:
    """Give the sums of what the units counted."""
    counts = Counter[str]()
    for one in told:
        counts.update(one.counts)  # adding them would drop the zeros
    return counts

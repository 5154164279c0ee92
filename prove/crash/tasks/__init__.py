"""The crash loop on tasks: limits, rates, orders, keys, batches, chains and isolated tasks, while processes are killed.

`app.py` is the program that is killed, as a user would write it, and `programs.py` what its processes do; `unit.py`
plays one file of it, killing children too, and `judge.py` says what is broken beside what is judged of any crash loop.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from prove.crash.loop import Told
from prove.crash.tasks.unit import TaskUnit
from prove.verdict import Verdict

_TOLD: Final = (  # the rest is told of the loop without tasks, or is always 0 here
    "processes killed", "children killed alone", "stopped", "frozen", "jobs acknowledged", "run more than once",
    "lanes", "of them seen full", "runs in child processes", "pushes answered by the key's job", "batches called back",
    "results passed on", "lost", "settled twice", "effects doubled", "stuck",
)  # fmt: skip


def run(seconds: float, seed: int) -> Verdict:
    """Play units until the time is over, each on a file of its own."""
    began = time.monotonic()
    told: list[tuple[int, Told]] = []
    while not told or time.monotonic() < began + seconds:
        told.append((len(told), play(seed, len(told))))
    return _verdict(seed, time.monotonic() - began, told)


def repeat(words: list[str]) -> Verdict:
    """Play one unit again: SEED UNIT. Raises ValueError for other words."""
    match words:
        case [first, second] if first.isdigit() and second.isdigit():
            seed, number = int(first), int(second)
        case _:
            raise ValueError(f"expected: SEED UNIT, got: {' '.join(words)!r}")
    began = time.monotonic()
    told = [(number, play(seed, number))]
    return _verdict(seed, time.monotonic() - began, told)


def play(seed: int, number: int) -> Told:
    with TemporaryDirectory(prefix="workqueue-prove-") as folder:
        return TaskUnit(Path(folder), seed, number).play()


def _verdict(seed: int, seconds: float, told: list[tuple[int, Told]]) -> Verdict:
    counts = sum((one.counts for _, one in told), Counter[str]())
    return Verdict(
        harness="tasks",
        seed=seed,
        seconds=seconds,
        counts={words: counts[words] for words in _TOLD},
        failures=[
            f"{sentence} (python -m prove repeat tasks {seed} {number})"
            for number, one in told
            for sentence in one.broken
        ],
    )

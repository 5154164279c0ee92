"""Simulation: seeded schedules of faults over the real package, on a simulated machine.

One seed is one story: some workers, pushers and a person on one file, and faults of some kinds. The package runs as it
stands (Queue, Runner, Heartbeat, ThreadExecutor, SqliteStore, Database, and SQLite itself); simulated are time, threads
and locks, the processes and their deaths, the bells, the owners' bytes, and what the disk answers. Whoever acts gives
way at each statement, so that processes meet, die and freeze in the middle of a verb. What a seed does, it does again.
Half of the seeds have a queue of tasks (duties.py), which ask for something beyond their turn.

`async def` workers are not simulated: their loop is the standard library's.
"""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from prove.simulation.faults import KINDS
from prove.simulation.scheduler import Carriers
from prove.simulation.story import Told, told
from prove.verdict import Verdict

_MEMORY: Final = Path("/dev/shm")
_SHRUNK: Final = 3  # failing seeds of one run that are shrunk


def run(seconds: float, seed: int) -> Verdict:
    """Play the seeds from `seed` upwards for about so long."""
    began = time.monotonic()
    total = _Total()
    failures: list[str] = []
    with stage() as (folder, carriers):
        following = seed
        while following == seed or time.monotonic() - began < seconds:
            story = told(folder, following, without=(), carriers=carriers)
            total.add(story)
            if story.broken:
                without = _shrink(folder, following, carriers) if len(failures) < _SHRUNK else []
                failures.append(_sentence(following, story.broken, without))
            following += 1
    return Verdict(
        harness="simulation",
        seed=seed,
        seconds=time.monotonic() - began,
        counts=total.counts(),
        failures=failures,
        remarks=["async def workers are not simulated", *([] if _MEMORY.is_dir() else ["no file system in memory"])],
    )


def repeat(words: list[str]) -> Verdict:
    """Play one seed again: SEED [--without KIND,KIND]. Raises ValueError for other words."""
    match words:
        case [seed]:
            without: list[str] = []
        case [seed, "--without", kinds]:
            without = kinds.split(",")
        case _:
            raise ValueError(f"expected SEED [--without KIND,KIND], got: {' '.join(words)!r}")
    unknown = set(without) - set(KINDS)
    if unknown:
        raise ValueError(f"expected kinds among {', '.join(KINDS)}, got: {', '.join(sorted(unknown))}")
    began = time.monotonic()
    total = _Total()
    with stage() as (folder, carriers):
        story = told(folder, int(seed), without=without, carriers=carriers)
    total.add(story)
    return Verdict(
        harness="simulation",
        seed=int(seed),
        seconds=time.monotonic() - began,
        counts=total.counts(),
        failures=[_sentence(int(seed), [sentence], without) for sentence in story.broken],
    )


class _Total:
    """The figures of many stories."""

    def __init__(self) -> None:
        self._stories = 0
        self._seconds = 0.0
        self._counts: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()

    def add(self, story: Told) -> None:
        self._stories += 1
        self._seconds += story.seconds
        self._counts += story.counts
        self._faults += story.faults

    def counts(self) -> dict[str, int]:
        known = self._counts
        return {
            "schedules": self._stories,
            "virtual minutes": int(self._seconds / 60),
            "jobs acknowledged": known["jobs acknowledged"],
            "faults injected": self._faults.total(),
            **{f"faults of kind {kind}": self._faults[kind] for kind in KINDS},
            "jobs run more than once": known["run more than once"],
            "jobs rescued from the dead": known["rescued from the dead"],
            "jobs rescued from the frozen": known["rescued from the frozen"],
            "lost": known["lost"],
            "settled twice": known["settled twice"],
        }


def _shrink(folder: Path, seed: int, carriers: Carriers) -> list[str]:
    """Give kinds of faults without which this seed fails all the same."""
    without: list[str] = []
    for kind in KINDS:
        if told(folder, seed, without=[*without, kind], carriers=carriers).broken:
            without.append(kind)
    return without


def _sentence(seed: int, broken: Collection[str], without: Collection[str]) -> str:
    first, *more = broken
    others = f" (and {len(more)} more)" if more else ""
    switched_off = f" --without {','.join(without)}" if without else ""
    return f"{first}{others}: python -m prove repeat simulation {seed}{switched_off}"


@contextmanager
def stage() -> Generator[tuple[Path, Carriers]]:
    """A folder in memory, and one processor: handing over between two costs five times as much."""
    carriers = Carriers()
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    where = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="workqueue-prove-", dir=where) as folder:
        try:
            if processors is not None:
                os.sched_setaffinity(0, {max(processors)})
            yield Path(folder), carriers
        finally:
            if processors is not None:
                os.sched_setaffinity(0, processors)
            carriers.close()
            gc.collect()

"""The runners of a MemoryStore, and their bells."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from workqueue.store.clock import instant
from workqueue.store.situation import Enlisted


class MemoryBell:
    """See `Bell`; a process of one has no need of more."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def wait(self, timeout: float) -> None:
        self._rung.wait(max(0.0, timeout))
        self._rung.clear()

    def ring(self) -> None:
        self._rung.set()


@dataclass
class Runner:
    """A runner that was enlisted; kept when it has retired, because its label stands in the history of its jobs.

    lease (microseconds), knows: what it said of itself.
    """

    queue: str
    label: str
    started_at: int
    alive: bool = True
    bell: MemoryBell = field(default_factory=MemoryBell)
    lease: int | None = None
    knows: list[str] | None = None


def enlisted(runners: Mapping[int, Runner], running: Mapping[int, int]) -> list[Enlisted]:
    """Give those that are on the list, by id. running: how many jobs each holds, where it holds any."""
    return [
        Enlisted(
            id=number,
            queue=runner.queue,
            label=runner.label,
            started_at=instant(runner.started_at),
            alive=runner.alive,
            running=running.get(number, 0),
            knows=runner.knows,
        )
        for number, runner in runners.items()
        if runner.alive or running.get(number)
    ]

"""The runners of a MemoryStore, and their bells."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


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
    """A runner that was enlisted; kept when it has retired, because its label stands in the history of its jobs."""

    queue: str
    label: str
    started_at: int
    alive: bool = True
    bell: MemoryBell = field(default_factory=MemoryBell)

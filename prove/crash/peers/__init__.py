"""Other queues that live in one SQLite file, in a plain kill loop beside ours: a pusher, two workers, SIGKILL.

Each has an adapter with the same four verbs, and the settings that its documentation knows as the safest; the reasons
stand in the adapter. What a peer loses is a figure, and no failure of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final, Protocol, cast

PEERS: Final = ("ours", "huey", "persist_queue", "litequeue")
Handler = Callable[[int], None]


class Peer(Protocol):
    """One open queue of jobs that are numbers."""

    def push(self, number: int) -> None:
        """Store the job; when this returns, it is acknowledged."""
        ...

    def work(self, handler: Handler) -> None:
        """Run jobs for ever, after whatever rescue the documentation offers."""
        ...

    def left(self) -> set[int]:
        """Give the jobs that wait, or that somebody holds."""
        ...


def open_peer(name: str, path: Path, *, works: bool) -> Peer:
    """Open the peer's queue at the path. works: it is for a worker; else to push or to look. Raises ImportError."""
    return cast("Peer", _module(name).open_queue(path, works=works))


def title(name: str) -> str:
    """Give name and version, or raise ImportError."""
    return cast("str", _module(name).TITLE)


def _module(name: str) -> ModuleType:
    return import_module(f"prove.crash.peers.{name}" if name in PEERS else name)

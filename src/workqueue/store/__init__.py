"""The store: the only room that knows SQL and the time of day. `contract.py` says what an engine promises."""

from __future__ import annotations

import os

from workqueue.errors import UnsuitableFile
from workqueue.store.clock import Clock, system_clock
from workqueue.store.contract import Durability, Store
from workqueue.store.memory.engine import MemoryStore
from workqueue.store.sqlite import inspection
from workqueue.store.sqlite.engine import SqliteStore


def open_store(
    path: str | os.PathLike[str],
    *,
    durability: Durability = "full",
    allow_network: bool = False,
    clock: Clock = system_clock,
) -> Store:
    """Open the store that `path` names: a file, made when missing, or ":memory:"."""
    if path == ":memory:":
        return MemoryStore(clock)
    return SqliteStore(path, durability=durability, allow_network=allow_network, clock=clock)


def open_existing(path: str | os.PathLike[str], *, allow_network: bool = False) -> Store:
    """Open the file that is there, with the journal it has. Raises UnsuitableFile rather than making one."""
    name = os.path.realpath(path)
    if not os.path.exists(name):
        raise UnsuitableFile(f"expected the file of a queue at {name!r}, but there is none; check the path", path=name)
    if os.path.isfile(name) and not os.path.getsize(name):
        raise UnsuitableFile(f"expected the file of a queue, but {name!r} is empty; check the path", path=name)
    durability = inspection.durability(name) if os.path.isfile(name) else "full"  # the engine says what else it is
    return SqliteStore(name, durability=durability, allow_network=allow_network)

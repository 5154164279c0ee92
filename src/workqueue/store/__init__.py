"""The store: the only room that knows SQL and the time of day. `contract.py` says what an engine promises."""

from __future__ import annotations

import os

from workqueue.store.contract import Durability, Store
from workqueue.store.memory import MemoryStore
from workqueue.store.sqlite.engine import SqliteStore


def open_store(path: str | os.PathLike[str], *, durability: Durability = "full", allow_network: bool = False) -> Store:
    """Open the store that `path` names: a file, made when missing, or ":memory:"."""
    if path == ":memory:":
        return MemoryStore()
    return SqliteStore(path, durability=durability, allow_network=allow_network)

"""The store: the only room that knows SQL and the time of day. `contract.py` says what an engine promises."""

from __future__ import annotations

import os

from workqueue.errors import UnsuitableFile, UsageError
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
    """Open the store that `path` names: a file, made when missing; ":memory:"; or the URL of a PostgreSQL database.

    Raises UsageError for a URL without the driver for it, or with what only a file can have.
    """
    if path == ":memory:":
        return MemoryStore(clock)
    if is_url(path):
        return _open_postgres(str(path), durability, clock)
    return SqliteStore(path, durability=durability, allow_network=allow_network, clock=clock)


def is_url(path: str | os.PathLike[str]) -> bool:
    """Say whether `path` is the URL of a PostgreSQL database."""
    return isinstance(path, str) and path.startswith(("postgresql://", "postgres://"))


def _open_postgres(url: str, durability: Durability, clock: Clock) -> Store:
    if durability != "full":
        raise UsageError(
            f"expected durability='full' with a PostgreSQL database, whose server decides (synchronous_commit), got: "
            f"{durability!r}"
        )
    try:
        from workqueue.store.postgres.engine import PostgresStore  # noqa: PLC0415 - a third of a second, and an extra
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("psycopg"):
            raise
        raise UsageError(
            "expected psycopg for a PostgreSQL database, but it is not installed; say "
            "pip install 'durable-workqueue[postgres]'"
        ) from error
    return PostgresStore(url, clock=clock)


def open_existing(path: str | os.PathLike[str], *, allow_network: bool = False) -> Store:
    """Open the file that is there, with the journal it has. Raises UnsuitableFile rather than making one."""
    if is_url(path):
        return open_store(path)
    name = os.path.realpath(path)
    if not os.path.exists(name):
        raise UnsuitableFile(f"expected the file of a queue at {name!r}, but there is none; check the path", path=name)
    if os.path.isfile(name) and not os.path.getsize(name):
        raise UnsuitableFile(f"expected the file of a queue, but {name!r} is empty; check the path", path=name)
    durability = inspection.durability(name) if os.path.isfile(name) else "full"  # the engine says what else it is
    return SqliteStore(name, durability=durability, allow_network=allow_network)

"""The store: the only room that knows SQL and the time of day. `contract.py` says what an engine promises."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final

from workqueue.errors import InvalidOption, StoreUnavailable, UnsuitableFile, UsageError
from workqueue.store.clock import Clock, system_clock
from workqueue.store.contract import Durability, Store
from workqueue.store.memory.engine import MemoryStore
from workqueue.store.sqlite import inspection, location
from workqueue.store.sqlite.backup import Backup
from workqueue.store.sqlite.engine import SqliteStore

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def open_store(
    path: str | os.PathLike[str],
    *,
    durability: Durability = "full",
    allow_network: bool = False,
    clock: Clock = system_clock,
) -> Store:
    """Open the store that `path` names: a file, made when missing; ":memory:"; or the URL of a PostgreSQL database.

    Raises InvalidOption for the URL of anything else; UsageError for one without the driver for it, or with what only a
    file can have.
    """
    if path == ":memory:":
        return MemoryStore(clock)
    if is_url(path):
        return _open_postgres(str(path), durability, clock)
    if isinstance(path, str) and (scheme := _SCHEME.match(path)):
        shown = f"{scheme[0]}…"  # without what may be a password
        raise InvalidOption(
            f"expected the path of a file, such as 'jobs.db', or a URL that begins with postgresql://, got: {shown}",
            name="path",
            value=shown,
        )
    return SqliteStore(path, durability=durability, allow_network=allow_network, clock=clock)


def is_url(path: str | os.PathLike[str]) -> bool:
    """Say whether `path` is the URL of a PostgreSQL database."""
    return isinstance(path, str) and path.startswith(("postgresql://", "postgres://"))


def identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Say which file is at `path`: another one that is put there is not the same. None: none is, or it is a URL."""
    return None if is_url(path) else location.identity(path)


def sizes(path: str) -> dict[str, int]:
    """Give the bytes of each file of a store, by what follows the path: "" is the database. A URL has none."""
    found: dict[str, int] = {}
    for suffix in () if is_url(path) else ("", "-wal", "-journal", "-reserve"):
        with suppress(FileNotFoundError):
            found[suffix] = os.stat(path + suffix).st_size  # never open(): see architecture.md
    return found


def _open_postgres(url: str, durability: Durability, clock: Clock) -> Store:
    if durability != "full":
        raise UsageError(
            f"expected durability='full' with a PostgreSQL database, whose server decides (synchronous_commit), got: "
            f"{durability!r}"
        )
    with _driver():
        from workqueue.store.postgres.engine import PostgresStore  # noqa: PLC0415 - a third of a second, and an extra
    return PostgresStore(url, clock=clock)


@contextmanager
def _driver() -> Generator[None]:
    """Import the engine of PostgreSQL inside the block. Raises UsageError where the driver is missing."""
    try:
        yield
    except ImportError as error:  # without the library of the server it is there, but cannot be imported
        if error.name is not None and not error.name.startswith("psycopg"):
            raise
        raise UsageError(
            "expected psycopg for a PostgreSQL database, but it is not installed; say "
            "pip install '.[postgres]' in a clone of workqueue"
        ) from error


def migrate_schema(url: str, grant: Sequence[str] = ()) -> list[str]:
    """Bring the tables in a database up to date, and give roles the right to use them; say what was done."""
    with _driver():
        from workqueue.store.postgres.schema import upgrade  # noqa: PLC0415 - as above
    return upgrade(url, grant)


def back_up(
    store: Store,
    target: str,
    *,
    force: bool = False,
    tell: Callable[[str, int, int], object] = lambda _what, _done, _total: None,
) -> Backup:
    """Put a copy of a file at `target`, all of one moment, while others work on it. force: replace what is there.

    Raises UsageError for what is no file: a server has its own means.
    """
    if isinstance(store, SqliteStore):
        return store.back_up(target, force=force, tell=tell)
    if isinstance(store, MemoryStore):
        raise UsageError("expected a file to back up, got a queue in memory")
    url, _, schema = store.path.partition("?schema=")
    raise UsageError(
        "expected a file to back up, got a database, for which PostgreSQL has its own means, also while others work: "
        f"pg_dump --format=custom --schema={schema or 'workqueue'} --file={target} {url}; and back, where that schema "
        f"is not: pg_restore --dbname={url} {target}"
    )


def scratch_schema(url: str) -> AbstractContextManager[str]:
    """Lend the URL of a new schema in the database of `url`; it is removed when the block ends."""
    with _driver():
        from workqueue.store.postgres.schema import scratch  # noqa: PLC0415 - as above
    return scratch(url)


def open_existing(path: str | os.PathLike[str], *, allow_network: bool = False) -> Store:
    """Open the file that is there, with the journal it has. Raises UnsuitableFile rather than making one."""
    if is_url(path):
        with _driver():
            from workqueue.store.postgres.schema import refuse_missing  # noqa: PLC0415 - as above
        refuse_missing(str(path))
        return open_store(path)
    name = os.path.realpath(path)
    try:
        found = os.stat(name)
    except PermissionError as error:
        raise StoreUnavailable(
            f"expected to be allowed to look for {name!r} as user {os.geteuid()}; change its folder's owner or mode",
            path=name,
        ) from error
    except OSError as error:
        raise UnsuitableFile(
            f"expected the file of a queue at {name!r}, but there is none; check the path", path=name
        ) from error
    if stat.S_ISREG(found.st_mode) and not found.st_size:
        raise UnsuitableFile(f"expected the file of a queue, but {name!r} is empty; check the path", path=name)
    return SqliteStore(name, durability=durability_found(name), allow_network=allow_network)


def durability_found(path: str | os.PathLike[str]) -> Durability:
    """Say as what to open `path`, so that a file that is there keeps its journal; "full" where there is none.

    Raises UnsuitableFile or SchemaOutdated for a file that is not ours.
    """
    if is_url(path) or not os.path.isfile(path) or not os.path.getsize(path):
        return "full"  # the engine says what else it is
    return inspection.durability(os.path.realpath(path))

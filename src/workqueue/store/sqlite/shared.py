"""One Database for each file in a process: handed out, counted, and forgotten by forked children."""

from __future__ import annotations

import gc
import os
import threading

from workqueue.errors import UnsuitableFile
from workqueue.store import joining
from workqueue.store.clock import Clock
from workqueue.store.contract import Durability
from workqueue.store.sqlite.database import Database

_open: dict[str, Database] = {}
_users: dict[Database, int] = {}
_lock = threading.Lock()
_inherited: list[Database] = []  # a forked child's: kept so that nothing closes them, which would hurt the parent


def open_database(path: str, durability: Durability, *, clock: Clock, allow_network: bool) -> Database:
    """Give this process's Database of `path`; each must be given up once."""
    path = os.path.realpath(path)
    with _lock:
        database = _open.get(path)
        if database is None:
            _open[path] = database = Database(path, durability, clock=clock, allow_network=allow_network)
        elif database.durability != durability:
            raise UnsuitableFile(
                f"expected durability={database.durability!r}, as {path!r} is open with already in this process, got: "
                f"{durability!r}",
                path=path,
            )
        elif database.clock != clock:
            raise UnsuitableFile(
                f"expected the clock that {path!r} is open with already in this process, got another; all who share a "
                "file must agree on the time",
                path=path,
            )
        _users[database] = _users.get(database, 0) + 1
        return database


def give_up(database: Database) -> None:
    """End one use; the last one closes the file."""
    with _lock:
        if database not in _users:  # the parent's
            return
        _users[database] -= 1
        if not _users[database]:
            # Under the lock: no second Owners of this file can hold a byte before the first has closed its descriptor.
            del _users[database], _open[database.path]
            database.close()


def _stand_still() -> None:
    """Before a fork: let no other thread be inside SQLite, or the child would inherit mutexes that nobody unlocks."""
    _lock.acquire()
    for database in _open.values():
        database.stand_still()


def _go_on() -> None:
    for database in _open.values():
        database.go_on()
    _lock.release()


def _forget_inherited() -> None:
    global _lock  # noqa: PLW0603 - whoever waited for the parent's does not exist here
    _lock = threading.Lock()
    _inherited.extend(_open.values())
    if any(database.is_lent() for database in _inherited):
        # The end of the interpreter would collect, and so close, what is kept: a rollback of the parent's transaction,
        # which takes its journal away.
        gc.freeze()
    _open.clear()
    _users.clear()
    joining.forget()


os.register_at_fork(before=_stand_still, after_in_parent=_go_on, after_in_child=_forget_inherited)

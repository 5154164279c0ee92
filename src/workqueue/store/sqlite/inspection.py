"""Looking at a queue's file from outside: what SQLite it is for, what is known of that, and what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
from typing import Final

from workqueue.store.contract import Durability, Engine
from workqueue.store.relational import records
from workqueue.store.sqlite.connection import Connection, connect_bare, patiently, translated
from workqueue.store.sqlite.location import NETWORK, filesystem
from workqueue.store.sqlite.schema import SQL, recognise

_SENTENCES: Final = (
    "jobs have no data, neither in their row nor in payloads",
    "payloads belong to no job",
    "attempts belong to no job",
    "jobs name a backoff that is not stored",
    "attempts are later than their job's own count",
    "jobs have an id that was never given out",
    "jobs have completed, and have not",
    "completed jobs have no data, neither in their row nor in payloads",
    "completed jobs name a backoff that is not stored",
    "attempts that did not complete are no earlier than the one that completed their job",
    "completed jobs have an id that was never given out",
)
_SETTINGS: Final = (
    "journal_mode",
    "synchronous",
    "wal_autocheckpoint",
    "fullfsync",
    "checkpoint_fullfsync",
    "mmap_size",
    "trusted_schema",
    "cell_size_check",
    "page_size",
)
_MENDED: Final[dict[tuple[int, ...], int]] = {(3, 44): 6, (3, 50): 7}  # older lines that got the repair too
_SYNCHRONOUS: Final = ("off", "normal", "full", "extra")  # by SQLite's own numbers


def engine(connection: Connection, path: str) -> Engine:
    """Say what keeps the jobs, with its settings as the connection has them."""
    settings: dict[str, str] = {}
    for name in _SETTINGS:
        answer = connection.execute(f"PRAGMA {name}").fetchone()
        if answer is not None:  # a setting may be compiled out
            settings[name] = _SYNCHRONOUS[answer[0]] if name == "synchronous" else str(answer[0])
    kind = filesystem(os.path.dirname(path))
    version = sqlite3.sqlite_version
    return Engine(
        name="SQLite",
        version=version,
        settings=settings,
        file_system=kind,
        notes=_notes(version, sqlite3.sqlite_version_info, settings["journal_mode"], kind),
    )


def _notes(version: str, version_info: tuple[int, ...], journal: str, kind: str) -> list[str]:
    notes: list[str] = []
    if journal != "wal":
        notes.append("the file has a rollback journal and no write-ahead log (durability='conservative')")
    elif has_wal_reset_bug(version_info):
        notes.append(
            f"SQLite {version} has the WAL-reset bug (3.7.0 to 3.51.2: a checkpoint that races a writer can lose "
            "commits); workqueue is not exposed to it: its connections never checkpoint by themselves, and it "
            "checkpoints while it holds the write lock. Other programs that write to this file should have 3.51.3 or "
            "later"
        )
    else:
        notes.append(f"SQLite {version} does not have the WAL-reset bug")
    if kind in NETWORK:
        notes.append(f"{kind} is a network or shared file system: only one host at a time may use the file")
    return notes


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Say whether a checkpoint of this SQLite can race a writer: 3.7.0 to 3.51.2, but for the mended 3.50.7 and 3.44.6.

    >>> has_wal_reset_bug((3, 40, 1)), has_wal_reset_bug((3, 50, 7)), has_wal_reset_bug((3, 51, 3))
    (True, False, False)
    """
    if version[:2] in _MENDED:
        return version[2] < _MENDED[version[:2]]
    return (3, 7, 0) <= version < (3, 51, 3)


def durability(path: str) -> Durability:
    """Say as what a file that is there should be opened, so that opening does not change its journal mode.

    Raises UnsuitableFile or SchemaOutdated for a file that is not ours, with nothing made beside it.
    """
    with translated(path):
        looking = connect_bare(path)
        try:
            patiently(lambda: recognise(looking, path))
            mode = patiently(lambda: looking.execute("PRAGMA journal_mode").fetchone()[0])
            is_new = not patiently(lambda: looking.execute(SQL["objects"]).fetchone()[0])
        finally:
            looking.close()
    return "full" if mode == "wal" or is_new else "conservative"


def broken_invariants(connection: Connection) -> list[str]:
    """Give what SQLite finds wrong with the file, and what we find wrong with its rows."""
    found = [f"SQLite: {line}" for (line,) in connection.execute("PRAGMA integrity_check").fetchall() if line != "ok"]
    return found + records.broken_invariants(connection, _SENTENCES)

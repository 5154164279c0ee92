"""Checkpoints: when the write-ahead log is copied into the database, and how."""

from __future__ import annotations

import sqlite3
from typing import Final

from workqueue.logs import Log
from workqueue.store.contract import Durability
from workqueue.store.sqlite.connection import LOG_LIMIT
from workqueue.store.sqlite.handles import Handles

log = Log("workqueue.store")

PAGES: Final = 1000  # as SQLite's own autocheckpoint
PAGE: Final = 4096  # bytes
_READERS_PATIENCE: Final = 1.0  # seconds that a checkpoint waits for our own readers


class Checkpoints:
    """Counts what went into the log since it was last copied. Who counts or copies has the turn."""

    def __init__(self, path: str, handles: Handles, durability: Durability) -> None:
        self._path = path
        self._handles = handles
        self._has_log = durability != "conservative"
        self._unsaved_pages = 0.0

    def note_bytes(self, count: int) -> None:
        """Count payload bytes; whoever pushes in the application's transaction may do so without the turn."""
        self._unsaved_pages += count / PAGE

    def note_commit(self, changes: int) -> None:
        """Count a commit of ours."""
        self._unsaved_pages += 4 + changes / 8

    def note_others(self) -> None:
        """Count a transaction of code that is not ours."""
        self._unsaved_pages += 8
        self.note_size()

    def note_size(self) -> None:
        """Count what connections of the application have written, which leave checkpoints to us: by the log's size."""
        if self._handles.log_bytes() > LOG_LIMIT:
            self._unsaved_pages += PAGES

    def is_due(self) -> bool:
        return self._unsaved_pages >= PAGES and self._has_log

    def copy(self) -> tuple[int, int, int]:
        """Copy the log into the database while *we* hold the write lock; give SQLite's (busy, pages, copied).

        No writer can reset the log meanwhile, which closes the race of the WAL-reset bug (SQLite before 3.51.3). The
        same path on every version, so that one path is tested. Our own readers stand aside: one that began before
        would keep the log from starting anew.
        """
        checkpointer = self._handles.checkpointer()
        try:
            with self._handles.no_readers(_READERS_PATIENCE):
                busy, pages, copied = checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            log.warning("checkpoint of %s: %s; the log grows until one succeeds", self._path, error)
            busy, pages, copied = 1, -1, -1
        self._unsaved_pages = 0.0
        if pages > 16 * PAGES and copied < pages:
            log.warning("the log of %s has %d pages because a reader does not end", self._path, pages)
        return busy, pages, copied

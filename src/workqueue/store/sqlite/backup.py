"""A backup: a queue's file as of one moment, copied while others work on it; examined, and put in place whole.

What is read is all of one moment, however long that takes: a transaction that reads is open meanwhile, which hinders
nobody who writes, and lets the log grow. Without a log (durability="conservative") who writes waits for the end of it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import closing
from typing import Final

import msgspec

from workqueue.errors import StoreUnavailable, UnsuitableFile, UsageError
from workqueue.job import JobStatus
from workqueue.lifecycle import handing_back
from workqueue.store.contract import Store
from workqueue.store.paging import Find
from workqueue.store.sqlite.connection import connect_bare, patiently, translated
from workqueue.store.sqlite.database import Database

Tell = Callable[[str, int, int], object]
"""Hears what is done, how much of it, and of how much."""

_PAGES: Final = 2000  # copied between two looks at how far it is
_AT_ONCE: Final = 500  # jobs
_BESIDE: Final = ("-wal", "-shm", "-journal", "-owners", "-reserve")


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What was put in place. handed_back: jobs that ran, and wait again in it."""

    path: str
    size: int
    jobs: int
    handed_back: int


def back_up(database: Database, target: str, *, force: bool, tell: Tell, opened: Callable[[str], Store]) -> Backup:
    """Make a backup of the database at `target`. force: replace the file that is there. opened: opens a copy.

    Jobs that ran at that moment wait again in it, which counts nowhere. Raises UsageError for a target that cannot be,
    UnsuitableFile for a database that is not sound; then nothing is there, or what was there before.
    """
    target = os.path.realpath(target)
    _refuse(database.path, target, force=force)
    folder = os.path.dirname(target)
    with translated(target):
        try:
            workshop = tempfile.mkdtemp(prefix=".workqueue-backup-", dir=folder)  # for its owner only
        except OSError as error:
            raise StoreUnavailable(f"expected to be allowed to write in {folder!r}: {error}", path=target) from error
        try:
            copy = os.path.join(workshop, os.path.basename(target))
            os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            _copy(database, copy, tell)
            tell("examining", 0, 1)
            with closing(opened(copy)) as store:
                made = _made_sound(store, database.path)
            tell("examining", 1, 1)
            _make_one_file(copy)
            size = os.stat(copy).st_size
            os.replace(copy, target)
            _flush(folder)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    return msgspec.structs.replace(made, path=target, size=size)


def _refuse(source: str, target: str, *, force: bool) -> None:
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise UsageError(f"expected a folder {folder!r} to put the backup in, but there is none; create it")
    if target in (source, *(source + suffix for suffix in _BESIDE)):
        raise UsageError(f"expected another file than the queue's own, got: {target!r}")
    if os.path.lexists(target):
        if not stat.S_ISREG(os.stat(target).st_mode):
            raise UsageError(f"expected the path of a file, but {target!r} is a folder or a device; add a file name")
        if not force:
            raise UsageError(f"expected no file at {target!r}, but there is one; say --force to replace it")
    for log in (target + "-wal", target + "-journal"):
        if os.path.exists(log) and os.path.getsize(log):  # SQLite would play it into the new file
            raise UsageError(
                f"expected a place that no database is in use at, but there is {log!r}, which belongs to another one; "
                "name another file, or stop whoever uses that one and move all of it away"
            )


def _copy(database: Database, copy: str, tell: Tell) -> None:
    def copied(_status: int, left: int, total: int) -> None:
        tell("copying pages", total - left, total)

    with database.look() as source, closing(connect_bare(copy)) as target:
        patiently(lambda: source.ask("last_id").fetchone())  # from here on the moment is fixed
        source.backup(target, pages=_PAGES, progress=copied)


def _made_sound(store: Store, source: str) -> Backup:
    """Let the jobs that ran wait again, and examine all of it."""
    handed_back = 0
    if not store.overview().moves:  # else it takes no change
        while running := store.find(Find(status=JobStatus.RUNNING, limit=_AT_ONCE)).jobs:
            store.turn([handing_back(job) for job in running], None)
            handed_back += len(running)
    problems = store.check()
    if problems:
        raise UnsuitableFile(
            f"expected {source!r} to be sound, but a copy of it is not: {'; '.join(problems)}; no backup was made. "
            f"`workqueue check {source}` says more",
            path=source,
        )
    jobs = sum(standing.jobs for standing in store.overview().queues)
    return Backup(path="", size=0, jobs=jobs, handed_back=handed_back)


def _make_one_file(copy: str) -> None:
    """Take what stands in the log into the file, and flush it to the disk. Nobody else has it open."""
    with closing(connect_bare(copy)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    log = copy + "-wal"
    if os.path.exists(log) and os.path.getsize(log):
        raise StoreUnavailable(f"expected all of {log!r} to go into the file, but it did not", path=copy)
    _flush(copy)


def _flush(path: str) -> None:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

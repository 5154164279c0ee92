"""Looking into a queue's file: jobs as records, figures for people, and invariants as sentences."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import msgspec

from workqueue.backoff import Backoff
from workqueue.job import Attempt, Job, JobStatus, Terms
from workqueue.store.clock import instant
from workqueue.store.contract import Durability, Engine, Enlisted, Find, Overview, Standing
from workqueue.store.sqlite.connection import connect_bare, patiently, translated
from workqueue.store.sqlite.location import NETWORK, filesystem
from workqueue.store.sqlite.schema import SQL, recognise

_SENTENCES: Final = (
    "jobs have no data, neither in their row nor in payloads",
    "payloads belong to no job",
    "attempts belong to no job",
    "jobs name a backoff that is not stored",
    "attempts are later than their job's own count",
    "jobs have an id that was never given out",
)
_OF_TERMS: Final = (
    "jobs are said to have terms, and have none",
    "terms belong to no job",
    "terms say that their job runs, and it does not, or the reverse",
    "terms say that their job is open, and it is not, or the reverse",
    "terms say that their job is kept back, and it is not, or the reverse",
    "jobs wait for others, and nobody knows for which",
)
_DUE: Final = 1  # a kind of `standings`
_LATER: Final = 0
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


def get(connection: sqlite3.Connection, job_id: int) -> Job | None:
    """Give one job, or None."""
    cursor = connection.execute(SQL["get"], {"id": job_id})
    row = cursor.fetchone()
    cursor.close()
    return None if row is None else _job(_names(cursor), row)


def find(connection: sqlite3.Connection, which: Find) -> list[Job]:
    """Give the jobs that `which` describes."""
    cursor = connection.execute(
        SQL["find"],
        {
            "queue": which.queue,
            "status": None if which.status is None else int(which.status),
            "name": which.name,
            "after": which.after,
            "limit": which.limit,
        },
    )
    names = [column[0] for column in cursor.description]
    return [_job(names, row) for row in cursor.fetchall()]


def history(connection: sqlite3.Connection, job_id: int) -> list[Attempt]:
    """Give the kept attempts of a job, oldest first."""
    return [
        Attempt(attempt, runner, instant(started_at), timedelta(microseconds=duration), outcome, error, traceback)
        for attempt, runner, started_at, duration, outcome, error, traceback in connection.execute(
            SQL["history"], {"id": job_id}
        ).fetchall()
    ]


def overview(connection: sqlite3.Connection, path: str, now: int, *, is_dead: Callable[[int], bool]) -> Overview:
    """Give the figures of the whole file. is_dead: whether the process of a runner has certainly ended."""
    found = _enlisted_rows.decode(connection.execute(SQL["enlisted"]).fetchone()[0])
    runners = [
        Enlisted(
            id=runner,
            queue=queue,
            label=label,
            started_at=instant(started_at),
            alive=not is_dead(runner),
            running=running,
        )
        for runner, queue, label, started_at, running in found
    ]
    figures: dict[str, dict[str, int]] = {runner.queue: {} for runner in runners}
    oldest: dict[str, tuple[int, int]] = {}
    for queue, kind, jobs, first, run_at in _standing_rows.decode(
        connection.execute(SQL["standings"], {"now": now}).fetchone()[0]
    ):
        counts = figures.setdefault(queue, {})
        word = "later" if kind == _LATER else "due" if kind == _DUE else str(JobStatus(kind))
        counts[word] = counts.get(word, 0) + jobs
        if first is not None and run_at is not None:
            oldest[queue] = min(oldest.get(queue, (first, run_at)), (first, run_at))
    return Overview(
        now=instant(now),
        queues=[_standing(queue, figures[queue], oldest.get(queue)) for queue in sorted(figures)],
        runners=runners,
        engine=_engine(connection, path),
    )


def _standing(queue: str, counts: dict[str, int], oldest: tuple[int, int] | None) -> Standing:
    due = counts.pop("due", 0)
    pending = due + counts.get("later", 0) - counts.get("retrying", 0)
    return Standing(queue=queue, pending=pending, oldest_due=None if oldest is None else instant(oldest[1]), **counts)


def _engine(connection: sqlite3.Connection, path: str) -> Engine:
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


def broken_invariants(connection: sqlite3.Connection) -> list[str]:
    """Give what SQLite finds wrong with the file, and what we find wrong with its rows."""
    found = [f"SQLite: {line}" for (line,) in connection.execute("PRAGMA integrity_check").fetchall() if line != "ok"]
    counts = connection.execute(SQL["check_payloads"]).fetchone()
    found += [f"{count} {sentence}" for count, sentence in zip(counts, _SENTENCES, strict=True) if count]
    counts = connection.execute(SQL["check_terms"]).fetchone()
    found += [f"{count} {sentence}" for count, sentence in zip(counts, _OF_TERMS, strict=True) if count]
    odd = connection.execute(SQL["check_rows"]).fetchone()[0]
    if odd:
        found.append(f"{odd} jobs have columns that do not fit their status")
    return found


def _names(cursor: sqlite3.Cursor) -> list[str]:
    return [column[0] for column in cursor.description]


def _job(names: list[str], row: tuple[object, ...]) -> Job:
    stored = msgspec.convert(dict(zip(names, row, strict=True)), _Stored)
    return Job(
        id=stored.id,
        queue=stored.queue,
        name=stored.name,
        data=stored.payload,
        status=JobStatus(stored.status),
        priority=stored.priority,
        run_at=instant(stored.run_at),
        pushed_at=instant(stored.pushed_at),
        settled_at=None if stored.settled_at is None else instant(stored.settled_at),
        attempt=stored.attempt,
        retry_count=stored.retry_count,
        lost=stored.lost,
        cancel_requested=bool(stored.cancel_requested),
        message=stored.message,
        backoff=msgspec.json.decode(stored.rule, type=Backoff),
        terms=None if stored.spec is None else msgspec.json.decode(stored.spec, type=Terms),
    )


_enlisted_rows = msgspec.json.Decoder(list[tuple[int, str, str, int, int]])
_standing_rows = msgspec.json.Decoder(list[tuple[str, int, int, int | None, int | None]])


class _Stored(msgspec.Struct):
    id: int
    queue: str
    name: str
    status: int
    priority: int
    run_at: int
    pushed_at: int
    settled_at: int | None
    attempt: int
    retry_count: int
    lost: int
    cancel_requested: int
    message: str
    payload: bytes
    rule: str
    spec: str | None

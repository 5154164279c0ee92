"""Bugs for the crash loop to catch; each is planted in every program that it starts."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from msgspec.structs import replace
from prove.crash.handlers import Task
from prove.crash.part import now
from prove.crash.peers import Handler
from prove.crash.peers.ours import open_queue as open_ours
from prove.crash.witness import Witness
from prove.journal import Pushed
from workqueue import Context, Job, Queue, payload
from workqueue.job import NewJob
from workqueue.store.postgres.statements import statements
from workqueue.store.sqlite.schema import SQL


def acknowledges_before_it_pushes(queue: Queue, witness: Witness) -> None:
    """What is killed meanwhile was acknowledged, and is not there."""
    store, push = queue._store, queue._store.push

    def early(jobs: Sequence[NewJob]) -> list[int]:
        if not store.is_joined():
            last = store._database.read(
                lambda connection: connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()
            )
            first = 1 + (last[0] if last else 0)
            witness.note(*(Pushed(at=now(), job=first + number) for number in range(len(jobs))))
            time.sleep(0.05)
        return push(jobs)

    store.push = early


def completes_outside_the_transaction(queue: Queue, witness: Witness) -> None:
    """The effect commits, and the job is completed later: a kill in between doubles it."""

    def effect(ctx: Context, job: Job, by: str, task: Task, *, child: bool = False) -> None:
        with queue.transaction() as database:
            database.execute("INSERT INTO effects VALUES (?, ?, ?)", (job.id, job.attempt, task.batch))
        time.sleep(0.05)

    if queue.worker is not None:
        queue.worker._effect = effect


def completes_without_the_fence(queue: Queue, witness: Witness) -> None:
    """A handler whose job was handed back while it ran completes the attempt of another."""
    SQL["complete"] = SQL["complete"].replace("AND attempt = :attempt", "AND :attempt = :attempt")
    _slowly(queue)


def opens_files_and_forgets_them(queue: Queue, witness: Witness) -> None:
    if queue.worker is None:
        return
    begin = queue.worker.begin

    def leaky(job: Job) -> tuple[str, Task]:
        os.open(os.devnull, os.O_RDONLY)
        return begin(job)

    queue.worker.begin = leaky


def _slowly(queue: Queue) -> None:
    if queue.worker is None:
        return
    begin = queue.worker.begin

    def slow(job: Job) -> tuple[str, Task]:
        begun = begin(job)
        time.sleep(0.06)  # whoever stops the queue need not wait: it is handed back while it runs
        return begun

    queue.worker.begin = slow


def minds_no_terms(queue: Queue, witness: Witness) -> None:
    """Everything that tasks ask for is stored, and none of it is kept."""
    for name in ("limit_runs", "count_starts", "is_behind"):
        SQL[name] = "SELECT 0"
    SQL["batch_done"] = SQL["batch_done"].replace("AND completed + failed + cancelled = total", "")
    with_member = payload.with_member
    payload.with_member = lambda data, name, value: with_member(data, name, b'"another"')
    push, number = queue._store.push, itertools.count()

    def push_apart(jobs: Sequence[NewJob], *, within: None = None) -> list[int]:
        del within
        return push([_of_its_own(job, next(number)) for job in jobs])

    queue._store.push = push_apart


def _of_its_own(job: NewJob, number: int) -> NewJob:
    if job.terms is None or job.terms.key is None:
        return job
    return replace(job, terms=replace(job.terms, key=f"{os.getpid()} {number}"))


def keeps_the_slots_of_who_was_killed(queue: Queue, witness: Witness) -> None:
    SQL["stop_terms"] += " AND FALSE"


def claims_what_others_claim(queue: Queue, witness: Witness) -> None:
    """On PostgreSQL: the front of the line is neither locked nor looked at again."""
    texts = cast("dict[str, bytes]", statements("workqueue"))
    for old, new in (
        (b"SELECT ctid, special, ", b"SELECT id, special, "),
        (
            b" FOR NO KEY UPDATE SKIP LOCKED\n), fitting AS MATERIALIZED (\n    SELECT ctid, ",
            b"\n), fitting AS MATERIALIZED (\n    SELECT id, ",
        ),
        (b"j.ctid = ANY (ARRAY(SELECT ctid FROM fitting", b"j.id = ANY (ARRAY(SELECT id FROM fitting"),
    ):
        assert texts["turn"].count(old) == 1, old
        texts["turn"] = texts["turn"].replace(old, new)
    _slowly(queue)


TITLE = "a queue that forgets every tenth job"


class _Forgetful:
    def __init__(self, path: Path, *, works: bool) -> None:
        self._ours = open_ours(path, works=works)

    def push(self, number: int) -> None:
        if number % 10:
            self._ours.push(number)

    def work(self, handler: Handler) -> None:
        self._ours.work(handler)

    def left(self) -> set[int]:
        return self._ours.left()


def open_queue(path: Path, *, works: bool) -> _Forgetful:
    return _Forgetful(path, works=works)

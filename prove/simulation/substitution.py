"""Substitution: while it lasts, the package sees the simulated host, and nothing of the real one but SQLite."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from random import Random
from typing import Any
from unittest.mock import patch

import workqueue.backoff
import workqueue.batch
import workqueue.closing
import workqueue.context
import workqueue.executor.deadlines
import workqueue.executor.mixed
import workqueue.executor.outcome
import workqueue.executor.threads
import workqueue.gathering
import workqueue.lifecycle
import workqueue.liveness
import workqueue.pruning
import workqueue.queue
import workqueue.runner
import workqueue.store.clock
import workqueue.store.joining
import workqueue.store.sqlite.checkpoints
import workqueue.store.sqlite.connection
import workqueue.store.sqlite.database
import workqueue.store.sqlite.engine
import workqueue.store.sqlite.handles
import workqueue.store.sqlite.location
import workqueue.store.sqlite.turnstile
import workqueue.task
import workqueue.timekeeper
import workqueue.upkeep
import workqueue.watch
from workqueue.job import Claim
from workqueue.lifecycle import Settlement
from workqueue.store.clock import micros
from workqueue.store.contract import Beat, Turn, Want
from workqueue.store.sqlite.engine import SqliteStore
from workqueue.store.sqlite.handles import Handles

from prove.journal import Refused
from prove.simulation import side_files, stand_ins
from prove.simulation.disk import Sqlite
from prove.simulation.host import Host

_TIMED = (
    workqueue.runner,
    workqueue.upkeep,
    workqueue.pruning,
    workqueue.liveness,
    workqueue.context,
    workqueue.executor.threads,
    workqueue.executor.deadlines,
    workqueue.executor.outcome,
    workqueue.queue,
    workqueue.batch,
    workqueue.task,
    workqueue.watch,
    workqueue.store.clock,
    workqueue.store.sqlite.connection,
    workqueue.store.sqlite.database,
)
_THREADED = (
    workqueue.runner,
    workqueue.liveness,
    workqueue.gathering,
    workqueue.context,
    workqueue.queue,
    workqueue.executor.threads,
    workqueue.executor.deadlines,
    workqueue.executor.mixed,
    workqueue.watch,
    workqueue.store.joining,
    workqueue.store.sqlite.database,
    workqueue.store.sqlite.handles,
    workqueue.store.sqlite.engine,
    workqueue.store.sqlite.turnstile,
)
_RANDOM = (workqueue.runner, workqueue.backoff, workqueue.timekeeper, workqueue.store.sqlite.connection)


@contextmanager
def substituted(host: Host, seed: str, *, checkpoint_pages: int) -> Generator[None]:
    """Let the package run on `host` inside the block."""
    engine, database = workqueue.store.sqlite.engine, workqueue.store.sqlite.database
    scheduler = host.scheduler
    time = stand_ins.Time(scheduler, host.wall)
    threading = stand_ins.Threading(scheduler)
    chance = Random(f"{seed}:package")
    values: list[tuple[object, str, object]] = [
        *((module, "time", time) for module in _TIMED),
        *((module, "threading", threading) for module in _THREADED),
        *((module, "random", chance) for module in _RANDOM),
        (workqueue.lifecycle, "SECOND_LOSS_PAUSE", timedelta(seconds=1)),  # leases are shorter than in life, too
        (workqueue.executor.threads, "queue", stand_ins.Queues(scheduler)),
        (workqueue.store.sqlite.connection, "sqlite3", Sqlite(host)),
        (workqueue.store.sqlite.location, "filesystem", lambda _folder: "tmpfs"),
        (database, "Owners", lambda _path: side_files.Owners(host)),
        (database, "Exchange", lambda _path: side_files.Exchange(host)),
        (database, "Reserve", lambda _path: side_files.Reserve(host)),
        (workqueue.store.sqlite.checkpoints, "PAGES", checkpoint_pages),
        (engine, "SocketBell", lambda _exchange, runner: side_files.Bell(host, runner)),
        (
            engine,
            "open_database",
            lambda path, durability, **rest: host.process.open_database(path, durability, **rest),
        ),
        (engine, "give_up", lambda found: host.process.give_up(found)),
        (workqueue.queue, "open_store", lambda path, **rest: WatchedStore(host, path, **rest)),
        (workqueue.closing, "_open", weakref.WeakSet()),
    ]
    logger = logging.getLogger("workqueue")
    level = logger.level
    with ExitStack() as stack:
        for module, name, value in values:
            stack.enter_context(patch.object(module, name, value))
        stack.callback(logger.setLevel, level)
        logger.setLevel(logging.CRITICAL + 1)
        yield


_really_intact = Handles.are_intact


def _are_intact(host: Host, handles: Handles) -> bool:
    intact = _really_intact(handles)
    if not intact:
        host.ledger.broken.append("S10: the log is said to have been removed, but nobody touches it here")
    return intact


class WatchedStore(SqliteStore):
    """The real store, watched: what it gives is in order; and some beats are lost."""

    def __init__(self, host: Host, path: str, **rest: Any) -> None:
        self._host = host
        super().__init__(path, **rest)

    def turn(self, settlements: list[Settlement], want: Want | None) -> Turn:  # type: ignore[override]
        turn = super().turn(settlements, want)
        host = self._host
        if host.process.alive:
            for claim in turn.refused:
                host.note(Refused(job=claim.job.id, attempt=claim.job.attempt, at=host.now))
            given = [_rank(claim, timing=claim.job.queue.startswith("timed")) for claim in turn.claims]
            if given != sorted(given):
                host.ledger.broken.append(f"I12: one turn gave jobs out of order: {given}")
            if want is not None and len(turn.claims) > want.limit:
                host.ledger.broken.append(f"S7: wanted {want.limit} jobs, got {len(turn.claims)}")
        return turn

    def beat(self, runner: int, lease: Any) -> Beat:
        self._host.faults.beat()
        return super().beat(runner, lease)


def _rank(claim: Claim, *, timing: bool) -> tuple[int, int, int]:
    job = claim.job
    return -job.priority, micros(job.run_at) if timing else 0, job.id

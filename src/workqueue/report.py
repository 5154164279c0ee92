"""Figures of a file as records, for every face to show in its own way. Nothing here knows how."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from workqueue.errors import JobNotFound
from workqueue.store import is_url
from workqueue.store.contract import Engine, Overview, Standing, Store
from workqueue.store.timetable import ScheduleStanding
from workqueue.why import Why, explain, explain_gone


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a file, each as a sentence, and what it stands on. files: bytes of the parts on disk."""

    path: str
    problems: list[str]
    engine: Engine
    files: dict[str, int]


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """What is paused: a queue, or the jobs of one name in it."""

    queue: str
    name: str | None


def overview(store: Store, queue: str | None = None) -> Overview:
    """Give the figures of the store; with `queue`, of that one alone, zeros if nothing of it is there."""
    whole = store.overview()
    if queue is None:
        return whole
    ours = [standing for standing in whole.queues if standing.queue == queue]
    return msgspec.structs.replace(
        whole,
        queues=ours or [Standing(queue=queue)],
        runners=[runner for runner in whole.runners if runner.queue == queue],
    )


def paused(store: Store, queues: Iterable[str]) -> list[Paused]:
    """Give what is paused of these queues."""
    return [Paused(queue=queue, name=name) for queue in queues for name in store.paused(queue)]


def schedules(store: Store, queue: str | None = None) -> list[ScheduleStanding]:
    """Give the schedules of the store, or of one queue of it, by queue and name."""
    return store.schedules.standings(queue)


def why(store: Store, job_id: int) -> Why:
    """Say why a job stands as it does, and what will happen to it. Raises JobNotFound for an id never given out."""
    try:
        return explain(store.situation(job_id))
    except JobNotFound:
        outlook = store.outlook([job_id]).get(job_id)
        if outlook is None:
            raise
        return explain_gone(job_id, outlook)


def health(store: Store) -> Health:
    """Examine the whole store; takes as long as reading all of it."""
    problems = store.check()
    return Health(path=store.path, problems=problems, engine=store.overview().engine, files=_files(store.path))


def _files(path: str) -> dict[str, int]:
    found: dict[str, int] = {}
    if is_url(path):
        return found
    for suffix in ("", "-wal", "-journal", "-reserve"):
        try:
            found[os.path.basename(path) + suffix] = os.stat(path + suffix).st_size  # never open(): see architecture.md
        except FileNotFoundError:
            continue
    return found

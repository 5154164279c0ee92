"""What bears on when a job runs, gathered from the rows; the session sees all of it as of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from workqueue.job import Job, JobStatus, Lane, Terms
from workqueue.lifecycle import FINAL
from workqueue.store.clock import instant, micros
from workqueue.store.relational import records, schedules
from workqueue.store.relational.session import Session
from workqueue.store.situation import FEW, LONGEST_LINE, Awaited, Enlisted, Held, Other, Room, Situation

_KEPT_BACK: Final = 2  # as what `ready` says
_IN_LINE: Final = 1
_FOLLOWING: Final = 3
_ids = msgspec.json.Decoder(list[int])
_names = msgspec.json.Decoder(list[str])


def look(session: Session, now: int, job_id: int, runners: Sequence[Enlisted]) -> Situation | None:
    """Give the situation of a job; None where there is none. runners: all of the store."""
    job = records.get(session, job_id)
    if job is None:
        return None
    ready, runner, lease_until, lease = session.ask("situation", {"job": job_id}).fetchone() or (None,) * 4
    held = None
    if runner is not None:
        seen_at = None if lease is None else instant(lease_until - lease)
        held = Held(runner=runner, until=instant(lease_until), seen_at=seen_at)
    terms = job.terms or Terms()
    paused = _names.decode(session.ask("pauses", {"queue": job.queue}).fetchone()[0])
    slots = schedules.standings(session, job.queue)
    return Situation(
        now=instant(now),
        job=job,
        runners=[one for one in runners if one.queue == job.queue],
        paused=[name or None for name in paused],
        moves=records.moves(session),
        held=held,
        kept=ready == _KEPT_BACK,
        before=_before(session, job) if ready == _IN_LINE and not job.lost else None,
        limit=None if terms.limit is None else _limit(session, job.queue, terms.limit),
        rate=None if terms.rate is None else _rate(session, now, job.queue, terms.rate),
        behind=None if terms.order is None or job.status in FINAL else _ahead(session, job, terms.order),
        follows=_followed(session, terms.follows) if ready == _FOLLOWING else None,
        awaits=_batch(session, terms.follows_batch) if ready == _FOLLOWING else None,
        key_holder=_key_holder(session, job),
        schedule=next((one for one in slots if one.last_job == job_id), None),
    )


def _before(session: Session, job: Job) -> int:
    line = _ids.decode(session.ask("front", {"queue": job.queue, "limit": LONGEST_LINE}).fetchone()[0])
    return line.index(job.id) if job.id in line else LONGEST_LINE


def _limit(session: Session, queue: str, lane: Lane) -> Room:
    row = {"queue": queue, "lane": lane.name}
    taken = session.ask("limit_runs", row).fetchone()[0]
    jobs = _ids.decode(session.ask("limit_holders", row | {"limit": FEW}).fetchone()[0])
    return Room(lane=lane, taken=taken, jobs=jobs)


def _rate(session: Session, now: int, queue: str, lane: Lane) -> Room:
    row = {"queue": queue, "lane": lane.name}
    taken = session.ask("count_starts", row | {"since": now - micros(lane.per)}).fetchone()[0]
    most = lane.starts or 0
    if taken < most:
        return Room(lane=lane, taken=taken)
    found = session.ask("nth_start", row | {"before": most - 1}).fetchone()
    return Room(lane=lane, taken=taken, opens_at=None if found is None else instant(found[0] + micros(lane.per)))


def _ahead(session: Session, job: Job, order: str) -> Other | None:
    found = session.ask("ahead", {"queue": job.queue, "lane": order, "job": job.id}).fetchone()
    return None if found is None else Other(id=found[0], status=JobStatus(found[1]))


def _followed(session: Session, job_id: int | None) -> Other | None:
    found = session.ask("status_of", {"job": job_id}).fetchone()
    return None if found is None or job_id is None else Other(id=job_id, status=JobStatus(found[0]))


def _batch(session: Session, batch: int | None) -> Awaited | None:
    found = session.ask("batch", {"batch": batch}).fetchone()
    if found is None or batch is None:
        return None
    _, _, sealed, total, *ended = found
    return Awaited(id=batch, left=total - sum(ended), total=total, sealed=bool(sealed))


def _key_holder(session: Session, job: Job) -> int | None:
    if job.terms is None or job.terms.key is None:
        return None
    row = {"queue": job.queue, "name": job.name, "key": job.terms.key}
    found = session.ask("key_holder", row).fetchone()
    return None if found is None or found[0] == job.id else int(found[0])

"""What some jobs ask for beyond their turn: stored, kept back, let go, and what follows when such a job ends.

Each function runs inside a write transaction of the engine. Jobs without terms never come here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from workqueue import payload
from workqueue.arguments import checked_terms, without_nul
from workqueue.errors import DuplicateJob, InvalidPayload, UsageError
from workqueue.job import JobStatus, Lane, NewJob, Terms
from workqueue.store.clock import instant, later, micros
from workqueue.store.gate import Kept
from workqueue.store.relational.session import Session

_LOOK_AGAIN: Final = timedelta(seconds=1)
_encode = msgspec.json.encode
_ids = msgspec.json.Decoder(list[int])
_specs = msgspec.json.Decoder(list[tuple[int, str, str]])
_spec = msgspec.json.Decoder(Terms)
_LET_GO: Final = {Kept.BY_LIMIT: "let_go_limited", Kept.BY_RATE: "let_go_rated", Kept.BY_ORDER: "let_go_ordered"}
_CANCELLED: Final = (JobStatus.CANCELLED, None)  # as how a job has ended: without a result
_COUNTS: Final = {JobStatus.COMPLETED: "completed", JobStatus.FAILED: "failed", JobStatus.CANCELLED: "cancelled"}


class MetAnotherError(Exception):
    """Another transaction took the key since this one looked; done again, this one sees it."""


class Known(msgspec.Struct, frozen=True):
    """The terms of a stored job."""

    job: int
    queue: str
    terms: Terms


# store


def resolved(new: NewJob, now: int, before: int | None) -> Terms:
    """Give the terms of a new job as they are stored. before: the job before it in the same push.

    Raises InvalidOption, or UsageError, where they cannot be.
    """
    terms = checked_terms(new.terms or Terms())
    if new.expires is not None:
        terms = msgspec.structs.replace(terms, expires_at=instant(later(now, new.expires)))
    if terms.follows is not None:
        if terms.follows != -1 or before is None:
            raise UsageError("expected a job to follow the one before it in the same push (follows=-1)")
        terms = msgspec.structs.replace(terms, follows=before)
    return terms


def holder(session: Session, new: NewJob, now: int) -> int | None:
    """Give the job that has the key of the new one, if it is not to be stored; what it replaces is cancelled.

    One that waits past its time has it no more, whether or not a sweep has come by: it is cancelled too.
    """
    if new.terms is None or new.terms.key is None:
        return None
    row = {"queue": new.queue, "name": new.name, "key": without_nul(new.terms.key, "key")}
    found = session.ask("key_holder", row).fetchone()
    if found is not None and found[1] is not None and found[1] <= now:
        session.gate()
        found = None if expire(session, now, found[0]) else found
    taken = session.ask("key_taken", row | {"now": now}).fetchone()
    job = found or taken
    if job is None:
        return None
    match new.on_conflict:
        case "error":
            raise DuplicateJob(new.terms.key, job[0])
        case "replace":
            if found is not None and not cancel_waiting(session, now, found[0], "replaced by a later job"):
                return int(found[0])  # it runs
            session.ask("free_key", row)
            return None
        case "keep":
            return int(job[0])


def add(session: Session, head: NewJob, now: int, jobs: Mapping[int, tuple[NewJob, Terms]]) -> None:
    """Store the terms of new jobs that differ in little else. head: one of them."""
    rows = [
        (
            job,
            _encode(terms).decode(),
            terms.key,
            None if terms.expires_at is None else micros(terms.expires_at),
            None if terms.limit is None else terms.limit.name,
            None if terms.rate is None else terms.rate.name,
            terms.order,
            terms.batch,
            terms.follows,
            terms.follows_batch,
        )
        for job, (_, terms) in jobs.items()
    ]
    columns = {"queue": head.queue, "name": head.name, "priority": head.priority, "rows": _encode(rows).decode()}
    session.ask("add_terms", columns)
    for job, (new, terms) in jobs.items():
        if new.unique_for is not None and terms.key is not None:
            row = {"queue": new.queue, "name": new.name, "key": terms.key, "job": job}
            if not session.ask("take_key", row | {"until": later(now, new.unique_for), "now": now}).rowcount:
                raise MetAnotherError
    for batch, count in Counter(terms.batch for _, terms in jobs.values() if terms.batch is not None).items():
        if not session.ask("count_in", {"batch": batch, "count": count}).rowcount:
            raise UsageError(f"expected a batch that is open, but batch {batch} is sealed or there is none")


def of(session: Session, jobs: Collection[int]) -> list[Known]:
    """Give the terms of those jobs that have any."""
    answer = session.ask("terms_of", {"ids": _encode(list(jobs)).decode()}).fetchone()[0]
    return [Known(job, queue, _spec.decode(spec)) for job, queue, spec in _specs.decode(answer)]


# keep back, let go


def keep_back(session: Session, kept: Mapping[int, Kept]) -> None:
    """Take these jobs out of the line."""
    paused = [job for job, by in kept.items() if by is Kept.BY_PAUSE]
    if paused:
        ids = {"ids": _encode(paused).decode()}
        session.ask("pause_terms", ids)
        session.ask("make_special", ids)
    rows = {"rows": _encode([(job, int(by)) for job, by in kept.items()]).decode()}
    session.ask("keep_back", rows)
    session.ask("kept_back", rows)


def let_go(session: Session, queue: str, by: Kept, lane: str, limit: int) -> int:
    """Let the best that the lane keeps back stand in line again; give how many there were."""
    row = {"queue": queue, "lane": lane, "limit": limit}
    return _free(session, session.ask(_LET_GO[by], row).fetchone()[0])


def let_go_paused(session: Session, queue: str, name: str, limit: int) -> int:
    """Let those that a pause of this name kept back stand in line again; give how many there were."""
    row = {"queue": queue, "name": name, "limit": limit}
    return _free(session, session.ask("let_go_paused", row).fetchone()[0])


def _free(session: Session, ids: str) -> int:
    found = _ids.decode(ids)
    if found:
        session.ask("free_terms", {"ids": ids})
        session.ask("free_jobs", {"ids": ids})
    return len(found)


def open_lanes(session: Session, now: int, queue: str, limit: int) -> None:
    """Let go of what lanes of a rate keep back, where it is time to look again."""
    found = session.ask("opening_lanes", {"queue": queue, "now": now, "limit": limit}).fetchone()[0]
    for lane, most in msgspec.json.decode(found, type=list[tuple[str, int]]):
        let_go(session, queue, Kept.BY_RATE, lane, most)
        # Who was let go may end without a claim; so the lane is looked at again, if it still keeps any back.
        row = {"queue": queue, "lane": lane, "opens_at": later(now, _LOOK_AGAIN), "now": now}
        session.ask("delay_lane", row)
        session.ask("open_lane", row)


# start and stop


def start(session: Session, jobs: Sequence[int]) -> None:
    """These jobs run from now on."""
    session.ask("start_terms", {"ids": _encode(jobs).decode()})


def stop(session: Session, jobs: Sequence[int]) -> None:
    """These jobs do not run any more, and are not over: who waits for their slots, or their order, may come."""
    session.ask("stop_terms", {"ids": _encode(jobs).decode()})
    _pass_on(session, of(session, jobs))


def end(session: Session, now: int, ended: Mapping[int, tuple[JobStatus, bytes | None]]) -> None:
    """These jobs are over: as what, and with what result; let come what waited for them, and cancel what does in vain.

    Link by link, and what they have in common at the end: a chain may be longer than the stack.
    """
    first = {"ids": _encode(list(ended)).decode()}
    over: list[Known] = []
    batches: dict[int, Counter[str]] = {}
    while ended and (known := of(session, ended)):
        session.ask("end_terms", {"ids": _encode(list(ended)).decode()})
        in_vain: dict[int, str] = {}
        for one in known:
            status, result = ended[one.job]
            if one.terms.batch is not None:
                batches.setdefault(one.terms.batch, Counter())[_COUNTS[status]] += 1
            if one.terms.followed:
                in_vain |= _call_followers(session, now, one.job, status, result)
        over += known
        ended = {job: _CANCELLED for job, reason in in_vain.items() if _cancel(session, now, job, reason)}
    if not over:
        return
    session.ask("drop_terms", first)
    _pass_on(session, over)
    for batch, counts in batches.items():
        row = {"batch": batch, "completed": 0, "failed": 0, "cancelled": 0} | counts
        session.ask("count_out", row)
        finish_batch(session, now, batch)


def _pass_on(session: Session, known: Iterable[Known]) -> None:
    limits: dict[tuple[str, str], tuple[Lane, int]] = {}
    for one in known:
        if one.terms.limit is not None:
            place = one.queue, one.terms.limit.name
            limits[place] = one.terms.limit, limits.get(place, (None, 0))[1] + 1
        if one.terms.order is not None:  # though it is not over: an earlier one may have become due while it ran
            let_go(session, one.queue, Kept.BY_ORDER, one.terms.order, 1)
    for (queue, name), (_, count) in limits.items():
        let_go(session, queue, Kept.BY_LIMIT, name, count)


def _call_followers(session: Session, now: int, job: int, status: JobStatus, result: bytes | None) -> dict[int, str]:
    """Let come what follows the job; give those that wait for it in vain, and why."""
    followers = _ids.decode(session.ask("followers", {"job": job}).fetchone()[0])
    if status is not JobStatus.COMPLETED:
        return dict.fromkeys(followers, f"job {job}, which it follows, is {status}")
    in_vain: dict[int, str] = {}
    for follower in followers:
        [known] = of(session, [follower])
        if known.terms.into is not None:
            data = session.ask("data_of", {"job": follower}).fetchone()[0]
            try:
                data = payload.with_member(data, known.terms.into, result or b"null")
            except InvalidPayload as error:  # a person may have edited it
                in_vain[follower] = str(error)
                continue
            session.set_data(follower, data)
        _call(session, now, follower)
    return in_vain


def _call(session: Session, now: int, follower: int) -> None:
    session.ask("unfollow", {"job": follower})
    session.ask("call_follower", {"job": follower, "now": now})


def finish_batch(session: Session, now: int, batch: int) -> None:
    """Call what follows the batch, if its last job has ended."""
    if session.ask("batch_done", {"batch": batch, "now": now}).rowcount:
        call_after_batch(session, now, batch)


def call_after_batch(session: Session, now: int, batch: int) -> None:
    """Let come what follows the batch, and has not been called before."""
    for follower in _ids.decode(session.ask("batch_followers", {"batch": batch}).fetchone()[0]):
        _call(session, now, follower)


def cancel_waiting(session: Session, now: int, job: int, reason: str) -> bool:
    """Cancel a job that waits, with all that follows from it; False when it does not wait."""
    if not _cancel(session, now, job, reason):
        return False
    end(session, now, {job: _CANCELLED})
    return True


def expire(session: Session, now: int, job: int) -> bool:
    """Do that to one past its time."""
    return cancel_waiting(session, now, job, "expired before it could run")


def _cancel(session: Session, now: int, job: int, reason: str) -> bool:
    return bool(session.ask("cancel_job", {"id": job, "now": now, "message": reason}).rowcount)

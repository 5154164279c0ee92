"""What people change: jobs cancelled, restored, cleaned and edited; queues paused and resumed.

Each verb is a write of its own; `landed` says after a commit of unknown fate whether what it did is in the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

import msgspec

from workqueue.errors import JobNotFound
from workqueue.job import JobStatus
from workqueue.store.paging import DONE_TO, Changed, Deed, Find, changes
from workqueue.store.relational import finding, terms
from workqueue.store.relational.finding import Match
from workqueue.store.relational.session import Database, Session

_STEP: Final = 5000  # jobs in one transaction
_CANCELLED: Final = "cancelled"
_encode = msgspec.json.encode
_ids = msgspec.json.Decoder(list[int])


def cancel(database: Database, queue: str, job_id: int) -> bool:
    """Cancel a waiting job, or ask its runner to; False when it was settled already."""

    def work(session: Session, now: int) -> bool:
        session.to_wake.add(queue)
        return cancel_one(session, now, job_id)

    def landed(session: Session, cancelled: bool) -> bool:
        return not cancelled or not session.ask("cancellable", {"id": job_id}).fetchone()[0]

    return database.write(work, landed)


def cancel_one(session: Session, now: int, job_id: int) -> bool:
    """Do that inside a transaction."""
    return terms.cancel_waiting(session, now, job_id, _CANCELLED) or bool(
        session.ask("cancel_running", {"id": job_id}).rowcount
    )


def restore(database: Database, queue: str, job_ids: Collection[int] | None) -> int:
    """Make failed jobs wait again: all of the queue's, or these (cancelled too); give how many."""

    def work(session: Session, now: int) -> int:
        session.to_wake.add(queue)
        restored[:] = _restore(session, now, queue, job_ids)
        return len(restored)

    def landed(session: Session, count: int) -> bool:
        return not session.ask("settled", {"id": restored[0] if count else None}).fetchone()[0]

    restored: list[int] = []
    return database.write(work, landed)


def _restore(session: Session, now: int, queue: str, job_ids: Collection[int] | None) -> list[int]:
    row: dict[str, object] = {"queue": queue, "now": now}
    if job_ids is None:
        special = _ids.decode(session.ask("special_failed", row).fetchone()[0])
        found = session.ask("restore_failed", row).fetchall()
        return [job for (job,) in found] + _reopened(session, row, special)
    ids = {"ids": _encode(list(job_ids)).decode()}
    special = _ids.decode(session.ask("special_restorable", row | ids).fetchone()[0])
    plain = {"ids": _encode(sorted(set(job_ids) - set(special))).decode()}
    found = session.ask("restore", row | plain).fetchall()
    return [job for (job,) in found] + _reopened(session, row, special)


def _reopened(session: Session, row: dict[str, object], jobs: Collection[int]) -> list[int]:
    """Restore jobs that have terms, one by one; those stay whose key another job has by now."""
    restored: list[int] = []
    for job in jobs:
        if session.ask("reopen_terms", {"job": job}).rowcount:
            status = session.ask("status_of", {"job": job}).fetchone()[0]
            session.ask("uncount", {"job": job, "status": status})
            session.ask("restore", row | {"ids": _encode([job]).decode()}).fetchall()
            restored.append(job)
    return restored


def clean(database: Database, queue: str, status: JobStatus) -> int:
    """Delete the queue's jobs of this status; give how many."""
    if status is JobStatus.COMPLETED:
        return _clean_completed(database, queue)

    def work(session: Session, now: int) -> int:
        del now
        cleaned[:] = [job_id for (job_id,) in session.ask("clean", row).fetchall()]
        if cleaned:
            session.ask("drop_terms", {"ids": _encode(cleaned).decode()})
        return len(cleaned)

    def landed(session: Session, count: int) -> bool:
        return not session.ask("settled", {"id": cleaned[0] if count else None}).fetchone()[0]

    cleaned: list[int] = []
    row = {"queue": queue, "status": int(status), "limit": _STEP}
    total = 0
    while count := database.write(work, landed):
        total += count
    return total


def _clean_completed(database: Database, queue: str) -> int:
    which = Find(queue=queue, status=JobStatus.COMPLETED, limit=_STEP)
    return sum(changed.count for changed in changes(partial(change, database), which, "delete"))


def change(database: Database, which: Find, deed: Deed) -> Changed:
    """Do it to a page of the jobs that are meant. They are looked for before anything is locked."""
    statuses = DONE_TO[deed]
    found = database.read(lambda session: finding.look(session, which, statuses))
    if not found.jobs:
        return Changed(0, found.next)
    ids = [match.id for match in found.jobs]

    def work(session: Session, now: int) -> int:
        began.append(now)
        still = finding.matching(session, ids, which, statuses)
        if deed != "delete":
            session.to_wake.update(match.queue for match in still)
        done[:] = _DEEDS[deed](session, now, still, which)
        return len(done)

    def landed(session: Session, count: int) -> bool:
        return not count or not session.ask(_UNDONE[deed], {"id": done[0], "now": began[-1]}).fetchone()[0]

    done: list[int] = []
    began: list[int] = []
    return Changed(database.write(work, landed), found.next)


def _cancel_all(session: Session, now: int, jobs: Sequence[Match], which: Find) -> list[int]:
    """Cancel the newest first: what follows others has not been cancelled with them then."""
    ids = sorted((match.id for match in jobs), reverse=True)
    row = {"ids": _encode(ids).decode(), "now": now, "message": _CANCELLED}
    cancelled = [job for (job,) in session.ask("cancel_plain", row).fetchall()]
    rest = sorted(set(ids) - set(cancelled), reverse=True)
    cancelled += [job for job in rest if terms.cancel_waiting(session, now, job, _CANCELLED)]
    if which.status not in (None, JobStatus.RUNNING):  # what was claimed just now is not meant
        return cancelled
    return cancelled + [job for job in rest if session.ask("cancel_running", {"id": job}).rowcount]


def _restore_all(session: Session, now: int, jobs: Sequence[Match], which: Find) -> list[int]:
    del which
    by_queue: defaultdict[str, list[int]] = defaultdict(list)
    for match in jobs:
        by_queue[match.queue].append(match.id)
    return [job for queue, ids in by_queue.items() for job in _restore(session, now, queue, ids)]


def _retry_all(session: Session, now: int, jobs: Sequence[Match], which: Find) -> list[int]:
    return session.hasten([match.id for match in jobs], now) + _restore_all(session, now, jobs, which)


def _delete_all(session: Session, now: int, jobs: Sequence[Match], which: Find) -> list[int]:
    del now
    ids = {"ids": _encode([match.id for match in jobs]).decode()}
    deleted = [job for (job,) in session.ask("delete_settled", ids).fetchall()]
    if deleted:
        session.ask("drop_terms", {"ids": _encode(deleted).decode()})
    if which.status in (None, JobStatus.COMPLETED):
        deleted += [job for (job,) in session.ask("delete_completed", ids).fetchall()]
    return deleted


_DEEDS: Final = {"cancel": _cancel_all, "retry": _retry_all, "restore": _restore_all, "delete": _delete_all}
_UNDONE: Final = {  # asked of one that was done
    "cancel": "cancellable",
    "retry": "not_due",
    "restore": "settled",
    "delete": "known",
}


def edit(database: Database, job_id: int, data: bytes, was: bytes | None) -> bool:
    """Give a job that does not run other data; False when it runs, or its data are not what they `was`."""

    def work(session: Session, now: int) -> bool:
        del now
        if not session.ask("known", {"id": job_id}).fetchone()[0]:
            raise JobNotFound(job_id)
        return session.set_data(job_id, data, was)

    def landed(session: Session, edited: bool) -> bool:
        return edited and session.ask("data_of", {"job": job_id}).fetchone() == (data,)

    return database.write(work, landed)


def pause(database: Database, queue: str, name: str) -> None:
    """Let no more jobs of the queue, or of this name, be claimed. name: empty for the whole queue."""
    row = {"queue": queue, "name": name}

    def work(session: Session, now: int) -> None:
        del now
        session.ask("pause", row)

    database.write(work, lambda _session, _none: False)


def resume(database: Database, queue: str, name: str) -> None:
    """Undo that, and let go of what it kept back."""
    row = {"queue": queue, "name": name}

    def work(session: Session, now: int) -> int:
        del now
        session.to_wake.add(queue)
        session.ask("resume", row)
        return terms.let_go_paused(session, queue, name, _STEP) if name else 0

    while database.write(work, lambda _session, _count: False):
        pass

"""How jobs stand for those who wait for them: results and progress; and sweeping up what was kept for long enough."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

import msgspec

from workqueue.job import JobStatus
from workqueue.store.clock import micros
from workqueue.store.contract import Outlook
from workqueue.store.relational import ledger, terms
from workqueue.store.relational.session import Session

_BATCHES_STAY: Final = timedelta(days=7)  # after their last job has ended
_FORGOTTEN: Final = 10_000  # rows of each kind at once: some seconds' worth of results
_encode = msgspec.json.encode
_ids = msgspec.json.Decoder(list[int])
_names = msgspec.json.Decoder(list[str])
_rows = msgspec.json.Decoder(list[tuple[int, int, str]])


def look(session: Session, job_ids: Collection[int]) -> dict[int, Outlook]:
    """Say how these jobs stand; ids that were never given out are left out."""
    ids = {"ids": _encode(list(job_ids)).decode()}
    last = session.ask("last_id").fetchone()[0]
    found = {job: Outlook(status=None) for job in job_ids if 0 < job <= last}
    progress = dict(session.ask("outlook_progress", ids).fetchall())
    for job, status, message in _rows.decode(session.ask("outlook_jobs", ids).fetchone()[0]):
        found[job] = Outlook(status=JobStatus(status), message=message, progress=progress.get(job))
    for job, result in session.ask("outlook_results", ids).fetchall():
        found[job] = Outlook(status=JobStatus.COMPLETED, result=result, progress=progress.get(job))
    return found


def note_progress(session: Session, runner: int, progress: Mapping[int, bytes]) -> None:
    """Keep what the handlers of these jobs said last."""
    for job, data in progress.items():
        session.ask("note_progress", {"job": job, "data": data, "runner": runner})


def end(session: Session, now: int, queue: str, limit: int) -> int:
    """End waiting jobs past their time, and let go of those that a pause keeps back which is over; give how many ended.

    limit: of jobs to be ended, and of each name's to be let go.
    """
    expired = _expired(session, now, queue, limit)
    ended = sum(terms.expire(session, now, job) for job in expired)
    for name in _resumed(session, queue):
        terms.let_go_paused(session, queue, name, limit)
    return ended


def forget(session: Session, now: int) -> None:
    """Forget what was kept for long enough.

    Where the clock was set back, what was to last for a time lasts for that from now on, and no longer.
    """
    row = {"now": now, "limit": _FORGOTTEN}
    session.ask("forget_results", row)
    session.ask("forget_keys", row)
    session.ask("restart_windows", row)
    session.ask("reopen_lanes", {"now": now})
    session.ask("forget_progress", row)
    ledger.forget(session, now)
    session.ask("forget_batches", {"before": now - micros(_BATCHES_STAY), "limit": _FORGOTTEN})


def wants_sweeping(session: Session, now: int, queue: str) -> bool:
    """Say whether there is anything for `end` or `forget` to do; without writing."""
    return bool(session.ask("wants_sweeping", _row(now, queue)).fetchone()[0])


def wants_ending(session: Session, now: int, queue: str) -> bool:
    """Say whether there is anything for `end` to do; without writing."""
    return bool(_expired(session, now, queue, 1) or _resumed(session, queue))


def _expired(session: Session, now: int, queue: str, limit: int) -> list[int]:
    return _ids.decode(session.ask("expiring", {"queue": queue, "now": now, "limit": limit}).fetchone()[0])


def _resumed(session: Session, queue: str) -> list[str]:
    """Give the names whose jobs are kept back though they are not paused: whoever resumed them died before all went."""
    paused = {*_names.decode(session.ask("pauses", {"queue": queue}).fetchone()[0])}
    kept = _names.decode(session.ask("paused_names", {"queue": queue}).fetchone()[0])
    return [name for name in kept if name not in paused]


def _row(now: int, queue: str) -> dict[str, object]:
    return {"now": now, "queue": queue, "before": now - micros(_BATCHES_STAY), **ledger.ends(now)}

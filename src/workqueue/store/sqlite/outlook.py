"""How jobs stand for those who wait for them: results and progress; and sweeping up what was kept for long enough."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

import msgspec

from workqueue.job import JobStatus
from workqueue.store.clock import micros
from workqueue.store.contract import Outlook
from workqueue.store.sqlite import terms
from workqueue.store.sqlite.schema import SQL

_EXPIRED: Final = "expired before it could run"
_BATCHES_STAY: Final = timedelta(days=7)  # after their last job has ended
_encode = msgspec.json.encode
_ids = msgspec.json.Decoder(list[int])
_names = msgspec.json.Decoder(list[str])
_rows = msgspec.json.Decoder(list[tuple[int, int, str]])


def look(connection: sqlite3.Connection, job_ids: Collection[int]) -> dict[int, Outlook]:
    """Say how these jobs stand; ids that were never given out are left out."""
    ids = {"ids": _encode(list(job_ids)).decode()}
    last = connection.execute(SQL["last_id"]).fetchone()[0]
    found = {job: Outlook(status=None) for job in job_ids if 0 < job <= last}
    progress = dict(connection.execute(SQL["outlook_progress"], ids).fetchall())
    for job, status, message in _rows.decode(connection.execute(SQL["outlook_jobs"], ids).fetchone()[0]):
        found[job] = Outlook(status=JobStatus(status), message=message, progress=progress.get(job))
    for job, result in connection.execute(SQL["outlook_results"], ids).fetchall():
        found[job] = Outlook(status=JobStatus.COMPLETED, result=result, progress=progress.get(job))
    return found


def note_progress(connection: sqlite3.Connection, runner: int, progress: Mapping[int, bytes]) -> None:
    """Keep what the handlers of these jobs said last."""
    for job, data in progress.items():
        connection.execute(SQL["note_progress"], {"job": job, "data": data, "runner": runner})


def sweep(connection: sqlite3.Connection, now: int, queue: str, limit: int) -> int:
    """End waiting jobs past their time, and forget what was kept for long enough; give how many jobs it ended."""
    expired = _ids.decode(
        connection.execute(SQL["expiring"], {"queue": queue, "now": now, "limit": limit}).fetchone()[0]
    )
    ended = sum(terms.cancel_waiting(connection, now, job, _EXPIRED) for job in expired)
    paused = set(_names.decode(connection.execute(SQL["pauses"], {"queue": queue}).fetchone()[0]))
    for name in _names.decode(connection.execute(SQL["paused_names"], {"queue": queue}).fetchone()[0]):
        if name not in paused:  # whoever resumed it died before all were let go
            terms.let_go_paused(connection, queue, name, limit)
    row = {"now": now, "limit": limit}
    connection.execute(SQL["forget_results"], row)
    connection.execute(SQL["forget_keys"], row)
    connection.execute(SQL["forget_progress"], {"limit": limit})
    connection.execute(SQL["forget_batches"], {"before": now - micros(_BATCHES_STAY), "limit": limit})
    return ended


def wants_sweeping(connection: sqlite3.Connection, now: int, queue: str) -> bool:
    """Say whether there is anything for `sweep` to do; without writing."""
    return bool(connection.execute(SQL["wants_sweeping"], _row(now, queue)).fetchone()[0])


def _row(now: int, queue: str) -> dict[str, object]:
    return {"now": now, "queue": queue, "before": now - micros(_BATCHES_STAY)}

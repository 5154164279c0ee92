"""persist-queue's SQLiteAckQueue: the one of its queues in which a job stays until it is acknowledged.

Its safest settings: auto_commit (the only one this queue has), a busy timeout of 30 s, and synchronous=FULL by SQLite's
own pragma, should SQLite be built with less. Rescue as documented: `auto_resume=True` puts every unacknowledged job
back when a worker opens the queue; whoever pushes or looks does not resume, for that would only run jobs twice. It
cannot tell jobs of the dead from those of another worker that lives, and its documentation speaks of threads, not of
several processes. Acknowledged jobs are cleared from time to time, as documented.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from persistqueue import Empty, SQLiteAckQueue
from persistqueue.sqlackqueue import AckStatus

from prove.crash.peers import Handler

TITLE = f"persist-queue {version('persist-queue')} SQLiteAckQueue, auto_resume=True"
_HOUSEKEEPING = 200  # jobs


class _PersistQueue:
    def __init__(self, path: Path, *, resume: bool) -> None:
        self._queue = SQLiteAckQueue(
            str(path.parent), db_file_name=path.name, auto_resume=resume, auto_commit=True, timeout=30
        )
        self._queue._putter.execute("PRAGMA synchronous = FULL")

    def push(self, number: int) -> None:
        self._queue.put(number)

    def work(self, handler: Handler) -> None:
        count = 0
        while True:
            try:
                job = self._queue.get(timeout=0.01, raw=True)
            except Empty:
                continue
            handler(job["data"])
            self._queue.ack(id=job["pqid"])
            count += 1
            if count % _HOUSEKEEPING == 0:
                self._queue.clear_acked_data(max_delete=_HOUSEKEEPING, keep_latest=0)

    def left(self) -> set[int]:
        over = {int(AckStatus.acked), int(AckStatus.ack_failed)}
        return {job["data"] for job in self._queue.queue() if int(job["status"]) not in over}


def open_queue(path: Path, *, works: bool) -> _PersistQueue:
    return _PersistQueue(path, resume=works)

"""persist-queue's SQLiteAckQueue: the one of its queues that does not lose a job whose worker dies."""

from importlib.metadata import version
from pathlib import Path

from persistqueue import Empty, SQLiteAckQueue

VERSION = version("persist-queue")
_HOUSEKEEPING = 500  # jobs; it walks over those acknowledged at each `get`, until they are cleared


class Queue:
    """It has no setting for flushing: SQLite's own is set on its connection."""

    def __init__(self, path: Path, *, flushed: bool) -> None:
        self._queue = SQLiteAckQueue(str(path.parent), db_file_name=path.name)
        self._queue._putter.execute(f"PRAGMA synchronous = {2 if flushed else 0}")

    def push(self, obj: object) -> None:
        self._queue.put(obj)

    def drain(self) -> int:
        count = 0
        while True:
            try:
                job = self._queue.get(block=False, raw=True)
            except Empty:
                return count
            self._queue.ack(id=job["pqid"])
            count += 1
            if count % _HOUSEKEEPING == 0:
                self._queue.clear_acked_data(max_delete=_HOUSEKEEPING, keep_latest=0)

    def close(self) -> None:
        self._queue.close()

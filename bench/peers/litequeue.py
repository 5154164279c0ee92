"""litequeue: a table of messages with `pop` and `done`, and no retries."""

import json
from importlib.metadata import version
from pathlib import Path

from litequeue import LiteQueue

VERSION = version("litequeue")
_HOUSEKEEPING = 500  # jobs; what is done stays in its table until it is pruned


class Queue:
    """It does not flush by itself: SQLite's own setting is set on its connection."""

    def __init__(self, path: Path, *, flushed: bool) -> None:
        self._queue = LiteQueue(path)
        self._queue.conn.execute(f"PRAGMA synchronous = {2 if flushed else 0}")

    def push(self, obj: object) -> None:
        self._queue.put(json.dumps(obj))

    def drain(self) -> int:
        count = 0
        while (message := self._queue.pop()) is not None:
            json.loads(message.data)
            self._queue.done(message.message_id)
            count += 1
            if count % _HOUSEKEEPING == 0:
                self._queue.prune()
        return count

    def close(self) -> None:
        self._queue.conn.close()

"""litequeue: messages that are locked by `pop` and ended by `done`.

Its safest settings: synchronous=FULL by SQLite's own pragma, on its connection (it sets NORMAL, by which a power cut
takes what was pushed last), and a busy timeout of 30 s, which it passes on. Rescue as documented: `list_locked` names
what has been locked for longer than so many seconds, `retry` makes it free. A worker does so when it starts and once a
second, for locks older than 2 s: a hundred times what a job takes here. `retry` and `done` do not look who holds it.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path

from litequeue import LiteQueue, MessageStatus

from prove.crash.peers import Handler

TITLE = f"litequeue {version('litequeue')}, synchronous=FULL, retry of list_locked(2)"
_LOCKED = 2  # seconds
_LOOK = 1.0  # seconds between looks
_HOUSEKEEPING = 200  # jobs


class _LiteQueue:
    def __init__(self, path: Path) -> None:
        self._queue = LiteQueue(path, timeout=30)
        self._queue.conn.execute("PRAGMA synchronous = FULL")

    def push(self, number: int) -> None:
        self._queue.put(str(number))

    def work(self, handler: Handler) -> None:
        count, next_look = 0, 0.0
        while True:
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _LOOK
                for message in list(self._queue.list_locked(_LOCKED)):
                    self._queue.retry(message.message_id)
            message = self._queue.pop()
            if message is None:
                time.sleep(0.01)
                continue
            handler(int(message.data))
            self._queue.done(message.message_id)
            count += 1
            if count % _HOUSEKEEPING == 0:
                self._queue.prune()

    def left(self) -> set[int]:
        over = (MessageStatus.DONE.value, MessageStatus.FAILED.value)
        found = self._queue.conn.execute(f"SELECT data FROM {self._queue.table} WHERE status NOT IN (?, ?)", over)
        return {int(row[0]) for row in found}


def open_queue(path: Path, *, works: bool) -> _LiteQueue:
    del works
    return _LiteQueue(path)

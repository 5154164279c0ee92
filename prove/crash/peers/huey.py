"""huey with its SQLite storage, run by its own consumer.

Its safest settings: fsync=True (synchronous=FULL on every connection; else a power cut may take what was pushed), its
default WAL, and a busy timeout of 30 s so that nobody gives up on a busy file. Results are off: nothing reads them. A
task leaves the file before it runs, and the documentation says that one whose worker is killed is lost; `retries` are
for tasks that raise, and the interrupted-signal is sent by a consumer that is stopped, not by one that is killed. So
there is no rescue to do at the start.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path

from huey import SqliteHuey

from prove.crash.peers import Handler

TITLE = f"huey {version('huey')}, fsync=True"
logging.getLogger("huey").setLevel(logging.ERROR)


class _Huey:
    def __init__(self, path: Path) -> None:
        self._huey = SqliteHuey("crash", filename=str(path), fsync=True, timeout=30, results=False)
        self._handler: Handler | None = None
        self._task = self._huey.task(name="number")(self._run)

    def _run(self, number: int) -> None:
        assert self._handler is not None
        self._handler(number)

    def push(self, number: int) -> None:
        self._task(number)

    def work(self, handler: Handler) -> None:
        self._handler = handler
        self._huey.create_consumer(workers=1, periodic=False, initial_delay=0.01, max_delay=0.1).run()

    def left(self) -> set[int]:
        return {task.args[0] for task in [*self._huey.pending(), *self._huey.scheduled()]}


def open_queue(path: Path, *, works: bool) -> _Huey:
    del works
    return _Huey(path)

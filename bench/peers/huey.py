"""huey with its SQLite storage, drained without its consumer's polling."""

import logging
from importlib.metadata import version
from pathlib import Path

from huey import SqliteHuey

VERSION = version("huey")
logging.getLogger("huey").setLevel(logging.ERROR)


class Queue:
    """huey deletes a task before it runs it: one that is killed meanwhile is lost."""

    def __init__(self, path: Path, *, flushed: bool) -> None:
        self._huey = SqliteHuey("bench", filename=str(path), fsync=flushed, results=False)
        self._count = 0
        self._task = self._huey.task(name="count")(self._work)

    def _work(self, obj: object) -> None:
        del obj
        self._count += 1

    def push(self, obj: object) -> None:
        self._task(obj)

    def drain(self) -> int:
        while (task := self._huey.dequeue()) is not None:
            self._huey.execute(task)
        return self._count

    def close(self) -> None:
        self._huey.storage.close()

"""huey with its SQLite storage: the fastest of the embedded peers, drained without its consumer's polling."""

import logging
from pathlib import Path

from huey import SqliteHuey

logging.getLogger("huey").setLevel(logging.ERROR)


class HueyPeer:
    """One queue of huey. fsync: its default is not to, so that a power cut loses jobs."""

    def __init__(self, path: Path, *, fsync: bool) -> None:
        self._huey = SqliteHuey("bench", filename=str(path), fsync=fsync, results=False)
        self._count = 0
        self._task = self._huey.task(name="count")(self._work)

    def _work(self, obj: object) -> None:
        del obj
        self._count += 1

    def push(self, obj: object) -> None:
        self._task(obj)

    def drain(self) -> int:
        """Run the tasks until none waits, as a worker of the consumer does but for its waiting; give how many."""
        while (task := self._huey.dequeue()) is not None:
            self._huey.execute(task)
        return self._count

    def close(self) -> None:
        self._huey.storage.close()

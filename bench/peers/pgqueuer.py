"""PgQueuer on asyncpg, drained by its own mode for that."""

import asyncio
import json
from collections.abc import Coroutine, Iterable
from importlib.metadata import version
from typing import Any, TypeVar

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

T = TypeVar("T")

VERSION = version("pgqueuer")
_TASK = "no_op"
_BATCH = 500  # as ours; its own default of 10 is slower


class Queue:
    """One connection, as its documentation has it."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._connection = self._run(asyncpg.connect(url))
        self._driver = AsyncpgDriver(self._connection)
        self._queries = Queries(self._driver)

    def install(self) -> None:
        self._run(self._queries.install())

    def push(self, obj: object) -> None:
        self._run(self._queries.enqueue(_TASK, json.dumps(obj).encode()))

    def push_many(self, objs: Iterable[object]) -> None:
        data = [json.dumps(obj).encode() for obj in objs]
        self._run(self._queries.enqueue([_TASK] * len(data), data, [0] * len(data)))

    def drain(self) -> int:
        manager = QueueManager(self._queries)
        count = 0

        @manager.entrypoint(_TASK)
        async def work(job: Job) -> None:
            nonlocal count
            json.loads(job.payload or b"")
            count += 1

        self._run(manager.run(batch_size=_BATCH, mode=QueueExecutionMode.drain))
        return count

    def close(self) -> None:
        self._run(self._connection.close())
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

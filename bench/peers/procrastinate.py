"""procrastinate on psycopg, drained by a worker that ends when nothing waits."""

import json
import logging
from collections.abc import Iterable
from importlib.metadata import version

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

VERSION = version("procrastinate")
logging.getLogger("procrastinate").setLevel(logging.ERROR)
_CONCURRENCY = 10


class Queue:
    """It keeps what is done, unless told to delete it: so it is."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._app = App(connector=SyncPsycopgConnector(conninfo=url))
        self._task = self._app.task(name="no_op")(self._work)
        self._app.open()
        self._count = 0

    def install(self) -> None:
        self._app.schema_manager.apply_schema()

    def push(self, obj: object) -> None:
        self._task.defer(obj=obj)

    def push_many(self, objs: Iterable[object]) -> None:
        self._task.batch_defer(*({"obj": obj} for obj in objs))

    async def _work(self, obj: object) -> None:
        json.dumps(obj)  # it was decoded on the way here
        self._count += 1

    def drain(self) -> int:
        with self._app.replace_connector(PsycopgConnector(conninfo=self._url)) as app:
            app.run_worker(
                wait=False, concurrency=_CONCURRENCY, delete_jobs="successful", install_signal_handlers=False
            )
        return self._count

    def close(self) -> None:
        self._app.close()

"""The store, from a page's point of view: asked on threads of its own, and by many as if by one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, ParamSpec, TypeVar

from workqueue import report
from workqueue.dashboard.filters import Stretch
from workqueue.dashboard.looks import Look, Looks
from workqueue.queue import Queue
from workqueue.store import open_existing
from workqueue.store.contract import Overview, Store

P = ParamSpec("P")
T = TypeVar("T")
_THREADS: Final = 8
_PATIENCE: Final = 0.4  # seconds that a page waits for new figures, before it shows the last ones


class Desk:
    """Whoever answers for the store. Its coroutines run on any event loop; none of them blocks it.

    queue: whose tasks can be triggered from here; None where only the database is known.
    """

    def __init__(self, place: Queue | str | os.PathLike[str]) -> None:
        self.queue = place if isinstance(place, Queue) else None
        self.store: Store = _store_of(place) if isinstance(place, Queue) else open_existing(place)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="workqueue-dashboard")
        self._overview: Look[Overview] = Look(lambda: report.overview(self.store))

    async def ask(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a verb of the store on a thread."""
        return await asyncio.wrap_future(self._threads.submit(verb, *args, **kwargs))

    async def overview(self, patience: float = _PATIENCE) -> Overview | None:
        """Give the figures of the store as they were a moment ago; None when counting takes long, and nobody has yet."""
        return await self.ask(self._overview.latest, patience)

    def outdate(self) -> None:
        """Something was changed: let the next page see it."""
        self._overview.outdate()

    def close(self) -> None:
        """Let go of what was opened here. Safe to call twice."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self.queue is None:
            self.store.close()


def _store_of(queue: Queue) -> Store:
    return queue._open_store()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a face looks at all queues of it

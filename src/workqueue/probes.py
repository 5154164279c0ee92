"""Probes: what a process says of itself to those who watch over it, at /livez, /readyz and /metrics.

No server is here: `answer` is for whichever there is, `Listener` in `cli.listening` for one.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Final, Protocol

import msgspec

from workqueue.errors import WorkqueueError
from workqueue.logs import Log
from workqueue.looks import Look
from workqueue.metrics import CONTENT_TYPE, exposition
from workqueue.queue import Queue
from workqueue.store.contract import Store

log = Log("workqueue.probes")

PLAIN: Final = "text/plain; charset=utf-8"
_PERIOD: Final = 1.0  # seconds, between two looks at the figures
STUCK: Final = timedelta(minutes=2)
"""Without a round of the runner: far longer than it waits for a store that is away, or for its turn to write."""


class NotWellError(Exception):
    """What is wrong, as a sentence: the answer to a probe is no."""


class Answer(msgspec.Struct, frozen=True):
    """An answer, in the words of HTTP. kind: the Content-Type."""

    status: int
    text: str
    kind: str = PLAIN


class Probes(Protocol):
    """What can be asked of a process. Each raises NotWellError where the answer is no. Safe from any thread."""

    def live(self) -> None:
        """Return where starting this process anew would help nothing."""
        ...

    def ready(self) -> None:
        """Return where it does its work."""
        ...

    def metrics(self) -> str: ...


class StoreProbes:
    """Of a process that looks at a store, and runs nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._metrics = Look(partial(exposition, store), period=_PERIOD)

    def live(self) -> None: ...

    def ready(self) -> None:
        try:
            self._store.paused("")  # a look that costs nothing, but that the store must answer
        except WorkqueueError as error:
            raise NotWellError(f"the store does not answer: {error}") from error

    def metrics(self) -> str:
        return self._metrics.answer()


class QueueProbes(StoreProbes):
    """Of a process that runs the jobs of a queue, once it has begun to."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(queue._open_store())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one of us
        self._queue = queue

    def live(self) -> None:
        pulse = self._queue.pulse()
        if pulse is None:
            raise NotWellError("the runner has ended")
        if pulse.turned > STUCK:
            raise NotWellError(f"the runner has done nothing for {pulse.turned.total_seconds():.0f} s")

    def ready(self) -> None:
        self.live()
        pulse = self._queue.pulse()
        if pulse is None or pulse.stopping:
            raise NotWellError("the runner takes no new jobs: it ends")
        super().ready()


class Beginning:
    """Of a process that has not begun to work: it imports its program."""

    def live(self) -> None: ...

    def ready(self) -> None:
        raise NotWellError("the program is being imported")

    def metrics(self) -> str:
        return ""


def answer(probes: Probes, path: str) -> Answer | None:
    """Answer what is asked at `path`; None where nothing is."""
    try:
        match path:
            case "/metrics":
                return Answer(200, probes.metrics(), CONTENT_TYPE)
            case "/livez":
                probes.live()
            case "/readyz":
                probes.ready()
            case _:
                return None
    except NotWellError as error:
        return Answer(503, f"{error}\n")
    except WorkqueueError as error:
        return Answer(503, f"expected the store to answer: {error}\n")
    except Exception:
        log.exception("%s could not be answered", path)
        return Answer(500, "an error of workqueue's; its log has it\n")
    return Answer(200, "ok\n")

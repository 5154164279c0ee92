"""The queues that a program has open: closed when it ends, and made sound in a child that it forks."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable
from typing import Protocol

from workqueue.logs import Log

log = Log("workqueue.queue")


class Closable(Protocol):
    """A queue, as far as this is concerned."""

    def close(self) -> None: ...
    def forget_locks(self) -> None: ...


_open: weakref.WeakSet[Closable] = weakref.WeakSet()


def remember(queue: Closable) -> None:
    """Let the queue be closed at the end of the program, unless it is before."""
    _open.add(queue)


def forget(queue: Closable) -> None:
    """The queue is closed."""
    _open.discard(queue)


@atexit.register
def _close_all() -> None:
    """Drain what a program forgot to close; its worker threads would be cut off in the middle of a job."""
    _of_each("close", lambda queue: queue.close())


def _of_each(verb: str, act: Callable[[Closable], None]) -> None:
    for queue in list(_open):
        try:
            act(queue)
        except Exception as error:  # noqa: BLE001 - of this one; the others' jobs are not to be cut off for it
            log.error("%r did not %s at the end of the program: %s", queue, verb, error)


def _forget_locks() -> None:
    """In a forked child: whoever holds the parent's locks does not exist here."""
    for queue in list(_open):
        queue.forget_locks()


os.register_at_fork(after_in_child=_forget_locks)

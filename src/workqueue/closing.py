"""The queues that a program has open: closed when it ends, and made sound in a child that it forks."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import thread as pools
from contextlib import suppress
from typing import Protocol

from workqueue.logs import Log

log = Log("workqueue.queue")


class Closable(Protocol):
    """A queue, as far as this is concerned."""

    def stop(self) -> None: ...
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


def _drain_early() -> None:
    """Let jobs end while thread pools take work still; unless the program goes on in other threads, and needs them."""
    if not _goes_on():
        _of_each("stop", lambda queue: queue.stop())


def _goes_on() -> bool:
    """Say whether Python waits for another thread of the program; idle ones of a pool end with it."""
    frames = sys._current_frames()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - documented, for all its name
    return any(
        thread not in (threading.main_thread(), threading.current_thread())
        and not thread.daemon
        and (thread.ident not in frames or frames[thread.ident].f_globals.get("__name__") != pools.__name__)
        for thread in threading.enumerate()
    )


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


# Python shuts all pools before it calls what atexit has, and only this private function comes before that: what was
# registered last is called first, and the import above has registered the pools' own end.
_register_early = getattr(threading, "_register_atexit", None)
if _register_early is not None:
    with suppress(RuntimeError):  # the end has begun already
        _register_early(_drain_early)
os.register_at_fork(after_in_child=_forget_locks)

"""Which code is inside whose open transaction: what that code pushes joins it.

A context variable and not the thread's own, because on an event loop many jobs share a thread.
"""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar, Token
from typing import TypeAlias

from workqueue.errors import UsageError

Joined: TypeAlias = "Token[tuple[Opened, ...]]"


class Opened:
    """A guest's transaction, as the context that opened it knows it. Copies of the context may outlive it.

    database: whatever names the database; compared by identity.
    """

    def __init__(self, database: object, connection: object, now: int) -> None:
        self.database = database
        self.connection = connection
        self.now = now
        self.thread = threading.get_ident()
        self.alive = True

    def join(self) -> Joined:
        """Let what this context does from now on be part of the transaction."""
        return _opened.set((*_opened.get(), self))

    def leave(self, token: Joined | None) -> None:
        """End that, for copies of the context too. None: joining was interrupted."""
        self.alive = False
        if token is not None:
            _opened.reset(token)


_opened: ContextVar[tuple[Opened, ...]] = ContextVar("workqueue_transactions", default=())


def opened_by_us(database: object) -> Opened | None:
    """Give the transaction of `database` that this code is inside of.

    Raises UsageError on another thread that carries a copy of the context: the connection is in use here.
    """
    for opened in _opened.get():
        if opened.database is database and opened.alive:
            if opened.thread != threading.get_ident():
                raise UsageError(
                    "expected no await inside a transaction's block, but another thread acts in its name (to_thread?)"
                )
            return opened
    return None


def over() -> UsageError:
    """Give the error for what is to be done in a transaction that has ended."""
    return UsageError(
        "expected the transaction to be open until its block ends, but it is over: the block has ended, or an "
        "error has rolled it back; leave that to the block"
    )


def refuse_child(pid: int) -> None:
    """Raise UsageError in another process than `pid`, which began the transaction: its connection is that one's."""
    if os.getpid() != pid:
        raise UsageError(
            "expected a transaction's block to be used and left by the process that began it, but this one was forked "
            "inside, and has done nothing of it; end the child inside the block by os._exit(), or fork outside of it"
        )


def forget() -> None:
    """In a forked child: the transactions that the parent has open are not ours."""
    _opened.set(())

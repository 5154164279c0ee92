"""Listener: hears the pushes of other processes, tells them of ours, and is the session by which a death is seen.

Only a hint: what it misses costs a poll, never a job. Its connection is its own, so that no transaction of anybody
waits for it, and NOTIFY, which takes a lock of the whole database at its commit, is never in theirs: whatever is pushed
within a moment is one NOTIFY for each queue. Behind a pooler that shares sessions it is silent.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import psycopg

from workqueue.errors import StoreError
from workqueue.logs import Log
from workqueue.store.postgres.address import Address
from workqueue.store.postgres.connection import Connection, Pool, connect, jitter

log = Log("workqueue.store")

_CALM: Final = 0.02  # seconds between one NOTIFY of a process and its next
_LISTENS: Final = 5.0  # seconds of silence after which the session is tried
_LONGEST: Final = 10


class Place(NamedTuple):
    """What stands on the list of runners beside a runner's id and its session. started_at: in microseconds."""

    queue: str
    label: str
    started_at: int


class RunnerBell:
    """The bell of one runner of this process."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.queue = place.queue
        self._rung = threading.Event()

    def wait(self, timeout: float) -> None:
        self._rung.wait(min(max(0.0, timeout), threading.TIMEOUT_MAX))
        self._rung.clear()

    def ring(self) -> None:
        self._rung.set()


class Session:
    """The server's process of our listening connection. start: when it began, in microseconds since 1970."""

    def __init__(self, pid: int, start: int) -> None:
        self.pid = pid
        self.start = start


class Listener:
    """See the module. Begins with the first runner; thread-safe."""

    def __init__(self, address: Address, pool: Pool) -> None:
        self._address = address
        self._pool = pool
        self._me = secrets.token_hex(8)
        self._channel = address.schema
        self._lock = threading.Lock()
        self._bells: dict[int, RunnerBell] = {}
        self._to_tell: set[str] = set()
        self._told = threading.Condition()
        self._listening: threading.Thread | None = None
        self._telling: threading.Thread | None = None
        self._connection: Connection | None = None
        self._session: Session | None = None
        self._known = threading.Event()  # whether there is a session, or can be none
        self._closed = threading.Event()
        self.torn_at = 0  # when our session began that followed one which broke, as `Session.start`
        self._moved: Callable[[Session], None] = lambda _session: None

    # runners

    def session(self, moved: Callable[[Session], None]) -> Session | None:
        """Give the session that ends with this process; None where it cannot be told. moved: called with another."""
        self._moved = moved
        with self._lock:
            if self._listening is None and not self._closed.is_set():
                self._listening = threading.Thread(target=self._listen, name="workqueue listener", daemon=True)
                self._listening.start()
        self._known.wait(5.0)
        return self._session

    def add(self, runner: int, place: Place, seen: Session | None) -> Session | None:
        """Let the runner have a bell; give the session that it is to be tied to by now, where it is not `seen`."""
        self._bells[runner] = RunnerBell(place)
        return None if self._session is seen else self._session

    def remove(self, runner: int) -> None:
        self._bells.pop(runner, None)

    def bell(self, runner: int) -> RunnerBell:
        return self._bells[runner]

    def runners(self) -> dict[int, Place]:
        return {runner: bell.place for runner, bell in self._bells.copy().items()}

    # waking

    def ring(self, queue: str) -> None:
        """Wake the queue's runners: ours now, those of other processes in a moment."""
        self._ring_ours(queue)
        with self._told:
            if self._closed.is_set():
                return
            self._to_tell.add(queue)
            if self._telling is None:
                self._telling = threading.Thread(target=self._tell, name="workqueue notifier", daemon=True)
                self._telling.start()
            self._told.notify()

    def _ring_ours(self, queue: str) -> None:
        for bell in list(self._bells.values()):
            if bell.queue == queue:
                bell.ring()

    def _tell(self) -> None:
        while True:
            with self._told:
                while not self._to_tell and not self._closed.is_set():
                    self._told.wait()
                queues, self._to_tell = self._to_tell, set()
            if not queues:
                return
            try:
                with self._pool.lend() as connection:
                    for queue in queues:
                        connection.ask("notify", {"channel": self._channel, "queue": f"{self._me} {queue}"})
            except Exception as error:  # noqa: BLE001 - others would hear of none of our pushes any more
                _note(error, "could not tell others of a push: %s; they poll", error)
            self._closed.wait(_CALM)

    def _listen(self) -> None:
        tries = 0
        while not self._closed.is_set():
            try:
                with connect(self._address) as connection:
                    if connection.pooled:
                        log.info(
                            "a pooler stands before %s: runners poll, and their death is seen by their leases alone",
                            self._address.shown,
                        )
                        self._known.set()
                        return
                    tries = 0
                    self._hear(connection)
            except Exception as error:  # noqa: BLE001 - without this thread the process looks dead
                if not self._closed.is_set():
                    _note(error, "listening at %s: %s; again in a moment", self._address.shown, error)
            tries = min(tries + 1, _LONGEST)
            self._closed.wait(jitter(tries))

    def _hear(self, connection: Connection) -> None:
        row = connection.one("session")
        connection.ask("listen")
        self._connection = connection
        if self._session is not None:
            self.torn_at = row[1]
        self._session = Session(row[0], row[1])
        self._known.set()
        self._moved(self._session)
        for bell in list(self._bells.values()):  # what was told meanwhile was not heard
            bell.ring()
        while not self._closed.is_set():
            for told in connection.notifies(timeout=_LISTENS, stop_after=1):
                sender, _, queue = told.payload.partition(" ")
                if sender != self._me:
                    self._ring_ours(queue)
            connection.ask("backend")  # a line that is dead at the other end alone shows itself

    def close(self) -> None:
        """End the session and both threads."""
        self._closed.set()
        with self._told:
            self._told.notify_all()
        connection = self._connection
        if connection is not None:
            with suppress(psycopg.Error, OSError):
                _wake(connection)
        for thread in (self._telling, self._listening):
            if thread is not None and thread is not threading.current_thread():
                thread.join(timeout=2 * _LISTENS)


def _note(error: Exception, message: str, *args: object) -> None:
    """Log that a thread goes on after an error: those of the server are usual, any other is for people to see."""
    if isinstance(error, psycopg.Error | StoreError):
        log.debug(message, *args)
    else:
        log.warning(message, *args, exc_info=error)


def _wake(connection: Connection) -> None:
    """Let a thread that waits on the connection's socket go on: it finds it closed."""
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)

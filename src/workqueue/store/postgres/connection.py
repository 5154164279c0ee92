"""One connection to a PostgreSQL server: its settings, its statements by name, and the server's errors in our words."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar, cast
from weakref import WeakSet

import psycopg
from psycopg import errors, pq
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import Int8Dumper

from workqueue.errors import QueueFull, QueueMoved, StoreUnavailable, UnsuitableFile, UsageError
from workqueue.store.postgres.address import Address
from workqueue.store.postgres.asking import Asking
from workqueue.store.postgres.permits import Permits
from workqueue.store.postgres.silence import watched
from workqueue.store.relational.session import Row
from workqueue.store.relational.terms import MetAnotherError

T = TypeVar("T")

_LOOKS: Final = 0.1  # seconds between looks for a Ctrl-C
IDLE: Final = 10  # seconds that a transaction of ours may idle before the server ends it
LOCKED: Final = 5.0  # seconds that one of ours waits for what another transaction holds, before it tries anew
MOST: Final = 20  # connections of a process that are lent at once
_PATIENCE: Final = 30.0  # seconds to wait for one of them
SETTINGS: Final[Mapping[str, str]] = {
    "application_name": "workqueue",
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "client_encoding": "utf8",
    "target_session_attrs": "read-write",
}

_USUAL: Final = ("seqscan", "jit", "locked")
_AGAIN: Final = ("40001", "40P01", "55P03", "57014")
_AWAY: Final = ("08", "57P", "25006", "25P03", "25P04", "53300", "53400")
_FULL: Final = ("53100",)
_MOVED: Final = "WQ001"  # by a trigger of ours


class Connection(psycopg.Connection[tuple[Any, ...]], Asking):
    """A connection of the pool, in autocommit: each statement is a transaction, but between `begin` and `commit`.

    pooled: a pooler stands between, so that nothing of a session lasts. is_known: its first statement was answered.
    is_changed: a guest did what would be found by those it is lent to later. usual: the server's settings for plans and
    locks, where ours are others.
    """

    address: Address
    pooled = False
    is_known = False
    is_changed: bool = False
    usual: Row | None

    def cursor_of_ours(self) -> psycopg.Cursor[tuple[Any, ...]]:
        return self.cursor(binary=True)

    def wait(self, gen: PQGen[T], interval: float = _LOOKS, timeout: float | None = None) -> T:
        """See psycopg. Raises OperationalError when the server does nothing for us any more, and no answer comes."""
        if timeout is None:
            return super().wait(watched(gen, self), interval)
        return super().wait(gen, interval, timeout)

    def is_forgotten(self) -> bool:
        """Say whether the server works on nothing for us, or takes no connections."""
        if self.pooled:  # who serves us cannot be told; between it and the server, the pooler looks after its lines
            return False
        if not self.is_known:
            return True
        try:
            with connect(self.address) as other:
                other.is_known = False
                return not other.one("is_at_it", {"pid": self.info.backend_pid})[0]
        except psycopg.Error as error:  # a server that is up may have no connection left for the question
            info = self.info  # of several in the URL, that one
            answer = _ping(self.address, error, host=info.host, hostaddr=info.hostaddr, port=info.port)
            return answer != pq.Ping.OK

    def begin(self, now: int | None, *, gated: bool, ours: bool = True) -> int:
        """Begin a transaction; give the store's time: `now`, if given. ours: no code of others runs in it."""
        self.to_wake = set()
        with self.pipeline():
            self.ask("begin")
            if ours:
                self.hurry()
            elif self.usual is not None:
                self.ask("plan_as_before", self.usual)
            if gated:
                self.gate()
            begun = self.ask("begun", {"now": now})
        [found] = begun.fetchall()
        return cast("int", found[0])

    def hurry(self) -> None:
        """From here to the end of the transaction no code of others runs, and nobody is to be kept waiting."""
        self.ask("impatient", {"idle": f"{IDLE}s", "locked": _milliseconds(LOCKED)})

    def commit_as(self, token: int, now: int | None) -> None:
        """Commit, and let the transaction be known by the token: see `Database.commit`."""
        with self.pipeline():
            self.ask("mark", {"token": token, "now": now})
            self.ask("commit")

    def roll_back(self) -> None:
        """End what is open, if anything is; a connection that cannot is closed."""
        if self.closed or self.info.transaction_status is pq.TransactionStatus.IDLE:
            return
        try:
            self.rollback()  # psycopg's own: by it alone it forgets what it took for prepared, and the server skipped
        except psycopg.Error:
            self.close()


_opened: WeakSet[Connection] = WeakSet()


def connect(address: Address) -> Connection:
    """Open a connection. Raises psycopg's own errors."""
    connection = Connection.connect(address.url, autocommit=True, **cast("dict[str, Any]", _settings(address)))
    _opened.add(connection)
    connection.address = address
    connection.stand_in(address)
    connection.adapters.register_dumper(int, Int8Dumper)
    with _closed_on_error(connection):
        row = connection.one("backend")
        # A pooler answers for the server, and gives a number of its own.
        connection.pooled = row[0] != connection.info.backend_pid
        connection.is_known = True
        connection.usual = None
        if not reads_strings_plainly(connection):
            connection.ask("read_strings_plainly")
        if connection.pooled:
            connection.prepare_threshold = None  # so each plan is made for the tables as they are
        else:
            before = connection.one("plan_by_index", {"locked": _milliseconds(LOCKED)})
            connection.usual = dict(zip(_USUAL, before, strict=False))
    return connection


def reads_strings_plainly(connection: psycopg.Connection[Any]) -> bool:
    """Say whether a backslash is one: standard_conforming_strings, which the server tells of whenever it changes."""
    return connection.info.parameter_status("standard_conforming_strings") == "on"


def let_go_of_inherited() -> None:
    """In a forked child: close the parent's sockets here, without a word to the server.

    Which would take the parent for alive for as long as somebody has them.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for connection in list(_opened):
        with suppress(psycopg.Error):  # it is closed
            os.dup2(nothing, connection.fileno(), inheritable=False)
    os.close(nothing)
    _opened.clear()


def _settings(address: Address) -> dict[str, str]:
    given = conninfo_to_dict(address.url)
    return {name: value for name, value in SETTINGS.items() if name not in given}


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def jitter(tries: int) -> float:
    """Give the seconds to wait before another try."""
    return random.uniform(0.005, min(1.0, 0.02 * 2**tries))  # noqa: S311 - jitter, guards no secret


def is_starting(address: Address, error: BaseException) -> bool:
    """Say of a connection that failed whether the server is there, and takes none yet."""
    return is_lost(error) and _ping(address, error) == pq.Ping.REJECT


def _ping(address: Address, error: BaseException, **there: str | int) -> int:
    """Say how the server takes connections, where one failed by this error.

    The driver lets no thread run meanwhile: so nobody is asked who was silent before.
    """
    if isinstance(error, errors.ConnectionTimeout):
        return pq.Ping.NO_RESPONSE
    return pq.PGconn.ping(make_conninfo(address.url, **{"connect_timeout": 2, **there}).encode())


def is_lost(error: BaseException) -> bool:
    """Say whether the connection broke, or the server cannot serve us just now."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate.startswith(_AWAY)
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def is_worth_another_try(error: BaseException) -> bool:
    """Say whether the same transaction may do better: it met another, and was rolled back."""
    if isinstance(error, MetAnotherError):  # whoever had the key first is seen by the next try
        return True
    if isinstance(error, errors.UniqueViolation):
        # The next try gets the id after one that a runner had before.
        return error.diag.constraint_name == "runners_pkey"
    return isinstance(error, psycopg.Error) and error.sqlstate in _AGAIN


def in_our_words(error: psycopg.Error | MetAnotherError, shown: str) -> Exception:
    """Give the error of ours that says what to do about the server's; the error itself where it is our own mistake."""
    if isinstance(error, MetAnotherError):
        return StoreUnavailable(
            "expected to see which job has the key, but another transaction took it meanwhile, and this one does not "
            "show whose: roll back and do it again; in REPEATABLE READ and SERIALIZABLE a transaction sees nothing "
            "that was committed since it began",
            path=shown,
        )
    said = f"{str(error).strip()} ({error.sqlstate or type(error).__name__})"
    state = error.sqlstate or ""
    if state == _MOVED:
        return QueueMoved(shown)
    if state.startswith(_FULL):
        return QueueFull(f"expected room to write {shown}, but the server's disk is full: {said}", path=shown)
    if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName | errors.UndefinedColumn):
        return UnsuitableFile(f"expected the tables of workqueue in {shown}, got: {said}", path=shown)
    if isinstance(error, errors.InsufficientPrivilege):
        return StoreUnavailable(
            f"expected the role to have rights on the tables of {shown}, got: {said}; docs/postgres.md says which",
            path=shown,
        )
    if isinstance(error, errors.InFailedSqlTransaction):
        return UsageError(
            "expected the block to end with the error that a statement raised in it, but it went on: PostgreSQL has "
            "rolled back; let the error leave the block, or ROLLBACK TO a SAVEPOINT set before what may fail"
        )
    if state.startswith("40"):
        return StoreUnavailable(
            f"expected no other transaction on {shown} in the way, got: {said}; roll back and do it again", path=shown
        )
    if isinstance(error, errors.LockNotAvailable):
        return StoreUnavailable(
            f"expected other transactions on {shown} to let go within moments, got: {said}; look in pg_stat_activity "
            "for a session that is idle in a transaction",
            path=shown,
        )
    if is_lost(error) or state.startswith(("57", "53", "55", "58", "XX")):
        return StoreUnavailable(f"expected an answer from {shown}, got: {said}; is the server up?", path=shown)
    return error


def not_the_statements_fault(error: psycopg.Error, shown: str) -> Exception | None:
    """Give the error of ours for one that a guest's statement met with, and None where its own mistake made it."""
    state = error.sqlstate or ""
    if is_lost(error) or state.startswith((*_FULL, "40", "58", "XX")):
        return in_our_words(error, shown)
    return None


@contextmanager
def translated(shown: str) -> Generator[None]:
    """Turn what the server raises inside the block into our errors, its own words in `__cause__`."""
    try:
        yield
    except (psycopg.Error, MetAnotherError) as error:
        ours = in_our_words(error, shown)
        if ours is error:
            raise
        raise ours from error


@contextmanager
def _closed_on_error(connection: Connection) -> Generator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


class Pool:
    """The connections of a process that nobody uses just now; one more is opened when there is none. Thread-safe.

    A library's pool keeps threads of its own to open them beforehand; here whoever wants one waits for it anyway, and
    must see the error.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.greet: Callable[[Connection], object] = lambda _connection: None  # looks at each that is opened
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self.losses = 0  # connections that broke while they were lent
        self._permits = Permits(MOST)
        self._closed = False
        self._pid = os.getpid()

    @contextmanager
    def lend(self, *, leaving: int = 0) -> Generator[Connection]:
        """Lend a connection; what it is given back with open is rolled back. Raises StoreUnavailable.

        leaving: so many are not lent, but kept for others.
        """
        permit = self._permits.take(leaving=leaving, patience=_PATIENCE)
        if permit is None:
            raise StoreUnavailable(
                f"expected a connection to {self.address.shown} to be free within {_PATIENCE:.0f} s, but transactions "
                f"hold all {MOST - leaving}",
                path=self.address.shown,
            )
        try:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = connect(self.address)
                with _closed_on_error(connection):
                    self.greet(connection)
            try:
                yield connection
            except psycopg.Error as error:
                if is_lost(error):  # the driver does not always notice
                    connection.close()
                raise
            finally:
                if self._pid == os.getpid():  # else it is the parent's, who may have held our copy of the lock
                    connection.roll_back()
                    self._take_back(connection)
        finally:
            del permit  # also from the traceback of an error that somebody keeps

    def _take_back(self, connection: Connection) -> None:
        with self._lock:
            if not (connection.closed or connection.broken or connection.is_changed or self._closed):
                self._idle.append(connection)
                return
            self.losses += connection.closed or connection.broken
        connection.close()

    def forget(self) -> None:
        """Close those that nobody uses: one that broke tells that the others may have, too."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        self._closed = True
        self.forget()

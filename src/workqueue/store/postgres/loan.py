"""Loan: the application's own connection to the queue's database, lent for a push in its open transaction.

What is done on it is the application's to commit or to roll back, and its settings stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple, TypeGuard, TypeVar
from weakref import WeakSet

import psycopg
from psycopg import errors, pq
from psycopg.adapt import AdaptersMap
from psycopg.rows import tuple_row
from psycopg.types.numeric import Int8Dumper

from workqueue.errors import SchemaOutdated, StoreUnavailable, UsageError
from workqueue.store.lender import Lender, failed, lender, no_lender, not_open
from workqueue.store.postgres.address import Address
from workqueue.store.postgres.asking import Asking
from workqueue.store.postgres.connection import reads_strings_plainly, translated
from workqueue.store.postgres.statements import VERSION
from workqueue.store.relational.pushing import all_or_none
from workqueue.store.relational.session import Row

T = TypeVar("T")

_INSERT: Final = frozenset({"push_within", "insert", "add_terms", "begun", "begin_push", "end_push"})
_SEES_OTHERS: Final = ("read committed", "read uncommitted")  # to PostgreSQL they are the same
_ADAPTERS: Final = AdaptersMap(psycopg.adapters)
_ADAPTERS.register_dumper(int, Int8Dumper)


class Place(NamedTuple):
    """What tells a store, in a database of a server, from every other: its id, the database's, the server's start."""

    store: str
    database: int
    started: int


class Loan(Asking):
    """A lent connection as a `relational.session.Session`."""

    is_lent = True

    def __init__(self, connection: psycopg.Connection[Any], address: Address, lent: Lender) -> None:
        self.connection = connection
        self.lender = lent
        self.stand_in(address)

    @property
    def info(self) -> psycopg.ConnectionInfo:
        return self.connection.info

    def cursor_of_ours(self) -> psycopg.Cursor[tuple[Any, ...]]:
        return _Cursor(self.connection)

    def prepares(self, statement: str) -> bool | None:
        # A plan that is kept for long must not be one for small tables; those which insert search in none.
        return None if statement in _INSERT else False

    def begin(self) -> bool:
        """See that a transaction is open, or begins with the first statement; say whether it is that."""
        said = self.lender.said
        status = pq.TransactionStatus.UNKNOWN if self.connection.closed else self.info.transaction_status
        match status:
            case pq.TransactionStatus.INTRANS:
                return False
            case pq.TransactionStatus.IDLE if not self.connection.autocommit:
                return True
            case pq.TransactionStatus.IDLE:
                raise not_open(said, "push inside `with connection.transaction():`")
            case pq.TransactionStatus.INERROR:
                raise failed(said, "a statement raised an error in it")
            case pq.TransactionStatus.ACTIVE:
                raise UsageError(f"expected within= between two statements, but {said} is in the middle of one")
            case _:
                raise UsageError(f"expected within= to be open, but {said} was closed, or has lost its server")

    def gate(self) -> None:
        """See `Asking`. Raises UsageError where the transaction would not see what those before it did."""
        [level] = self.one("setting", {"name": "transaction_isolation"})
        if level not in _SEES_OTHERS:
            raise UsageError(
                "expected within= to be in READ COMMITTED for on_conflict='replace' and for batches, but "
                f"{self.lender.said} is in {level.upper()}, where what others keep back meanwhile is not seen, and "
                "would be let go by nobody; push it in a transaction of that level, or without within="
            )
        super().gate()

    def end(self) -> None:
        """Roll back a transaction that was begun for this alone."""
        if not self.connection.closed and self.info.transaction_status is not pq.TransactionStatus.IDLE:
            with suppress(psycopg.Error):  # with its connection it ends, too
                self.connection.rollback()


class _Cursor(psycopg.Cursor[tuple[Any, ...]]):
    """One that gives plain rows, and knows our types alone, whatever the application has told its connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(connection, row_factory=tuple_row)
        self.format = pq.Format.BINARY

    @property
    def adapters(self) -> AdaptersMap:
        return _ADAPTERS


class Loans:
    """Lends connections to what a Database does within them. Thread-safe.

    ours: gives where our own connections lead. ring: wakes the runners of queues.
    """

    def __init__(
        self, address: Address, *, ours: Callable[[], tuple[Any, ...]], ring: Callable[[set[str]], object]
    ) -> None:
        self._address = address
        self._ours = ours
        self._ring = ring
        self._place: Place | None = None
        self._known: WeakSet[psycopg.Connection[Any]] = WeakSet()  # those that were seen to lead there

    def write(self, within: object, work: Callable[[Loan, int], T], now: int | None, *, gated: bool) -> T:
        """Run `work(session, now)` in the open transaction of the application's connection: all of it, or none.

        Raises UsageError for what is no connection to this database, or has no transaction that can be written in.
        Whatever is raised, the connection is as it was.
        """

        def attempt() -> T:
            if gated:
                loan.gate()
            begun: int = loan.one("begun", {"now": now})[0]
            return work(loan, begun)

        with self._lend(within) as loan:
            return all_or_none(loan, attempt)

    def ask(self, within: object, statement: str, row: Row, queue: str) -> list[tuple[Any, ...]]:
        """Run one statement in that transaction, in one trip; give its rows. queue: whose runners it gives work."""
        with self._lend(within) as loan:
            try:
                with loan.connection.pipeline():
                    loan.ask("begin_push")
                    answer = loan.ask(statement, row)
                    loan.ask("end_push")
                rows = answer.fetchall()
            except BaseException:
                if loan.is_whole():
                    loan.ask("undo_push")
                    loan.ask("end_push")
                    with loan.connection.transaction(force_rollback=True):
                        pass  # so that psycopg forgets what it took for prepared, and the server skipped
                raise
            loan.to_wake.add(queue)
            return rows

    @contextmanager
    def _lend(self, within: object) -> Generator[Loan]:
        lent = lender(within)
        if not _is_psycopgs(lent.connection):
            raise no_lender(lent, f"a psycopg.Connection to {self._address.shown}")
        loan = Loan(lent.connection, self._address, lent)
        if loan.connection.pgconn.pipeline_status != pq.PipelineStatus.OFF:
            raise UsageError(f"expected within= outside of `with connection.pipeline():`, but {lent.said} is in one")
        if not (loan.connection.closed or reads_strings_plainly(loan.connection)):
            raise UsageError(
                f"expected standard_conforming_strings to be on for within=, but {lent.said} has turned it off; data "
                "would be stored as others than they are"
            )
        lent.begin()
        began = loan.begin()
        try:
            with _in_our_words(lent.said, self._address.shown):
                if loan.connection not in self._known:
                    self._meet(loan)
                yield loan
        except BaseException:
            if began:
                loan.end()
            raise
        if lent.tell is not None and loan.to_wake:
            lent.tell(lambda: self._ring(loan.to_wake))

    def _meet(self, loan: Loan) -> None:
        """Raise UsageError where the connection leads elsewhere, SchemaOutdated where it is too new for us."""
        shown = self._address.shown
        try:
            found = all_or_none(loan, lambda: loan.one("place"))
        except (errors.UndefinedTable, errors.InvalidSchemaName, LookupError) as error:
            raise self._elsewhere(loan) from error
        place = Place(*found[:3])
        if place != self._place:  # also when the server was started again
            self._place = Place(*self._ours()[:3])
            if place != self._place:
                raise self._elsewhere(loan)
        version, oldest = found[3:]
        if version > VERSION and oldest > VERSION:
            raise SchemaOutdated(path=shown, found=version, known=VERSION)
        self._known.add(loan.connection)

    def _elsewhere(self, loan: Loan) -> UsageError:
        info = loan.info
        return UsageError(
            f"expected within= to be a connection to the queue's own database, {self._address.shown}, but "
            f"{loan.lender.said} is to database {info.dbname!r} at {info.host or 'a socket'}:{info.port}, which is not "
            "that, or has another store of this name"
        )


def _is_psycopgs(given: object) -> TypeGuard[psycopg.Connection[Any]]:
    return isinstance(given, psycopg.Connection)


@contextmanager
def _in_our_words(said: str, shown: str) -> Generator[None]:
    try:
        with translated(shown):
            yield
    except StoreUnavailable as error:
        if isinstance(error.__cause__, errors.ReadOnlySqlTransaction):
            raise UsageError(
                f"expected within= to have a transaction that may write, but {said} says: {error.__cause__}"
            ) from error.__cause__
        raise
    except UnicodeEncodeError as error:
        raise UsageError(
            f"expected the client_encoding of {said} to have all that is written, but: {error}; use utf8"
        ) from error

"""Session and Database: what the shared steps need of an engine: a way to run its statements by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias, TypeVar

from workqueue.store.headers import Encoded

T = TypeVar("T")

Row: TypeAlias = Mapping[str, object]


class Answer(Protocol):
    """What a statement gave. Lists of plain values come as one row with JSON text; data and results as bytes."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Session(Protocol):
    """A connection as the shared steps see it, inside a transaction that the engine began and will end."""

    @property
    def is_lent(self) -> bool:
        """Say whether the transaction is the application's; the engine undoes what was done when a step raises."""
        ...

    @property
    def to_wake(self) -> set[str]:
        """The queues whose runners, in every process, are to be woken by the commit."""
        ...

    def ask(self, statement: str, row: Row = ..., /) -> Answer:
        """Run the engine's statement of this name. Arrays stand in the row as JSON text."""
        ...

    def insert(self, columns: Row, batch: Sequence[bytes], headers: Encoded, /) -> Sequence[int]:
        """Store new jobs that differ in their data and headers alone; give their ids, rising."""
        ...

    def set_data(self, job: int, data: bytes, was: bytes | None = None, /) -> bool:
        """Give a job that does not run other data; False when it runs, or `was` is told and is not what it has."""
        ...

    def hasten(self, jobs: Sequence[int], now: int, /) -> list[int]:
        """Let those of them that wait for their time be due now; give their ids."""
        ...

    def load(self, table: str, rows: Sequence[tuple[Any, ...]], /) -> None:
        """Store whole rows, with the columns of `relational.rows` in their order."""
        ...

    def continue_ids(self, last_job: int, last_batch: int, /) -> None:
        """Give out no id up to these any more."""
        ...

    def gate(self) -> None:
        """Hold off whoever else judges, starts or ends jobs with terms, until the transaction ends; twice is once."""
        ...

    def is_whole(self) -> bool:
        """Say whether the transaction is still open, and what was done in it can be undone in part."""
        ...


class Database(Protocol):
    """An engine's way to read and write; see its own for what it does about ambiguity, patience and joining."""

    def write(
        self,
        work: Callable[[Session, int], T],
        landed: Callable[[Session, T], bool],
        /,
        *,
        gated: bool = True,
        within: object | None = None,
    ) -> T:
        """Run `work(session, now)` in a write transaction; gated: no other gated one is beside it, as terms want it.

        landed: says, after a commit of unknown fate, whether what `work` gave is there. within: the application's
        connection, in whose open transaction to do it instead; `work` may be run again there.
        """
        ...

    def read(self, work: Callable[[Session], T], /) -> T:
        """Run `work(session)`, which only reads and must fetch all it reads."""
        ...

    def look(self) -> AbstractContextManager[Session]:
        """Lend a session that reads, and sees everything as it is now however long the block takes."""
        ...

    def clock(self) -> int:
        """Give the store's time, in microseconds since 1970."""
        ...

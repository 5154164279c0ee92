"""Whole rows of a store, page by page: what a copy reads of one store and writes into another, whatever their engines.

A row is a tuple of plain values in the order of the `export_*` and `import_*` statements. In one respect it is not what
the tables hold: a retry rule stands in it as itself, and not as the number that it has in that store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from workqueue.errors import UsageError
from workqueue.store.relational.session import Session

Row: TypeAlias = tuple[Any, ...]
Key: TypeAlias = Sequence[str | int]

_TEXTS: Final = frozenset({"queue", "name", "key", "lane"})
_BACKOFF: Final = 10  # its place in a row of jobs, and in one of those that completed
_SMALLEST, _LARGEST = 100, 5_000  # rows of a page
_ENOUGH: Final = 4_000_000  # bytes of a page
_encode = msgspec.msgpack.Encoder().encode


class Table(NamedTuple):
    """key: the columns that rows are ordered by, and their places. queue: its place. told: places of free text."""

    name: str
    key: Mapping[str, int]
    queue: int | None = None
    told: tuple[int, ...] = ()

    def start(self) -> list[str | int]:
        """Give a key before all others."""
        return ["" if column in _TEXTS else -1 for column in self.key]

    def key_of(self, row: Row) -> list[str | int]:
        return [row[place] for place in self.key.values()]


JOBS: Final = Table("jobs", {"id": 0}, queue=1, told=(18,))
COMPLETED: Final = Table("completed", {"id": 0}, queue=1)
TABLES: Final = (
    JOBS,
    Table("terms", {"job": 0}, queue=1),
    Table("attempts", {"job": 0, "attempt": 1}, told=(2, 6, 7)),
    Table("results", {"job": 0}),
    Table("progress", {"job": 0}),
    Table("batches", {"id": 0}, queue=1),
    Table("pauses", {"queue": 0, "name": 1}, queue=0),
    Table("schedules", {"queue": 0, "name": 1}, queue=0),
    Table("taken_keys", {"queue": 0, "name": 1, "key": 2}, queue=0),
    Table("starts", {"queue": 0, "lane": 1, "at": 2}, queue=0),
    Table("closed_lanes", {"queue": 0, "lane": 1}, queue=0),
    COMPLETED,
    Table("figures", {"span": 0, "start": 1, "queue": 2, "name": 3}, queue=2),
)
_RULED: Final = (JOBS, COMPLETED)  # they have a retry rule
BY_NAME: Final = {table.name: table for table in TABLES}


class Reader:
    """Reads a store as it was when the session began to look. last: the ids given out last; none above is read."""

    def __init__(self, session: Session, last: tuple[int, int] | None = None) -> None:
        self._session = session
        given_out: tuple[int, int] = last or session.ask("last_ids").fetchone()
        self.last_job, self.last_batch = given_out
        self._rules: dict[int, str] = dict(session.ask("export_backoffs").fetchall())
        self._limit = _SMALLEST

    def count(self, after: Key) -> int:
        """Count the jobs after this one."""
        return int(self._session.ask("count_jobs", {"id": after[0], "last": self.last_job}).fetchone()[0])

    def page(self, table: Table, after: Key) -> list[Row]:
        """Give the rows after this key, as many as are good to hold; none at the end."""
        last = self.last_batch if table.name == "batches" else self.last_job
        given = {**dict(zip(table.key, after, strict=True)), "last": last, "limit": self._limit}
        rows: list[Row] = self._session.ask(f"export_{table.name}", given).fetchall()
        self._note_size(rows)
        if table in _RULED:
            rules = self._rules
            rows = [(*row[:_BACKOFF], rules[row[_BACKOFF]], *row[_BACKOFF + 1 :]) for row in rows]
        for place in table.told:
            if any("\0" in row[place] for row in rows):  # which not every engine's text has a place for
                rows = [(*row[:place], row[place].replace("\0", "\ufffd"), *row[place + 1 :]) for row in rows]
        return rows

    def _note_size(self, rows: list[Row]) -> None:
        """Let the next page be larger, or smaller, by what this one came to."""
        size = sum(len(value) for row in rows for value in row[-1:] if isinstance(value, str | bytes))
        if size > _ENOUGH:
            self._limit = max(1, self._limit // 4)
        elif len(rows) == self._limit:
            self._limit = min(_LARGEST, self._limit * 2)

    def sums(self, tell: Callable[[int], object]) -> dict[tuple[str, str], tuple[int, str]]:
        """Give, for each table and queue, how many rows there are and a checksum of them, whatever their order.

        tell: hears of how many jobs more have been read.
        """
        counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        sums: defaultdict[tuple[str, str], int] = defaultdict(int)
        for table in TABLES:
            after = table.start()
            while rows := self.page(table, after):
                for row in rows:
                    place = (table.name, "" if table.queue is None else row[table.queue])
                    counts[place] += 1
                    sums[place] += int.from_bytes(blake2b(_encode(row), digest_size=8).digest())
                after = table.key_of(rows[-1])
                if table is JOBS:
                    tell(len(rows))
        return {place: (count, f"{sums[place] % 2**64:016x}") for place, count in counts.items()}


def store(session: Session, table: Table, rows: Sequence[Row]) -> None:
    """Store a page of rows. Raises UsageError where the store's text has no place for them."""
    if table in _RULED:
        ids = {rule: _backoff_id(session, rule) for rule in {row[_BACKOFF] for row in rows}}
        rows = [(*row[:_BACKOFF], ids[row[_BACKOFF]], *row[_BACKOFF + 1 :]) for row in rows]
    elif table.name == "starts":
        rows = [row[:3] for row in rows for _ in range(row[3])]
    try:
        session.load(table.name, rows)
    except ValueError as error:
        bad = next((row for row in rows if any(isinstance(value, str) and "\0" in value for value in row)), None)
        if bad is None:
            raise UsageError(
                f"expected a target that nobody uses before the copy is done, got in {table.name}: {error}"
            ) from error
        raise UsageError(
            f"expected names and keys without NUL, which PostgreSQL's text has no place for, got in {table.name}: "
            f"{table.key_of(bad)!r}; cancel and clean what has them"
        ) from error


def _backoff_id(session: Session, rule: str) -> int:
    session.ask("add_backoff", {"rule": rule})
    return int(session.ask("backoff_id", {"rule": rule}).fetchone()[0])

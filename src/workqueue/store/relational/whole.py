"""A store as a whole: what a copy does with either side of it. `store/copying.py` says in which order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from workqueue.errors import UsageError
from workqueue.store.relational.rows import TABLES, Key, Reader, Row, Table, store
from workqueue.store.relational.session import Database, Session

_SHUT: Final = ("jobs", "claims", "cleaning", "completed", "runners", "batches", "schedules")
_encode = msgspec.json.encode
_key = msgspec.json.Decoder(list[str | int])


class Move(msgspec.Struct, frozen=True):
    """What the source knows of a move. id: of this one; target: where to, without a password."""

    id: str
    target: str
    done: bool


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """What the target knows of a copy, and how far it is: at the table `step`, after the key `after`.

    move: of the source; '' for a snapshot. last_job, last_batch: the ids that the source had given out.
    """

    source_id: str
    source: str
    move: str
    step: str
    after: tuple[str | int, ...]
    last_job: int
    last_batch: int
    done: bool = False


class Whole:
    """See the module. Each verb that writes is one transaction."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self._database = database

    def id(self) -> str:
        return str(self._database().read(lambda session: session.ask("store_id").fetchone()[0]))

    @contextmanager
    def look(self, last: tuple[int, int] | None = None) -> Generator[Reader]:
        """Lend what reads the rows as they are now, however long the block takes."""
        with self._database().look() as session:
            yield Reader(session, last)

    # as a source

    def move(self) -> Move | None:
        """Give the move that closed this store."""
        rows = self._database().read(lambda session: session.ask("moves").fetchall())
        return Move(rows[0][0], rows[0][1], rows[0][2] is not None) if rows else None

    def shut(self, move: Move) -> None:
        """Take no new work, and run none, in any process, until `reopen`."""

        def work(session: Session, now: int) -> None:
            for what in _SHUT:
                session.ask(f"shut_{what}")
            session.ask("move", {"move": move.id, "target": move.target, "now": now})

        self._database().write(work, lambda session, _none: bool(session.ask("moves").fetchall()))

    def reopen(self) -> bool:
        """Be again as before `shut`; False when nothing had shut this store."""

        def work(session: Session, now: int) -> bool:
            del now
            for what in _SHUT:
                session.ask(f"open_{what}")
            return bool(session.ask("forget_moves").rowcount)

        return self._database().write(work, lambda session, _found: not session.ask("moves").fetchall())

    def note_moved(self) -> None:
        self._database().write(lambda session, now: session.ask("moved", {"now": now}), lambda _session, _answer: False)

    # as a target

    def copies(self) -> list[Copy]:
        rows = self._database().read(lambda session: session.ask("copies").fetchall())
        return [
            Copy(
                source_id=row[0],
                source=row[1],
                move=row[2],
                step=row[3],
                after=tuple(_key.decode(row[4])),
                last_job=row[5],
                last_batch=row[6],
                done=row[7] is not None,
            )
            for row in rows
        ]

    def is_empty(self) -> bool:
        return bool(self._database().read(lambda session: session.ask("is_empty").fetchone()[0]))

    def begin(self, copy: Copy) -> None:
        """Keep runners away, and ids free, until `finish`. Raises UsageError where others came first."""

        def work(session: Session, now: int) -> None:
            others = [line for line in session.ask("copies").fetchall() if line[-1] is None]
            if not session.ask("is_empty").fetchone()[0] or others:
                raise UsageError("expected a target that nobody else uses, but jobs came to it just now")
            session.ask("shut_runners")
            session.ask("drop_figures")  # of jobs that are gone; those that come are of the same tables
            session.continue_ids(copy.last_job, copy.last_batch)
            row = {**msgspec.structs.asdict(copy), "after": _encode(copy.after).decode(), "now": now}
            session.ask("begin_copy", row)

        def landed(session: Session, nothing: None) -> bool:
            del nothing
            return any(line[0] == copy.source_id for line in session.ask("copies").fetchall())

        self._database().write(work, landed)

    def drop(self, copy: Copy) -> None:
        """Remove what an unfinished copy has brought, and let runners come."""

        def work(session: Session, now: int) -> None:
            del now
            for table in TABLES:
                name = "all_terms" if table.name == "terms" else table.name
                session.ask(f"drop_{name}", {"last_job": copy.last_job, "last_batch": copy.last_batch})
            session.ask("open_runners")
            session.ask("drop_copy", {"source_id": copy.source_id})

        self._database().write(work, lambda _session, _none: False)

    def take(self, copy: Copy, table: Table | None, rows: Sequence[Row], step: str, after: Key) -> Copy:
        """Store a page, and note in the same transaction that the copy is as far as this; give it so."""
        later = msgspec.structs.replace(copy, step=step, after=tuple(after))
        row = {
            "source_id": copy.source_id,
            "step": step,
            "after": _encode(later.after).decode(),
            "was_step": copy.step,
            "was_after": _encode(copy.after).decode(),
        }

        def work(session: Session, now: int) -> None:
            del now
            if not session.ask("copy_on", row).rowcount:
                raise UsageError("expected to be alone, but another process is at the same copy; let it end")
            if table is not None and rows:
                store(session, table, rows)

        def landed(session: Session, nothing: None) -> bool:
            del nothing
            return any(
                (line[0], line[3], line[4]) == (row["source_id"], row["step"], row["after"])
                for line in session.ask("copies").fetchall()
            )

        self._database().write(work, landed)
        return later

    def finish(self, copy: Copy) -> None:
        """Let runners come."""

        def work(session: Session, now: int) -> None:
            session.ask("open_runners")
            session.ask("copied", {"source_id": copy.source_id, "now": now})

        self._database().write(work, lambda _session, _none: False)

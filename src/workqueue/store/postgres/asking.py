"""Asking: what a connection of psycopg needs beside its own to be a `relational.session.Session`."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import errors, pq

from workqueue.store.headers import Encoded
from workqueue.store.postgres.address import Address
from workqueue.store.postgres.statements import statements
from workqueue.store.relational.session import Row
from workqueue.store.relational.terms import MetAnotherError

_NO_ROW: Final[Row] = {}
_OUR_WORDS: Final = frozenset({"rows", "message"})  # what a handler raised may hold what text cannot
_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # in JSON; after another backslash these are letters
_OF_KEYS: Final = "terms_key"  # the index that lets each key have one open job


class Asking:
    """Knows the statements by name. The class it is given to has `info`, as psycopg's connections do.

    to_wake: the queues that the open transaction gave work to.
    """

    texts: Mapping[str, bytes]
    space: int
    to_wake: set[str]
    is_lent = False

    @property
    def info(self) -> psycopg.ConnectionInfo:
        raise NotImplementedError  # psycopg's own connection has one

    def cursor_of_ours(self) -> psycopg.Cursor[tuple[Any, ...]]:
        """Give a cursor that answers with tuples, in the binary format."""
        raise NotImplementedError

    def prepares(self, statement: str) -> bool | None:
        """Say whether its plan is to be kept by the session; None leaves it to psycopg."""
        del statement
        return None

    def stand_in(self, address: Address) -> None:
        """Let the statements be those of the schema at this address."""
        self.texts = statements(address.schema)
        self.space = _space(address.schema)
        self.to_wake = set()

    def ask(self, statement: str, row: Row = _NO_ROW, /) -> psycopg.Cursor[tuple[Any, ...]]:
        if not _OUR_WORDS.isdisjoint(row):
            row = {name: _storable(value) if name in _OUR_WORDS else value for name, value in row.items()}
        try:
            return self.cursor_of_ours().execute(self.texts[statement], row, prepare=self.prepares(statement))
        except errors.UniqueViolation as error:
            if error.diag.constraint_name == _OF_KEYS:
                raise MetAnotherError from error
            raise

    def one(self, statement: str, row: Row = _NO_ROW, /) -> tuple[Any, ...]:
        """Give the row of a statement that always has one. Raises LookupError."""
        found = self.ask(statement, row).fetchone()
        if found is None:
            raise LookupError(f"expected a row of {statement!r}, got none")
        return found

    def insert(self, columns: Row, batch: Sequence[bytes], headers: Encoded, /) -> list[int]:
        row = {**columns, "data": list(batch), "headers": headers}
        return sorted(job for (job,) in self.ask("insert", row).fetchall())

    def set_data(self, job: int, data: bytes, was: bytes | None = None, /) -> bool:
        return bool(self.ask("set_data", {"job": job, "data": data, "was": was}).rowcount)

    def hasten(self, jobs: Sequence[int], now: int, /) -> list[int]:
        return [job for (job,) in self.ask("hasten", {"ids": list(jobs), "now": now}).fetchall()]

    def load(self, table: str, rows: Sequence[tuple[Any, ...]], /) -> None:
        try:
            with self.cursor_of_ours() as cursor, cursor.copy(self.texts[f"import_{table}"]) as copy:
                for row in rows:
                    copy.write_row(row)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise ValueError(str(error).strip()) from error

    def continue_ids(self, last_job: int, last_batch: int, /) -> None:
        self.ask("raise_job_ids", {"last": last_job})
        self.ask("raise_batch_ids", {"last": last_batch})

    def is_whole(self) -> bool:
        return self.info.transaction_status in {pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR}

    def gate(self) -> None:
        """Wait until no other transaction judges, starts or ends jobs with terms; hold the others off until it ends."""
        self.ask("gate", {"space": self.space})


def _space(schema: str) -> int:
    """Give the number under which this schema's locks stand beside those of others in the database."""
    return zlib.crc32(b"workqueue " + schema.encode()) - 2**31


def _storable(value: object) -> object:
    """Give text that PostgreSQL takes: it has no place for NUL."""
    return _NUL.sub(r"\1\\ufffd", value).replace("\0", "\ufffd") if isinstance(value, str) else value

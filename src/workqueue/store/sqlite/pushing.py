"""Inserting jobs that differ in their data alone: one statement for all of them, and one for what is large.

Where their headers differ too (each was pushed by another, at the same moment), one statement for each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, cast

import msgspec

from workqueue.store.headers import Encoded
from workqueue.store.relational.session import Row
from workqueue.store.sqlite.schema import SQL

Execute: TypeAlias = Callable[..., sqlite3.Cursor]
INLINE: Final = 1024  # bytes of data that stand in the job's own row


def insert(execute: Execute, columns: Row, batch: Sequence[bytes], headers: Encoded) -> range:
    """Store them; give their ids."""
    if len(batch) == 1:
        return _insert_one(execute, columns, batch[0], headers[0] if headers else None)
    if not headers or headers.count(headers[0]) == len(headers):
        return _insert_many(execute, columns, batch, headers[0] if headers else None)
    each = [_insert_one(execute, columns, data, said) for data, said in zip(batch, headers, strict=True)]
    return range(each[0].start, each[-1].stop)


def _insert_one(execute: Execute, columns: Row, data: bytes, headers: str | None) -> range:
    row = {**columns, "headers": headers, "data": data if len(data) <= INLINE else None}
    job = cast("int", execute(SQL["push_one"], row).lastrowid)
    if len(data) > INLINE:
        execute(SQL["push_one_large"], {"job": job, "data": data})
    return range(job, job + 1)


def _insert_many(execute: Execute, columns: Row, batch: Sequence[bytes], headers: str | None) -> range:
    """Hand the data over as one blob, cut up by the statement."""
    rows: list[tuple[int, int]] = []
    offset = 1
    for data in batch:
        rows.append((offset, len(data)))
        offset += len(data)
    blob = b"".join([*batch, b"\0"])  # SQLite's substr of an empty blob is NULL
    columns = {**columns, "headers": headers}
    cut = {"rows": msgspec.json.encode(rows).decode(), "blob": blob, "inline": INLINE}
    last = cast("int", execute(SQL["push"], {**columns, **cut}).lastrowid)
    first = last - len(batch) + 1
    if any(len(data) > INLINE for data in batch):
        execute(SQL["push_large"], cut | {"first": first})
    return range(first, last + 1)

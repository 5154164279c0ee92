"""R: the loop that one would write by hand on stdlib sqlite3, and the limit to come close to.

WAL and synchronous=FULL as ours, and one transaction for each 500 jobs; but nothing more: no retries, no leases, no
rescue, no waking, no priorities, no `run_at`. What a killed one had in hand is stuck for good.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

BATCH = 500

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, status INTEGER NOT NULL DEFAULT 0, data TEXT NOT NULL)"
)
INSERT = "INSERT INTO jobs (data) VALUES (?)"
CLAIM = """
UPDATE jobs SET status = 1 WHERE id IN (SELECT id FROM jobs WHERE status = 0 ORDER BY id LIMIT ?) RETURNING id, data
"""
DELETE = "DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
_TAKE = "DELETE FROM jobs WHERE id = (SELECT min(id) FROM jobs) RETURNING data"


class RawLoop:
    """One connection to the file. flushed: else a power cut loses what was pushed last."""

    def __init__(self, path: Path, *, flushed: bool = True) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=60)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if flushed else 'NORMAL'}")
        self._connection.execute(SCHEMA)

    def push(self, obj: object) -> None:
        """Store one job, in a transaction of its own."""
        self._connection.execute(INSERT, (json.dumps(obj),))

    def push_many(self, objs: Iterable[object]) -> None:
        """Store all in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(INSERT, ((json.dumps(obj),) for obj in objs))
        self._connection.execute("COMMIT")

    def drain(self, work: Callable[[str], object] = json.loads) -> int:
        """Decode each job, which is all its handler does, until none waits; give how many there were."""
        count = 0
        done: list[int] = []
        while rows := self.turn(done, BATCH):
            for _, data in rows:
                work(data)
            count += len(rows)
            done = [job_id for job_id, _ in rows]
        return count

    def turn(self, done: list[int], limit: int) -> list[tuple[int, str]]:
        """Settle those that are done and claim up to `limit`, in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(DELETE, (json.dumps(done),))
        rows = self._connection.execute(CLAIM, (limit,)).fetchall()
        self._connection.execute("COMMIT")
        return rows

    def take(self) -> object:
        """Take one job off the file, or give None, as a loop that polls does."""
        row = self._connection.execute(_TAKE).fetchone()
        return None if row is None else json.loads(row[0])

    def close(self) -> None:
        self._connection.close()

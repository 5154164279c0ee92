"""The connections of the simulated processes: SQLite's own, but each statement takes virtual time and may meet a fault.

What a transaction did to the jobs is seen by triggers of the connection, and told to the ledger when COMMIT has
succeeded and not before: so the ledger knows the truth, also of a commit whose answer nobody got.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from workqueue.store.sqlite import connection as engine

from prove.simulation.host import Host, Process
from prove.simulation.ledger import TICK, Beside, Change
from prove.simulation.scheduler import Death

_LONGEST_WAIT: Final = 31_000_000  # microseconds; the package gives up after 30 s
_COLUMNS: Final = ("id", "status", "attempt", "runner", "lost", "run_at", "cancel_requested", "lease_until",
                   "message", "settled_at", "queue", "name", "pushed_at")  # fmt: skip
_OLD: Final = ", ".join(f"old.{name}" for name in _COLUMNS)
_NEW: Final = ", ".join(f"new.{name}" for name in _COLUMNS)
_NONE: Final = ", ".join("NULL" for _ in _COLUMNS)
_TRIGGERS: Final = (
    f"CREATE TEMP TRIGGER seen_insert AFTER INSERT ON main.jobs BEGIN SELECT seen({_NONE}, {_NEW}); END",
    f"CREATE TEMP TRIGGER seen_update AFTER UPDATE ON main.jobs BEGIN SELECT seen({_OLD}, {_NEW}); END",
    f"CREATE TEMP TRIGGER seen_delete AFTER DELETE ON main.jobs BEGIN SELECT seen({_OLD}, {_NONE}); END",
    f"""CREATE TEMP TRIGGER seen_slot AFTER INSERT ON main.jobs WHEN new.name = '{TICK}'
        BEGIN SELECT beside('slot', new.id, new.data, new.queue); END""",
    """CREATE TEMP TRIGGER seen_terms AFTER INSERT ON main.terms
        BEGIN SELECT beside('terms', new.job, new.spec, NULL); END""",
    """CREATE TEMP TRIGGER seen_key AFTER INSERT ON main.taken_keys
        BEGIN SELECT beside('key', new.job, new.until, NULL); END""",
    """CREATE TEMP TRIGGER seen_key_again AFTER UPDATE ON main.taken_keys
        BEGIN SELECT beside('key', new.job, new.until, NULL); END""",
    """CREATE TEMP TRIGGER seen_batch AFTER UPDATE OF sealed ON main.batches WHEN new.sealed AND NOT old.sealed
        BEGIN SELECT beside('sealed', new.id, NULL, NULL); END""",
    """CREATE TEMP TRIGGER seen_batch_opened AFTER INSERT ON main.batches
        BEGIN SELECT beside('opened', new.id, NULL, NULL); END""",
    """CREATE TEMP TRIGGER seen_pause AFTER INSERT ON main.pauses
        BEGIN SELECT beside('paused', new.queue, new.name, 1); END""",
    """CREATE TEMP TRIGGER seen_resume AFTER DELETE ON main.pauses
        BEGIN SELECT beside('paused', old.queue, old.name, 0); END""",
    """CREATE TEMP TRIGGER seen_schedule AFTER INSERT ON main.schedules
        BEGIN SELECT beside('schedule', new.next_at, NULL, NULL); END""",
)


class Connection(engine.Connection):
    """A connection of the process that opened it."""

    host: Host
    process: Process
    begun: int
    changes: list[Change | Beside]
    watched: bool
    settling: dict[int, int]  # the attempts, by job, that the statement settles, as its caller believes

    def belong(self, host: Host) -> None:
        self.host = host
        self.process = host.process
        self.changes = []
        self.watched = False
        self.settling = {}
        self.begun = 0
        self.process.connections.append(self)

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        process, host = self.process, self.host
        if not process.alive:
            raise Death
        if sql.startswith("PRAGMA") and "wal_checkpoint" not in sql:
            return super().execute(sql)
        if sql.startswith("ROLLBACK"):
            self._end()
            return super().execute(sql)
        if sql.startswith("BEGIN"):
            return self._begin(sql)
        if sql.startswith("COMMIT"):
            return self._commit(sql)
        host.faults.point(process)
        host.faults.statement(self)
        self.settling = _settling(parameters) if self.in_transaction else {}
        return super().execute(sql, parameters)

    def _begin(self, sql: str) -> sqlite3.Cursor:
        host = self.host
        host.faults.point(self.process)
        host.faults.statement(self)
        if not self.watched and super().execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone():
            self.watched = True
            self.create_function("seen", 2 * len(_COLUMNS), self._see)
            self.create_function("beside", 4, lambda *values: self.changes.append(Beside(*values)))
            for trigger in _TRIGGERS:
                super().execute(trigger)
        until = host.now + _LONGEST_WAIT
        while host.writing is not None and host.turn.wait(until):
            pass
        cursor = super().execute(sql)
        host.writing = self
        self.changes = []
        self.begun = host.now
        return cursor

    def _commit(self, sql: str) -> sqlite3.Cursor:
        host = self.host
        host.faults.point(self.process)
        before, after = host.faults.commit(self)
        if before is not None:
            if host.rng.random() < 0.7:  # SQLite itself may have rolled back, or not
                super().execute("ROLLBACK")
                self._end()
            raise before
        cursor = super().execute(sql)
        changes, self.changes = self.changes, []
        self._end()
        host.ledger.committed(self, changes)
        if after is not None:
            raise after
        host.faults.point(self.process)
        return cursor

    def _see(self, *columns: Any) -> None:
        half = len(_COLUMNS)
        old, new = columns[:half], columns[half:]
        attempt = self.settling.get(old[0], old[2])
        self.changes.append(Change(old if old[0] else None, new if new[0] else None, attempt, self.host.latest()))

    def _end(self) -> None:
        self.changes = []
        self.host.free_turn(self)

    def close(self) -> None:
        if self.process.alive:
            self.drop()

    def drop(self) -> None:
        """Let go of the file, as the end of the process does."""
        self.process.connections.remove(self)
        super().close()
        self._end()


def _settling(parameters: Any) -> dict[int, int]:
    """Read the attempts out of the parameters of the two statements that settle."""
    if isinstance(parameters, dict) and "queue" not in parameters:
        if "rows" in parameters and "now" in parameters:
            return {row[0]: row[1] for row in json.loads(parameters["rows"])}
        if "ids" in parameters and "attempt" in parameters:
            return dict.fromkeys(json.loads(parameters["ids"]), parameters["attempt"])
    return {}


class Sqlite:
    """As the module `sqlite3`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)

    def connect(self, path: str, **settings: Any) -> sqlite3.Connection:
        self._host.faults.opening(self._host.process)
        connection = sqlite3.connect(path, **settings | {"factory": Connection})
        connection.belong(self._host)
        return connection

"""Who claims: enlisted with the session that ends with its process, by which the others see its death."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

import msgspec

from workqueue.errors import StoreUnavailable
from workqueue.job import Claim, JobStatus
from workqueue.store.clock import micros
from workqueue.store.contract import Beat
from workqueue.store.postgres.connection import Connection
from workqueue.store.postgres.database import Database
from workqueue.store.postgres.listener import Place, Session
from workqueue.store.relational import records

_GRACE: Final = 1.5  # seconds that a process has for telling of its new session, when the old one broke
_LONG_AWAY: Final = 60.0  # seconds after which who holds nothing is struck off, dead or not: who lives comes back
_ENDED: Final = 0  # as the session of a runner that has left
_NOBODY: Final = 0  # as the runner of jobs that were copied here while they ran
_ids = msgspec.json.Decoder(list[int])
_held_rows = msgspec.json.Decoder(list[tuple[int, int, int]])


class Runners:
    """The runners of a store: those enlisted here, and what can be told of the others.

    A session that ended is no proof by itself: a process whose connection broke begins another, and says so. So it
    counts when it has been gone for a while. A restart of the server ends all sessions at once, and proves nothing; nor
    does the crash of one of its processes, which it says nowhere. That broke our own session, too: of sessions that
    began before ours broke, only those count that were seen alive since.
    """

    def __init__(self, database: Callable[[], Database]) -> None:
        self._database = database
        self._enlisted: set[int] = set()
        self._alive: dict[int, int | None] = {}  # whose session was seen alive since ours broke: its start
        self._torn_at = 0
        # Whose session is gone, or who is not on the list: which session, and when that was first seen.
        self._missing: dict[int, tuple[int | None, float]] = {}

    def enlist(self, queue: str, label: str) -> int:
        database = self._database()
        session = database.listener.session(lambda moved: self._move(database, moved))
        place = Place(queue, label, database.clock())
        row = {
            "queue": queue,
            "label": label,
            "now": place.started_at,
            "pid": None if session is None else session.pid,
            "start": None if session is None else session.start,
        }

        def attempt(again: bool) -> int:
            del again  # one that was enlisted and never heard of is struck off by the next
            with database.pool.lend() as connection:
                found = connection.one("enlist", row)
            return int(found[0])

        runner = database.patiently(attempt)
        another = database.listener.add(runner, place, session)
        if another is not None:  # the one we saw ended before the listener knew of this runner
            self._move(database, another)
        self._enlisted.add(runner)
        self.strike_off_dead()
        return runner

    def _move(self, database: Database, session: Session) -> None:
        """Tie all runners of this process to another session, and put those on the list who are not there."""
        runners = database.listener.runners()
        if not runners:
            return
        row = {"ids": list(runners), "pid": session.pid, "start": session.start}
        moved = database.read(lambda connection: connection.ask("move_runners", row)).rowcount
        if moved < len(runners):
            queues, labels, started = zip(*runners.values(), strict=True)
            places = {"queues": list(queues), "labels": list(labels), "started": list(started)}
            database.read(lambda connection: connection.ask("enlist_again", row | places))

    def retire(self, runner: int) -> None:
        database = self._database()
        self._enlisted.discard(runner)
        database.listener.remove(runner)
        self._leave(database, [runner])
        self._strike_off(database, runner)

    def _strike_off(self, database: Database, runner: int) -> None:
        database.read(lambda connection: connection.ask("retire", {"id": runner}))

    def _leave(self, database: Database, runners: Sequence[int]) -> None:
        """Say of these runners that what they still hold is orphaned."""
        row = {"ids": list(runners), "pid": _ENDED, "start": _ENDED}
        database.read(lambda connection: connection.ask("move_runners", row))

    def strike_off_dead(self) -> None:
        """Take those off the list who are dead, as far as that can be told, or long away, and hold no jobs."""
        database = self._database()
        answer = database.read(lambda connection: connection.one("runners"))
        listed = _ids.decode(answer[0])
        dead = self.dead(listed)
        for runner in {*dead, *(runner for runner in listed if self._is_away_for(runner, _LONG_AWAY))}:
            self._strike_off(database, runner)
            self._missing.pop(runner, None)

    def dead(self, runners: Sequence[int]) -> list[int]:
        """Give those whose process has certainly ended: they said so, or the server lost their session for a while."""
        if not runners:
            return []
        rows = self._database().read(lambda connection: connection.ask("sessions", {"ids": list(runners)}).fetchall())
        left = {runner for runner, pid, *_ in rows if pid == _ENDED}
        away: dict[int, int | None] = {runner: start for runner, _, start, is_away, _ in rows if is_away}
        # One that was struck off, and lives, will be back.
        away |= dict.fromkeys({*runners}.difference([_NOBODY], (runner for runner, *_ in rows)))
        self._note(runners, away)
        torn_at = self._database().listener.torn_at
        if self._torn_at != torn_at:
            self._torn_at, self._alive = torn_at, {}
        proven = {*away}
        for runner, _, start, is_away, is_proof in rows:
            if not is_away and torn_at:
                self._alive[runner] = start
            elif not is_proof or (start < torn_at and self._alive.get(runner) != start):
                proven.discard(runner)
        return [
            runner
            for runner in runners
            if runner in left or runner == _NOBODY or (runner in proven and self._is_away_for(runner, _GRACE))
        ]

    def _note(self, runners: Sequence[int], away: Mapping[int, int | None]) -> None:
        for runner in runners:
            before = self._missing.get(runner)
            if runner not in away:
                self._missing.pop(runner, None)
            elif before is None or before[0] != away[runner]:
                self._missing[runner] = (away[runner], time.monotonic())

    def _is_away_for(self, runner: int, seconds: float) -> bool:
        found = self._missing.get(runner)
        return found is not None and time.monotonic() - found[1] >= seconds

    def surely_dead(self, runners: Sequence[int]) -> list[int]:
        """Do as `dead`, and wait a moment where a session is missing that is not known to have been before.

        For people, who look once: the next look may be by another process, which knows as little.
        """
        dead = self.dead(runners)
        if self._missing.keys() - set(dead):
            time.sleep(_GRACE)
            dead = self.dead(runners)
        return dead

    def beat(self, runner: int, lease: timedelta) -> Beat:
        database = self._database()
        row = {"runner": runner, "now": database.given_now(), "lease": micros(lease)}

        def attempt(again: bool) -> Beat:
            del again
            with database.pool.lend() as connection:
                connection.ask("beat", row)
                return _beat(connection, runner)

        return database.patiently(attempt)

    def held(self, runner: int) -> Beat:
        return self._database().read(lambda connection: _beat(connection, runner))

    def orphans(self, *, expired: bool, limit: int) -> list[Claim]:
        database = self._database()
        answer = database.read(lambda connection: connection.one("holders"))
        dead = self.dead(_ids.decode(answer[0]))
        if not dead and not expired:
            return []
        now = database.clock()
        row = {"dead": dead, "expired_before": now if expired else -1, "limit": limit}

        def work(connection: Connection) -> list[Claim]:
            claims: list[Claim] = []
            for job_id, runner, lease_until in connection.ask("orphans", row).fetchall():
                job = records.get(connection, job_id)
                if job is not None and job.status is JobStatus.RUNNING:
                    claims.append(Claim(job, runner, timedelta(microseconds=now - micros(job.pushed_at)), lease_until))
            return claims

        return database.read(work)

    def leave(self) -> None:
        """Let go of those enlisted here, as far as the server can be told: what they hold is orphaned at once."""
        database = self._database()
        ours = self._enlisted & database.listener.runners().keys()  # a forked child's copy has those of its parent, too
        for runner in ours:
            database.listener.remove(runner)
        if ours:
            with suppress(StoreUnavailable):  # else their session ends with us, or their leases do
                self._leave(database, list(ours))


def _beat(connection: Connection, runner: int) -> Beat:
    row = connection.one("held", {"runner": runner})
    rows = _held_rows.decode(row[0])
    return Beat({row[0]: row[1] for row in rows}, frozenset(row[0] for row in rows if row[2]))

"""Ledger: what was committed, in the order of the commits, as the journal wants it; and rules that only we can judge.

A simulation knows what no harness outside can: the instant of each commit, whether a runner that was rescued was
alive, and what a runner held when it claimed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from workqueue.job import JobStatus, Terms
from workqueue.lifecycle import MOVES, WAITING
from workqueue.store.clock import micros

from prove.journal import (
    HANDLER,
    AnyEvent,
    Asked,
    Claimed,
    Ended,
    Fired,
    Forgiven,
    Paused,
    Pushed,
    Pushing,
    Sealed,
    SetBack,
    Settled,
    Started,
    Vanished,
)
from prove.simulation.stand_ins import SECOND

if TYPE_CHECKING:
    from prove.simulation.disk import Connection
    from prove.simulation.host import Host


TICK = "tick"  # the periodic task, whose jobs nobody pushes


class Beside(msgspec.Struct, frozen=True):
    """What else a transaction wrote: by its kind, see `Ledger._note_beside`."""

    kind: str
    what: Any
    value: Any
    more: Any


class Change(msgspec.Struct, frozen=True):
    """One job's row before and after.

    (id, status, attempt, runner, lost, run_at, cancel_requested, lease_until, message, settled_at, queue, name,
    pushed_at)

    attempt: the one that was settled, if any. latest: the latest time of day that it has ever been: what was due once
    stays so when the clock is set back.
    """

    old: Sequence[Any] | None
    new: Sequence[Any] | None
    attempt: int | None
    latest: int


class Ledger:
    """See the module. events: the journal. broken: sentences."""

    def __init__(self, host: Host, *, lease: float, poll_rate: float) -> None:
        self.events: list[AnyEvent] = []
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self.due: dict[int, int] = {}  # run_at of each job that was pushed
        self.rescues: dict[int, int] = {}  # when each job was last taken from its runner
        self.batches: dict[int, list[int]] = {}  # their jobs, and what follows them
        self.opened: set[int] = set()  # batches, by those who did
        self.first_slot: int | None = None
        self._host = host
        self._lease = int(lease * SECOND)
        self._poll = int(poll_rate * SECOND)
        self._renewed: dict[int, int] = {}
        self._attempts: dict[int, int] = {}
        self._lost: dict[int, int] = {}
        self._holds: defaultdict[int, set[int]] = defaultdict(set)
        self._running: defaultdict[str, dict[tuple[int, int], bool]] = defaultdict(dict)
        self.excused: set[int] = set()  # runners that stopped, or stood still for longer than their leases

    def note(self, *events: Any) -> None:
        """Write down what happened outside the store."""
        for event in events:
            self.events.append(event)
            if isinstance(event, Started):
                self._begin(event)
            elif isinstance(event, Ended):
                self._running[event.by].pop((event.job, event.attempt), None)
            elif isinstance(event, Vanished):
                self.excused.add(int(event.by))

    def held_by(self, runner: int) -> set[int]:
        return set(self._holds[runner])

    def was_set_back(self) -> None:
        self.events.append(SetBack(at=self._host.now))

    def committed(self, connection: Connection, changes: Sequence[Change | Beside]) -> None:
        settled: set[int] = set()
        asked = {
            beside.what: beside.value for beside in changes if isinstance(beside, Beside) and beside.kind == "terms"
        }
        until = {beside.what: beside.value for beside in changes if isinstance(beside, Beside) and beside.kind == "key"}
        for change in changes:
            if isinstance(change, Beside):
                self._note_beside(change)
            elif change.old is None:
                self._stored(change, asked, until)
            else:
                self._judge(connection, change, settled)

    def _stored(self, change: Change, asked: dict[int, str], until: dict[int, int]) -> None:
        assert change.new is not None
        job, queue, name = change.new[0], change.new[10], change.new[11]
        terms = msgspec.json.decode(asked[job], type=Terms) if job in asked else Terms()
        self.due[job] = change.new[5]
        self.counts["jobs stored"] += name != TICK
        for batch in (terms.batch, terms.follows_batch):
            if batch is not None:
                self.batches.setdefault(batch, []).append(job)
        self.events.append(
            Asked(
                job=job,
                queue=queue,
                name=name,
                terms=terms,
                due=change.new[5],
                clock=change.new[12],
                unique_until=until.get(job, 0),
                at=self._host.now,
            )
        )

    def _note_beside(self, beside: Beside) -> None:
        now = self._host.now
        match beside.kind:
            case "sealed":
                self.events.append(Sealed(batch=beside.what, at=now))
            case "paused":
                self.events.append(Paused(queue=beside.what, name=beside.value, on=bool(beside.more), at=now))
            case "schedule":
                self.first_slot = beside.what if self.first_slot is None else self.first_slot
            case "slot":
                slot = micros(datetime.fromisoformat(msgspec.json.decode(beside.value)["slot"]))
                self.events += [
                    Pushing(at=now),
                    Pushed(job=beside.what, at=now),
                    Fired(job=beside.what, queue=beside.more, name=TICK, slot=slot, at=now),
                ]

    def _judge(self, connection: Connection, change: Change, settled: set[int]) -> None:
        old, new, now = change.old, change.new, self._host.now
        assert old is not None
        job, was, attempt, holder, lost = old[:5]
        if new is None:
            self._gone(change, settled)
            return
        to = new[1]
        if to != was and JobStatus(to) not in MOVES[JobStatus(was)]:
            self.broken.append(f"S1: job {job} went from {JobStatus(was)} to {JobStatus(to)}")
        if new[2] < attempt:
            self.broken.append(f"S2: job {job}: its attempt fell from {attempt} to {new[2]}")
        if was != JobStatus.RUNNING and to == JobStatus.RUNNING:
            self._claim(connection, change)
        elif was == JobStatus.RUNNING and to == JobStatus.RUNNING:
            if new[7] != old[7]:
                self._renewed[job] = connection.begun
            if new[6] and not old[6]:
                self.events.append(Forgiven(job=job, at=now))
        elif was == JobStatus.RUNNING:
            settled.add(job)
            if new[4] > lost:
                self._rescue(job, holder, now)
            self._holds[holder].discard(job)
            self._lost[job] = new[4]
            self.events.append(
                Settled(job=job, attempt=change.attempt or attempt, to=str(JobStatus(to)), at=now, due=new[5])
            )
        elif was in WAITING and to == JobStatus.CANCELLED:
            self.events.append(Forgiven(job=job, at=now, to="cancelled", why=new[8], clock=new[9]))
        elif to == JobStatus.PENDING and was in (JobStatus.FAILED, JobStatus.CANCELLED):
            self._lost[job] = 0
            self.events.append(Forgiven(job=job, at=now, to="pending"))

    def _gone(self, change: Change, settled: set[int]) -> None:
        assert change.old is not None
        job, was, attempt, holder = change.old[:4]
        now = self._host.now
        if was == JobStatus.RUNNING:
            self._holds[holder].discard(job)
            by = HANDLER if self._host.scheduler.current in self._host.handling else ""
            self.events.append(Settled(job=job, attempt=change.attempt or attempt, to="completed", by=by, at=now))
        elif was in WAITING:
            self.broken.append(f"S1: job {job} was deleted while it waited")
        elif job not in settled:  # else: failed, and not kept
            self.events.append(Forgiven(job=job, at=now))

    def _claim(self, connection: Connection, change: Change) -> None:
        assert change.old is not None
        assert change.new is not None
        job, _, attempt, runner, lost, run_at = change.new[:6]
        before = self._attempts.get(job, 0)
        if attempt != before + 1:
            self.broken.append(f"S2: job {job}: attempt {attempt} was given out after attempt {before}")
        self._attempts[job] = attempt
        if change.latest < run_at:
            self.broken.append(f"S3: job {job} was claimed {run_at - change.latest:,} µs before its time of day")
        beside = {other for other in self._holds[runner] if self._host.process.alive}
        if lost and beside:
            self.broken.append(f"S4: job {job} was lost before, and was claimed beside {sorted(beside)}")
        suspects = [other for other in beside if self._lost.get(other, 0)]
        if suspects:
            self.broken.append(f"S4: job {job} was claimed beside {suspects}, which was lost before")
        if self._host.is_dead(runner):
            self.broken.append(f"S5: job {job} was given to runner {runner}, which is dead")
        self._holds[runner].add(job)
        self._lost[job] = lost
        self._renewed[job] = connection.begun
        clock = change.new[7] - self._lease
        self.events.append(Claimed(job=job, attempt=attempt, by=str(runner), at=self._host.now, clock=clock))

    def _rescue(self, job: int, holder: int, now: int) -> None:
        self.rescues[job] = now
        if self._host.is_dead(holder):
            self.counts["rescued from the dead"] += 1
            return
        elapsed = now - self._renewed[job]
        if elapsed < self._lease and holder not in self.excused and not self._may_mistake_the_clock(job, now):
            self.broken.append(
                f"S6: job {job} was taken from runner {holder}, which lives and had renewed its lease of "
                f"{self._lease / SECOND:.0f} s only {elapsed / SECOND:.3f} s before"
            )
        self.counts["rescued from the frozen"] += 1
        self.note(Vanished(by=str(holder), at=now, why="frozen"))

    def _may_mistake_the_clock(self, job: int, now: int) -> bool:
        """Say whether the rescuer could not see that the time of day was set.

        It may have gone and come back between two looks; or it was set after the lease had been renewed, and before the
        rescuer was there.
        """
        twice = sum(at > now - 2 * (self._lease + self._poll) for at in self._host.stepped) > 1
        came = max((self._host.enlisted[runner] for runner in self._host.process.runners), default=now)
        return twice or any(self._renewed[job] < at < came for at in self._host.stepped)

    def _begin(self, event: Started) -> None:
        running = self._running[event.by]
        suspect = self._lost.get(event.job, 0) > 0 and self._attempts.get(event.job) == event.attempt
        if running and (suspect or any(running.values())) and int(event.by) not in self.excused:
            self.broken.append(f"S4: job {event.job} began beside {sorted(running)}, and one of them was lost before")
        running[event.job, event.attempt] = suspect

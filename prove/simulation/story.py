"""One seed, played to its end: who acts, what befalls them, and the judgement."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec
from workqueue.job import JobStatus
from workqueue.store.paging import Find, walk
from workqueue.store.relational import finding
from workqueue.store.sqlite import inspection
from workqueue.store.sqlite.connection import connect_bare

from prove.asked import Periodic, Standing
from prove.audit import Ending, audit
from prove.journal import AnyEvent, Forgiven, Pushed, Started
from prove.simulation.faults import Faults
from prove.simulation.host import Host, Process
from prove.simulation.ledger import TICK, Ledger
from prove.simulation.people import Cast, drawn
from prove.simulation.scheduler import START, Carriers, Stalled
from prove.simulation.stand_ins import SECOND
from prove.simulation.substitution import substituted

_PATIENCE = 240  # virtual seconds for everything to come to its end


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What one seed came to. faults: how many of each kind. seconds: virtual."""

    broken: list[str]
    events: list[AnyEvent]
    counts: Counter[str]
    faults: Counter[str]
    seconds: float


class Story:
    """See the module."""

    def __init__(self, folder: Path, seed: int, *, without: Collection[str], carriers: Carriers) -> None:
        name = str(seed)
        self._setting = drawn(name)
        self._host = host = Host(str(folder / "jobs.db"), name, carriers)
        host.ledger = Ledger(host, lease=self._setting.lease, poll_rate=self._setting.poll_rate)
        host.faults = Faults(host, name, lease=self._setting.lease, without=without)
        self._cast = Cast(host, self._setting, name)
        self._draw = Random(f"{name}:director")
        self._name = name
        self._roles: dict[str, Process] = {}
        self._started = 0
        self._dead_since: dict[str, int] = {}

    def tell(self) -> Told:
        host = self._host
        broken: list[str] = []
        with substituted(host, self._name, checkpoint_pages=self._setting.checkpoint_pages):
            try:
                self._play()
            except Stalled as error:
                broken.append(f"S8: {error}")
            finally:
                host.close()
        broken += [f"S8: {actor.name} ended with {error!r}" for actor, error in host.scheduler.crashes]
        events = self._restored_are_due(host.ledger.events)
        found = audit(events, self._ending())
        return Told(
            broken=[*broken, *host.ledger.broken, *self._stored_unsaid(events), *found.broken],
            events=events,
            counts=Counter(found.counts) + host.ledger.counts,
            faults=host.faults.counts,
            seconds=(host.now - START) / SECOND,
        )

    def _restored_are_due(self, events: Sequence[AnyEvent]) -> list[AnyEvent]:
        """Let I8 know that a job which a person restored is due at once, whatever it was pushed for."""
        forgiven = {event.job for event in events if isinstance(event, Forgiven)}
        return [
            msgspec.structs.replace(event, not_before=0)
            if isinstance(event, Pushed) and event.job in forgiven
            else event
            for event in events
        ]

    def _stored_unsaid(self, events: Sequence[AnyEvent]) -> Iterator[str]:
        """S9: a push that raised has stored nothing, where nobody died and each COMMIT told the truth."""
        if self._host.faults.enabled & {"death", "poison", "restart", "commit", "ioerror"}:
            return
        said = {event.job for event in events if isinstance(event, Pushed)}
        for job in self._host.ledger.due.keys() - said:
            yield f"S9: job {job} is stored, but its push raised or never returned"

    def _play(self) -> None:
        host, setting = self._host, self._setting
        for number in range(max(setting.workers, len(setting.queues))):
            self._start(f"worker-{number}")
        for number in range(setting.pushers):
            self._start(f"pusher-{number}")
        for at, kind in host.faults.schedule(setting.seconds):
            self._wait_until(at)
            self._strike(kind)
        self._wait_until(START + int(setting.seconds * SECOND))
        self._calm()

    def _start(self, role: str) -> None:
        self._started += 1
        name = f"{role}.{self._started}"
        cast = self._cast
        if role.startswith("worker"):
            queue = self._setting.queues[int(role[-1]) % len(self._setting.queues)]
            self._roles[role] = self._host.start(name, lambda process: cast.work(process, queue))
        else:
            self._roles[role] = self._host.start(name, cast.push)

    def _strike(self, kind: str) -> None:
        faults = self._host.faults
        draw = faults.draw(kind)
        role = draw.choice(sorted(self._roles))
        victim = self._roles[role]
        if not victim.alive:
            return
        if kind == "restart":
            stop = getattr(victim, "stop", None)
            if stop is not None and not victim.stopping:
                victim.stopping = True
                faults.counts[kind] += 1
                victim.begin("stop", stop)
        elif kind == "death" and draw.random() < 0.3:
            faults.counts[kind] += 1
            victim.kill()
        else:
            faults.strike(kind, victim)

    def _wait_until(self, at: int) -> None:
        """Let time pass; who died is started again after a while."""
        host = self._host
        while host.now < at:
            for role in sorted(self._roles):
                if self._roles[role].alive:
                    continue
                since = self._dead_since.setdefault(role, host.now)
                if host.now >= since + 300_000 and not (self._cast.over and role.startswith("pusher")):
                    del self._dead_since[role]
                    self._start(role)
            host.scheduler.sleep(min(at - host.now, 250_000))

    def _calm(self) -> None:
        """End the faults, and let all come to its end."""
        host = self._host
        host.faults.calm_down()
        self._cast.over = True
        until = host.now + _PATIENCE * SECOND
        if not self._cast.righted:
            host.start("warden", lambda process: self._cast.put_right(process, self._wary()))
        self._wait_until(host.now + 400_000)
        looking = sqlite3.connect(host.path, isolation_level=None)
        host.raw.append(looking)
        while host.now < until and (self._is_busy(looking) or self._cast.are_pushing() or not self._cast.righted):
            self._wait_until(host.now + 500_000)
        if host.now < until and self._draw.random() < 0.5:
            self._drill()

    def _drill(self) -> None:
        """S11: with everybody well, let one worker die or freeze, and see its job back within the bound."""
        host, setting = self._host, self._setting
        for role in ("worker-0", "worker-8"):  # those of even number work on the first queue
            if role not in self._roles:
                self._start(role)
        self._wait_until(host.now + int(self._wary() * SECOND))
        known = len(host.ledger.events)
        host.start("driller", lambda process: self._cast.push_drill(process, setting.queues[0]))
        until = host.now + int((setting.poll_rate + 1) * SECOND)
        begun: list[Started] = []
        while host.now < until and not begun:
            host.scheduler.sleep(50_000)
            begun = [event for event in host.ledger.events[known:] if isinstance(event, Started)]
        if len(begun) != 1:
            host.ledger.broken.append(f"S11: expected a job to begin within a poll, but {len(begun)} did")
            return
        victim = host.owners[int(begun[0].by)]
        at, dies = host.now, self._draw.random() < 0.5
        bound = setting.poll_rate + 0.3 if dies else setting.lease + setting.poll_rate + 0.3
        if dies:
            victim.kill()
        else:
            victim.freeze(setting.lease + setting.poll_rate + 1)
        self._wait_until(at + int((bound + 1) * SECOND))
        took = (host.ledger.rescues.get(begun[0].job, host.now) - at) / SECOND
        host.ledger.counts["drills"] += 1
        if took > bound:
            fate = "died" if dies else "froze"
            host.ledger.broken.append(
                f"S11: a worker {fate}, and its job was back after {took:.2f} s, not {bound:.2f} s"
            )
        looking = host.raw[0]
        until = host.now + int((2 * setting.lease + 10) * SECOND)
        while host.now < until and self._is_busy(looking):
            self._wait_until(host.now + SECOND // 2)
        self._wait_until(host.now + SECOND)

    def _wary(self) -> float:
        """Give after how many seconds nobody is frozen or slow any more, or wary of the clock, or of a schedule."""
        setting = self._setting
        return max(2.5 * setting.lease, setting.lease + setting.poll_rate, 10 if setting.asking else 6) + 2

    def _is_busy(self, looking: sqlite3.Connection) -> bool:
        if not looking.execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchall():
            return True  # nobody has come so far yet
        waiting = (int(JobStatus.PENDING), int(JobStatus.RETRYING), int(JobStatus.RUNNING))
        return bool(
            looking.execute("SELECT EXISTS (SELECT 1 FROM jobs WHERE status IN (?, ?, ?))", waiting).fetchone()[0]
        )

    def _ending(self) -> Ending:
        looking = connect_bare(self._host.path)
        try:
            effects: dict[int, int] = {}
            if looking.execute("SELECT 1 FROM sqlite_master WHERE name = 'effects'").fetchone():
                effects = dict(looking.execute("SELECT job, count(*) FROM effects GROUP BY job").fetchall())
            jobs = list(walk(lambda which: finding.find(looking, which), Find(limit=1_000_000)))
            counted = looking.execute("SELECT id, total, completed, failed, cancelled FROM batches").fetchall()
            return Ending(
                jobs=jobs,
                complaints=inspection.broken_invariants(looking),
                effects=effects,
                batches={batch: Standing(*counts) for batch, *counts in counted},
                periodic=self._periodic(),
            )
        finally:
            looking.close()

    def _periodic(self) -> list[Periodic]:
        setting, watched = self._setting, self._cast.watched
        if setting.asking is None or setting.asking.every is None or watched is None:
            return []
        since, until = watched
        every = int(setting.asking.every * SECOND)
        return [Periodic(queue=setting.queues[0], name=TICK, every=every, since=since, until=until)]


def told(folder: Path, seed: int, *, without: Collection[str], carriers: Carriers) -> Told:
    """Play one seed in a folder of its own below `folder`."""
    place = folder / str(seed)
    place.mkdir()
    try:
        return Story(place, seed, without=without, carriers=carriers).tell()
    finally:
        shutil.rmtree(place)

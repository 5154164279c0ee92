"""The loop: rounds of letting run, killing a random subset, and starting anew; then quiet, and the audit."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from workqueue import Attempt, Job, Queue, WorkqueueError
from workqueue.lifecycle import WAITING
from workqueue.store.contract import Durability

from prove.audit import Ending, audit
from prove.crash import injection, judge
from prove.crash.ground import FileGround, Ground
from prove.crash.part import LOG, Part, now
from prove.crash.stage import Actor, Possessions, Stage
from prove.journal import AnyEvent, Pushed, read

ROUNDS: Final = 60
HURTS: Final = {"kill": 80, "stop": 7, "begin anew": 6, "freeze": 7}
_TRACED: Final = 4  # every so many rounds, a victim is started to die at a system call
_TRACED_AT_ONCE: Final = 2
_TRACED_PATIENCE: Final = 1.5  # seconds
MOST_WAL: Final = 32 * 1024 * 1024  # bytes; each living process may leave 4 MiB of its own
_OWN_THREADS: Final = 3  # main, runner, beat: with those, a worker has begun
_STRUCK_OFF: Final = 10.0  # seconds within which the dead are to be off the list of runners
_QUIET: Final = 60.0  # seconds after which a queue that does not become idle is stuck
_PAIR_DEATHS: Final = 8  # `workqueue run` gives up after 10 in a minute


class Told(msgspec.Struct, kw_only=True):
    """What one unit came to. counts: by the words of the verdict. rescues: seconds from a kill to the next start."""

    counts: Counter[str]
    broken: list[str]
    rescues: list[float]
    largest_log: int
    calls: Counter[str]


class Unit:
    """One file or database, from its making to the audit. number: names the unit under its seed; both draw all of it.

    folder: for what its processes write. ground: what they have the jobs in; else a file in the folder. plant: a bug to
    be caught, "module:function", and paths: where that is found. cast: who plays, or else it is drawn.
    hurts: how likely each way to hurt a process is. calm: no more than those, on a file that is there. pace: seconds
    that a round is let run, at least and at most. beside: the files that may be there in the end.
    """

    beside = frozenset({LOG, "journal", "nursery.log"})
    threads = 0  # of a worker, beside its ground's and those for jobs

    def __init__(
        self,
        folder: Path,
        seed: int,
        number: int,
        *,
        ground: Ground | None = None,
        rounds: int = ROUNDS,
        plant: str = "",
        paths: Sequence[Path] = (),
        cast: Sequence[str] = (),
        hurts: Mapping[str, float] = HURTS,
        calm: bool = False,
        pace: tuple[float, float] = (0.02, 0.2),
    ) -> None:
        self._folder = folder
        self._seed = f"{seed}:{number}"
        self._number = number
        self._rounds = rounds
        self._draw = random.Random(self._seed)
        self._plant = plant
        self._ground: Ground = FileGround(folder) if ground is None else ground
        self._has_short_lease = self._draw.random() < 0.3 and not calm
        self._lease = 3.0 if self._has_short_lease else self._ground.lease
        self._durability: Durability = "full"
        if not calm and len(self._ground.durabilities) > 1:
            self._durability = self._draw.choices(self._ground.durabilities, [6, 2, 2])[0]
        self._timing = self._draw.random() < 0.3
        self._stage = Stage(folder, folder / "journal", list(paths))
        self._stage.stillness = self._lease + self._draw.uniform(0.3, 1)
        self._started = Counter[str]()
        self._killed = Counter[str]()
        self._harmed = Counter[str]()  # the ground
        self._hurts = hurts
        self._calm = calm
        self._pace = pace
        self._fixed_cast = list(cast)
        self._points = number * (rounds // _TRACED)
        self._log_bytes = 0
        self._elder: Possessions | None = None
        self._pair_deaths = 0

    def play(self) -> Told:
        try:
            return self._play()
        except WorkqueueError as error:  # nobody hurts this process: it should get what it asks for
            return Told(
                counts=Counter({"processes killed": self._killed["killed"]}),
                broken=[f"I11: the driver met {type(error).__name__}: {error} (from {error.__cause__!r})"],
                rescues=[],
                largest_log=self._log_bytes,
                calls=Counter(),
            )

    def _play(self) -> Told:
        if self._calm or self._draw.random() < 0.75:  # else all who start make the file together
            self._open().close()
        with self._stage:
            for role in self._cast():
                self._start(role)
            for number in range(self._rounds):
                self._round(number)
                if number >= self._rounds // 2 and self._elder is None:
                    self._elder = self._possessions()
            complaints = self._quieten()
            leaks = self._leaks()
            complaints += self._end_workers()
            leaks += self._left()
        return self._judged(complaints, leaks)

    def _open(self) -> Queue:
        return Queue(self._ground.place, durability=self._durability, timing=self._timing)

    # the cast

    def _cast(self) -> list[str]:
        draw = self._draw
        if self._fixed_cast:
            return self._fixed_cast
        cast = ["push-1", "work-1", "work-2", draw.choice(["work-3", "async-1"])]
        if draw.random() < 0.5 and not self._calm:
            cast.append(draw.choice(["push-2", "elder-1", "elder-1", "async-2"]))
        if draw.random() < 0.15 and not self._calm:
            cast.append("pair-1")
        if self._ground.needs_watchers and "elder-1" not in cast:
            cast.append("elder-1")
        return cast

    def _start(self, role: str, *, traced: bool = False) -> Actor:
        return self._stage.start(role, self._part(role, traced=traced))

    def _part(self, role: str, *, traced: bool) -> Part:
        kind = role.split("-")[0]
        self._started[role] += 1
        tracer: list[str] = []
        if traced:
            call, nth = self._ground.sweep.point(self._points)
            self._points += 1
            tracer = injection.command(call, nth)
        concurrency = {"push": [1, 1, 3], "async": [20]}.get(kind, [1, 2, 3, 4])
        return Part(
            slot=f"{role}.{self._started[role]}",
            kind="work" if kind == "elder" else kind,
            path=self._ground.place,
            journal=str(self._folder / "journal"),
            seed=f"{self._seed}:{role}:{self._started[role]}",
            lease=self._lease,
            durability=self._durability,
            timing=self._timing,
            concurrency=self._draw.choice(concurrency),
            plant=self._plant,
            tracer=tracer,
        )

    # the rounds

    def _round(self, number: int) -> None:
        draw, stage = self._draw, self._stage
        stage.listen(draw.uniform(*self._pace))
        self._revive()
        self._log_bytes = max(self._log_bytes, self._ground.log_bytes())
        if done := self._ground.harm(draw, self._hurt_some):
            self._harmed[done] += 1
        self._hurt_some()
        if number % _TRACED == 0 and not self._calm and not injection.why_not():
            self._trace()

    def _hurt_some(self) -> None:
        draw, stage = self._draw, self._stage
        victims = [role for role in stage.actors if not role.startswith("elder")]
        for role in draw.sample(victims, min(len(victims), draw.choice([1, 1, 1, 2, 2, 3, len(victims)]))):
            self._hurt(role, stage.actors[role])

    def _hurt(self, role: str, actor: Actor) -> None:
        draw, stage = self._draw, self._stage
        if actor.part.tracer:
            if now() - actor.born_at > _TRACED_PATIENCE * 1e6:  # it does not come to its call
                self._kill(role, actor)
        elif role.startswith("pair"):
            self._hurt_pair(role, actor)
        else:
            match draw.choices(list(self._hurts), list(self._hurts.values()))[0]:
                case "stop":
                    stage.stop(actor)
                    self._killed["stopped"] += 1
                    if draw.random() < 0.5:
                        stage.listen(draw.uniform(0, 0.1))
                        if actor.status is None:
                            self._kill(role, actor)
                case "begin anew" if role.startswith(("work", "async")) and actor.is_up:
                    stage.stop(actor, signal.SIGHUP)
                    self._killed["stopped"] += 1
                case "freeze":
                    # Whoever is frozen inside a commit holds everybody up, and living runners cannot renew their
                    # leases: so only for a moment where those are short.
                    stage.freeze(actor, draw.uniform(0.01, 0.25 if self._has_short_lease else self._ground.freeze))
                    self._killed["frozen"] += 1
                case _:
                    self._kill(role, actor)

    def _hurt_pair(self, role: str, actor: Actor) -> None:
        """Kill one of the worker processes, or the parent: then those under it drain by themselves."""
        if self._pair_deaths >= _PAIR_DEATHS or not actor.is_up:
            return
        self._pair_deaths += 1
        if self._draw.random() < 0.3:
            self._kill(role, actor)
        else:
            self._stage.kill(actor, only=self._draw.choice(actor.runners)[0])
            self._killed["killed"] += 1

    def _kill(self, role: str, actor: Actor) -> None:
        self._stage.kill(actor)
        self._killed["killed"] += 1
        self._start(role)

    def _revive(self) -> None:
        """Start anew who died: by a job of its own, at its system call, or because it was asked to."""
        for role, actor in list(self._stage.actors.items()):
            if actor.status is not None:
                self._start(role)

    def _trace(self) -> None:
        traced = [actor for actor in self._stage.actors.values() if actor.part.tracer and actor.status is None]
        roles = [role for role in self._stage.actors if role.startswith(("push", "work", "async"))]
        if len(traced) < _TRACED_AT_ONCE:
            role = self._draw.choice(roles)
            if not self._stage.actors[role].part.tracer:
                self._stage.kill(self._stage.actors[role])
                self._killed["killed"] += 1
                self._start(role, traced=True)

    # the end

    def _quieten(self) -> list[str]:
        """Let go of all, push no more, and wait until every job has come to its end; give what is wrong with that."""
        stage, complaints = self._stage, list[str]()
        stage.thaw_all()
        for role, actor in list(stage.actors.items()):
            if actor.part.tracer and actor.status is None:
                stage.kill(actor)
                self._killed["killed"] += 1
            if role.startswith("push"):
                complaints += self._end(actor)
                del stage.actors[role]
        until = time.monotonic() + _QUIET
        with self._open() as queue:
            while time.monotonic() < until:
                stage.thaw_all()
                stage.listen(0)
                self._revive()
                if queue.wait_idle(0.1) and not any(_is_open(queue)):
                    return complaints
            for actor in stage.actors.values():
                for pid, _ in actor.runners or [(actor.pid, "")]:
                    stage.ask_for_its_stacks(pid)
            stage.listen(0.5)
            waiting = list(_is_open(queue))
        return [*complaints, f"{len(waiting)} jobs did not come to their end within {_QUIET:.0f} s: {waiting[:3]}"]

    def _end(self, actor: Actor) -> list[str]:
        """Ask it to end; kill it when it does not, and say so."""
        if actor.status is None:
            if not actor.is_asked:  # a second time would mean: at once
                self._stage.stop(actor)
            if not self._stage.bury(actor):
                self._stage.ask_for_its_stacks(actor.pid)
                self._stage.listen(0.5)
                self._stage.kill(actor)
                return [f"{actor.part.slot} did not end within 30 s of SIGTERM"]
        return []

    def _end_workers(self) -> list[str]:
        for actor in self._stage.actors.values():
            self._stage.stop(actor)
        return [text for actor in self._stage.actors.values() for text in self._end(actor)]

    def _leaks(self) -> list[str]:
        """Say what grew in a worker that lived from the beginning, and whether the log did."""
        before, after = self._elder, self._possessions()
        leaks: list[str] = []
        if before and after and before.pid == after.pid:
            # Not more than in the middle: the threads for jobs are started when there is work for them, perhaps late.
            threads = self._ground.threads + self.threads + self._stage.actors["elder-1"].part.concurrency
            if after.files > before.files + self._ground.opened_late or after.threads > threads:
                leaks.append(f"a worker had {before} in the middle of its life, and {after} in the end")
        if self._log_bytes > MOST_WAL:
            leaks.append(f"the log grew to {self._log_bytes // 1024:,} KiB, with jobs of some bytes each")
        return leaks

    def _possessions(self) -> Possessions | None:
        elder = self._stage.actors.get("elder-1")
        if elder is None or elder.status is not None or not elder.is_up:
            return None
        found = self._stage.possessions(elder)
        return found if found.threads >= _OWN_THREADS else None  # it waits to begin still

    def _left(self) -> list[str]:
        """Let one more runner come and go, which takes away what the dead left; say what is there that should not."""
        with self._open() as queue:
            if any(_is_open(queue)):
                return []  # it is said already
            store = queue._store
            until = time.monotonic() + _STRUCK_OFF
            while True:
                store.retire(store.enlist("idle", "prove"))
                if not store.overview().runners or time.monotonic() > until:
                    break
                time.sleep(0.1)
        return self._ground.left(self.beside)

    def _judged(self, complaints: list[str], leaks: list[str]) -> Told:
        with self._open() as queue:
            jobs = queue.jobs(limit=1_000_000)
            histories = {job.id: queue.history(job.id) for job in jobs}
            complaints += queue.check()
            runners = [f"{runner}" for runner in queue._store.overview().runners]
            leaks += [f"a dead runner is enlisted still: {runner}" for runner in runners]
        complaints += self._ground.damage()
        effects = self._ground.rows("SELECT job, batch FROM effects")
        orders = self._ground.rows("SELECT job, parent FROM orders")
        leaks += self._left_terms()
        events: list[AnyEvent] = list(read(self._folder / "journal"))
        events += self._implied(events)
        complaints += judge.programs(self._stage.all, events, (self._folder / LOG).read_text())
        # An order is there exactly when its job is: its row acknowledges it, whoever died before saying so.
        known = {event.job for event in events if isinstance(event, Pushed)}
        events += [Pushed(at=now(), job=job) for job, _ in orders if job not in known]
        events.sort(key=lambda event: event.at)  # the order of the commits; see Witness
        ending = Ending(jobs=jobs, complaints=complaints, effects=Counter(job for job, _ in effects), leaks=leaks)
        found = audit(events, ending)
        broken, more = self._judge(events, jobs, histories, effects, orders)
        at_calls = judge.died_at_calls(self._stage.all, events)
        counts = Counter(
            {
                "processes killed": self._killed["killed"] + at_calls.total() + judge.killed_by_jobs(events),
                "at a system call": at_calls.total(),
                "by their own job": judge.killed_by_jobs(events),
                "frozen": self._killed["frozen"] + judge.frozen_past_lease(events),
                "past their lease": judge.frozen_past_lease(events),
                "stopped": self._killed["stopped"],
                **self._harmed,
                **found.counts,
                **more,
            }
        )
        return Told(
            counts=counts,
            broken=found.broken + broken,
            rescues=judge.rescues(events, self._stage.all),
            largest_log=self._log_bytes,
            calls=at_calls,
        )

    def _left_terms(self) -> list[str]:
        """Say what holds a place in a lane, a key or an order though no job is open any more."""
        terms = self._ground.terms
        [(left,)] = self._ground.rows(f"SELECT count(*) FROM {terms} WHERE is_open OR runs OR kept_by IS NOT NULL")
        return [f"the terms of {left} jobs are open still"] if left else []

    def _implied(self, events: Sequence[AnyEvent]) -> list[AnyEvent]:
        """Give what nobody could note, but follows from what was."""
        del events
        return []

    def _judge(
        self,
        events: Sequence[AnyEvent],
        jobs: Sequence[Job],
        histories: Mapping[int, Sequence[Attempt]],
        effects: Sequence[tuple[int, str]],
        orders: Sequence[tuple[int, int | None]],
    ) -> tuple[list[str], dict[str, int]]:
        """Give what is broken beside the invariants, and figures of it."""
        return judge.all_of(events, jobs, histories, effects, orders, self._stage.all), {}


def _is_open(queue: Queue) -> Iterator[str]:
    """Give what has not come to its end, later jobs among it."""
    for job in queue.jobs(limit=1000):
        if job.status in WAITING or job.status.name == "RUNNING":
            yield f"job {job.id} {job.name!r} is {job.status}, attempt {job.attempt}, lost {job.lost}: {job.message!r}"

"""The cast: worker processes and their handlers, pushers, and a person who cancels, restores and cleans."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any, Final

import msgspec
from workqueue import Backoff, Cancel, Context, Job, Keep, Queue, RecoverableWorkerError, Snooze, StoreError
from workqueue.errors import DuplicateJob, JobNotFound
from workqueue.store.clock import instant

from prove.journal import Ended, Pushed, Pushing, Started, Vanished
from prove.simulation.duties import TASKS, Asking, Duties, asking
from prove.simulation.host import Host, Process
from prove.simulation.scheduler import Actor, Death
from prove.simulation.stand_ins import SECOND

EFFECTS: Final = "CREATE TABLE IF NOT EXISTS effects (job INTEGER NOT NULL, attempt INTEGER NOT NULL)"
_ERRANDS: Final = {"quick": 40, "nap": 15, "retry": 10, "fail": 5, "effect": 15, "spoilt": 3, "child": 6, "wait": 6,
                   "exit": 2}  # fmt: skip


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How one seed's world is set up."""

    seconds: float
    workers: int
    pushers: int
    lease: float
    poll_rate: float
    batch_size: int
    concurrency: int
    grace: float
    archive: bool
    keeps: Keep | int | None  # of jobs that completed
    durability: str
    backoff: Backoff
    checkpoint_pages: int
    rate: float  # seconds between pushes of one pusher
    queues: tuple[str, ...]
    jobs: int  # at which pushing ends
    asking: Asking | None  # where one of the queues is of tasks


def drawn(seed: str) -> Setting:
    """Give this seed's setting."""
    draw = Random(f"{seed}:setting")
    setting = Setting(
        seconds=draw.choice([2, 4, 8, 16]),
        workers=draw.choice([1, 1, 2, 3]),
        pushers=draw.choice([1, 1, 2]),
        lease=draw.choice([2, 2, 4, 8]),
        poll_rate=draw.choice([0.3, 0.5, 1, 2]),
        batch_size=draw.choice([1, 2, 5, 100]),
        concurrency=draw.choice([1, 1, 2, 4]),
        grace=draw.choice([0, 0.5, 5]),
        archive=draw.random() < 0.8,
        keeps=Random(f"{seed}:keeping").choice([None, None, 3, Keep(age=timedelta(seconds=3), count=50)]),
        durability=draw.choice(["full", "process", "process", "conservative"]),
        backoff=Backoff(
            min=timedelta(seconds=draw.choice([0.01, 0.1, 1])),
            max=timedelta(seconds=2),
            jitter=draw.random() < 0.5,
            limit=draw.choice([None, 2, 4]),
            expiration=draw.choice([None, None, timedelta(seconds=3)]),
        ),
        checkpoint_pages=draw.choice([10, 60, 1000]),
        rate=draw.choice([0.05, 0.2, 0.5]),
        queues=draw.choice([("plain",), ("plain",), ("timed",), ("plain", "timed")]),
        jobs=draw.choice([8, 20, 60]),
        asking=None,
    )
    also = Random(f"{seed}:asking")
    if also.random() < 0.5:
        return setting
    tasks = f"timed-{TASKS}" if also.random() < 0.3 else TASKS
    queues = also.choice([(tasks,), (tasks,), (tasks, setting.queues[0])])
    return msgspec.structs.replace(setting, queues=queues, asking=asking(also))


class Cast:
    """Who acts in one seed."""

    def __init__(self, host: Host, setting: Setting, seed: str) -> None:
        self.host = host
        self.setting = setting
        self.over = False  # nothing is pushed any more
        self.running: dict[Process, int] = {}  # handlers
        self._seed = seed
        self._draw = Random(f"{seed}:story")
        self._pushers: list[Actor] = []
        self.righted = setting.asking is None
        self.watched: tuple[int, int] | None = None  # from when to when each slot of the schedule must have come

    def sleep(self, seconds: float) -> None:
        self.host.scheduler.sleep(int(seconds * SECOND))

    # workers

    def work(self, process: Process, queue_id: str) -> None:
        """Be a worker process, until told to end."""
        hands = Hands(self, process)
        queue = self._opened(queue_id, None if queue_id.endswith(TASKS) else hands)
        if self.setting.asking is not None and queue_id.endswith(TASKS):
            hands.duties = Duties(queue, hands, self.setting.asking, self._seed)
            while not self._began(queue):
                self.sleep(0.5)
        process.queue = queue  # type: ignore[attr-defined]
        process.stop = lambda: self._stop(process, queue)  # type: ignore[attr-defined]

    def _began(self, queue: Queue) -> bool:
        try:
            return queue.start()
        except StoreError:
            return False

    def _stop(self, process: Process, queue: Queue) -> None:
        host = self.host
        for runner in sorted(process.runners):
            host.note(Vanished(by=str(runner), at=host.now, why="stopped"))
        queue.close()
        self.sleep(0.1)
        if not self.running.get(process):
            if process.connections:
                host.ledger.broken.append(f"I14: {len(process.connections)} connections are open after close()")
            left = [actor.name for actor in process.actors if not actor.ended and actor is not host.scheduler.current]
            if left:
                host.ledger.broken.append(f"I14: these threads still run after close(): {', '.join(left)}")
            held = sorted(runner for runner in process.runners if not host.is_dead(runner))
            if held:
                host.ledger.broken.append(f"I14: these runners still count as alive after close(): {held}")
        process.kill()

    def _opened(self, queue_id: str, worker: Hands | None) -> Queue:
        setting = self.setting
        while True:
            try:
                return Queue(
                    self.host.path,
                    worker,
                    id=queue_id,
                    timing=queue_id.startswith("timed"),
                    archive=setting.archive,
                    keep_completed=setting.keeps,
                    backoff=setting.backoff,
                    batch_size=setting.batch_size,
                    poll_rate=setting.poll_rate,
                    concurrency=setting.concurrency,
                    grace=setting.grace,
                    lease=setting.lease,
                    durability=setting.durability,  # type: ignore[arg-type]
                )
            except StoreError:
                self.sleep(0.5)

    # pushers

    def push(self, process: Process) -> None:
        """Be a process that pushes, in two threads perhaps."""
        queues = [self._opened(queue_id, None) for queue_id in self.setting.queues]
        duties = {
            queue.id: Duties(queue, Hands(self, process), self.setting.asking, self._seed)
            for queue in queues
            if self.setting.asking is not None and queue.id.endswith(TASKS)
        }
        for number in range(self._draw.choice([1, 2])):
            draw = Random(f"{self._seed}:{process.name}:{number}")
            self._pushers.append(
                process.begin(f"push-{number}", lambda draw=draw: self._push_on(process, queues, duties, draw))
            )

    def are_pushing(self) -> bool:
        return not all(actor.ended for actor in self._pushers)

    def push_drill(self, process: Process, queue_id: str) -> None:
        queue = self._opened(queue_id, None)
        if self.setting.asking is None or not queue_id.endswith(TASKS):
            self.pushing(process, 1, "drill", lambda: [queue.push("drill")])
        else:  # one runs, and its death must not keep the other's place
            task = Duties(queue, Hands(self, process), self.setting.asking, self._seed).tasks["drill"]
            self.pushing(process, 2, "drill", lambda: task.push_many([("drill", "x")] * 2))

    def put_right(self, process: Process, wary: float) -> None:
        """Resume what is paused; and when nobody is wary of the clock any more, watch the schedule, and end it."""
        setting, host = self.setting, self.host
        assert setting.asking is not None
        every = setting.asking.every
        duties = Duties(self._opened(setting.queues[0], None), Hands(self, process), setting.asking, self._seed)
        while self.are_pushing():  # and pausing
            self.sleep(0.5)
        self._insist(duties.put_right)
        if every is not None:
            self.sleep(wary)
            since, first = host.wall(), host.ledger.first_slot
            self.sleep(3 * every + setting.poll_rate + 1)
            until = host.wall() - int((setting.poll_rate + 1) * SECOND)
            self._insist(duties.end_schedule)
            is_complete = setting.asking.catch_up > 1 and "clock" not in host.faults.enabled
            if first is not None:
                self.watched = first if is_complete else since, until
        self.righted = True

    def _insist(self, act: Callable[[], object]) -> None:
        while True:
            try:
                act()
            except StoreError:
                self.sleep(0.5)
            else:
                return

    def _push_on(self, process: Process, queues: list[Queue], duties: dict[str, Duties], draw: Random) -> None:
        while not self.over and self.host.ledger.counts["jobs stored"] < self.setting.jobs:
            self.sleep(draw.expovariate(1 / self.setting.rate))
            is_meddling = draw.random() < 0.15
            queue = draw.choice(queues)
            if queue.id in duties:
                if is_meddling and draw.random() < 0.5:
                    duties[queue.id].meddle(draw)
                elif not is_meddling:
                    duties[queue.id].push_some(self, process, self._errand(draw), draw)
                    continue
            if is_meddling:
                self._meddle(queue, draw)
            else:
                self._push_some(process, queue, draw)

    def _errand(self, draw: Random) -> str:
        extra = {kind: 4 for kind in ("poison", "long") if self.host.faults.has(kind)}
        errands = _ERRANDS | extra
        return draw.choices(list(errands), list(errands.values()))[0]

    def _push_some(self, process: Process, queue: Queue, draw: Random) -> None:
        way, errand = draw.choice(["one", "one", "one", "after", "at", "many", "transaction"]), self._errand(draw)
        priority, wait = draw.choice([0, 0, 0, 1, -1]), draw.choice([0, 0.1, 1, 5])
        count = draw.randint(1, 8) if way in ("many", "transaction") else 1
        soon = self.host.now + int(wait * SECOND)
        run_at = instant(self.host.wall() + int(wait * SECOND))
        match way:
            case "one":
                self.pushing(process, count, errand, lambda: [queue.push(errand, priority=priority)])
            case "after":
                self.pushing(process, count, errand, lambda: [queue.push_after(errand, None, wait)], not_before=soon)
            case "at":
                self.pushing(process, count, errand, lambda: [queue.push(errand, run_at=run_at)], not_before=soon)
            case "many":
                self.pushing(process, count, errand, lambda: queue.push_many(errand, [None] * count, priority=priority))
            case "transaction":
                self._push_in_transaction(process, queue, count, errand, commits=draw.random() < 0.7)

    def _push_in_transaction(self, process: Process, queue: Queue, count: int, errand: str, *, commits: bool) -> None:
        ids: list[int] = []

        def pushes() -> list[int]:
            with queue.transaction():
                ids.extend(queue.push(errand) for _ in range(count))
                if not commits:
                    raise LookupError("the application thinks better of it")
            return ids

        self.pushing(process, count, errand, pushes)

    def pushing(
        self, process: Process, count: int, errand: str, push: Callable[[], list[int]], *, not_before: int = 0
    ) -> None:
        """Push, and write down what came of it."""
        host = self.host
        host.note(Pushing(at=host.now, jobs=count))
        try:
            ids = push()
        except (StoreError, LookupError, DuplicateJob):
            return
        if process.alive:
            times = 0 if "clock" in host.faults.enabled else not_before
            transactional = errand == "effect"
            host.note(*(Pushed(job=job, at=host.now, not_before=times, transactional=transactional) for job in ids))

    def _meddle(self, queue: Queue, draw: Random) -> None:
        """Be a person who cancels, restores and cleans."""
        known = list(self.host.ledger.due)
        job = draw.choice(known[-20:]) if known else 1
        act: Callable[[], Any] = draw.choice(
            [
                lambda: queue.cancel(job),
                lambda: queue.cancel(job),
                lambda: queue.restore(job),
                queue.restore_failed_jobs,
                queue.clean_failed_jobs,
                queue.clean_cancelled_jobs,
                queue.size,
                lambda: queue.history(job),
            ]
        )
        try:
            act()
        except (StoreError, JobNotFound):
            pass


class Hands:
    """The Worker of one process."""

    def __init__(self, cast: Cast, process: Process) -> None:
        self._cast = cast
        self._process = process
        self.duties: Duties | None = None  # where it runs tasks

    def id(self) -> str:
        return self._process.name

    def do_work(self, ctx: Context, job: Job) -> None:
        self.attempt(ctx, job.name)

    def attempt(
        self, ctx: Context, errand: str, *, got: object = None, gives: object = None, retries: bool = False
    ) -> None:
        """Run an errand, and write it down. got, gives: results; retries: whatever it raises may be tried again."""
        cast, process, job = self._cast, self._process, ctx.job
        host, by = cast.host, str(ctx.claim.runner)
        received = "" if got is None else str(got)
        host.note(Started(job=job.id, attempt=job.attempt, by=by, at=host.now, got=received))
        cast.running[process] = cast.running.get(process, 0) + 1
        host.handling.add(host.scheduler.current)
        how = ""
        try:
            ctx.set_result(gives)
            self._act(ctx, errand)
            how = "returned"
        except (RecoverableWorkerError, StoreError, Snooze):
            how = "again"
            raise
        except Cancel:
            how = "cancelled"
            raise
        except Death:
            raise
        except Exception:
            how = "again" if retries else "cancelled" if ctx.cancel_requested else "failed"
            raise
        except BaseException:
            how = "cancelled" if ctx.cancel_requested else "failed"
            raise
        finally:
            cast.running[process] -= 1
            host.handling.discard(host.scheduler.current)
            if how and process.alive:
                gave = "" if gives is None or how != "returned" else str(gives)
                host.note(Ended(job=job.id, attempt=job.attempt, by=by, how=how, at=host.now, gave=gave))

    def _act(self, ctx: Context, errand: str) -> None:
        cast, faults, job = self._cast, self._cast.host.faults, ctx.job
        draw = Random(f"{job.id}:{job.attempt}")
        match errand:
            case "snooze" if not faults.calm and job.attempt < 3:
                raise Snooze(draw.choice([0, 0.2, 2]))
            case "drop":
                raise Cancel("not to be done any more")
            case "nap":
                cast.sleep(draw.uniform(0, draw.choice([0.2, 1, cast.setting.lease])))
            case "retry" if not faults.calm and job.attempt < 4:
                raise RecoverableWorkerError("again, please", delay=draw.choice([None, None, 0, 0.2]))
            case "fail":
                raise ValueError("it cannot be done")
            case "exit":
                raise SystemExit(3)
            case "wait":
                if ctx.wait(draw.uniform(0, 2)):
                    raise RuntimeError("cut short")
            case "effect" | "spoilt" | "child":
                self._transact(ctx, errand, draw)
            case "poison" if faults.has("poison") and draw.random() < 0.7:
                cast.sleep(draw.uniform(0, 0.2))
                faults.counts["poison"] += 1
                self._process.kill()
            case "long" if faults.has("long"):
                faults.counts["long"] += 1
                cast.sleep(cast.setting.lease * draw.uniform(0.5, 2))
            case "drill":
                # The first attempt ends while the second runs, if it was frozen for as long as `Story` freezes it.
                cast.sleep(cast.setting.lease if job.attempt == 1 else cast.setting.poll_rate + 2)
                if job.attempt == 1 and job.id % 2:
                    raise RecoverableWorkerError("too late")
            case _:
                pass

    def _transact(self, ctx: Context, errand: str, draw: Random) -> None:
        ids: list[int] = []
        job = ctx.job
        if errand == "child":
            queue = self._process.queue  # type: ignore[attr-defined]
            self._cast.host.note(Pushing(jobs=1, at=self._cast.host.now))
        with ctx.transaction() as transaction:
            transaction.execute(EFFECTS)
            transaction.execute("INSERT INTO effects VALUES (?, ?)", (job.id, job.attempt))
            if errand == "child":
                ids.append(queue.push("quick") if self.duties is None else self.duties.push_child())
            if draw.random() < 0.2:
                self._cast.sleep(0.05)
            if errand == "spoilt" and job.attempt < 3:
                raise RecoverableWorkerError("spoilt")
        host = self._cast.host
        if self._process.alive:
            host.note(*(Pushed(job=child, at=host.now) for child in ids))

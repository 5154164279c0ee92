"""Scenes: what happens to a machine's clock and processes in the midst of work, and what must come of it.

Each is a function from a machine and a random source to nothing; it gives up by `Broken`, and leaves the rest to the
audit. Steps are drawn from seconds to ten years, either way.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, TypeAlias

from workqueue import JobStatus

from prove.time_faults.machine import Machine, Process, WallClock, until

STEPS: Final = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(days=3653),
)
LEASE: Final = 2.0

Scene: TypeAlias = Callable[[Machine, random.Random], None]


class Broken(Exception):  # noqa: N818 - it is told as a sentence, and is no error of ours
    """Something that should have come about did not."""


def expect(condition: bool, text: str) -> None:
    if not condition:
        raise Broken(text)


def drawn_step(draw: random.Random) -> timedelta:
    return draw.choice(STEPS) * draw.choice((1, -1))


def pause(draw: random.Random, longest: float = 0.4) -> None:
    """Let a drawn time go by, so that what comes next comes at any instant."""
    time.sleep(draw.uniform(0, longest))


def _hold(machine: Machine, jobs: int, *processes: Process) -> list[int]:
    ids = [machine.push("held") for _ in range(jobs)]
    for job_id in ids:
        expect(until(lambda: any(p.count(f"began {job_id} ") for p in processes)), f"job {job_id} was not begun")
    return ids


def _all_judged(*processes: Process) -> None:
    """Wait until each has looked for leases that ended, some times and then once more."""
    for process in processes:
        expect(process.wait_more("judged", 3), f"runner {process.runner} judges leases no more")


def _work_on(machine: Machine, *processes: Process) -> None:
    """See that new jobs are taken, and old ones end."""
    machine.release()
    fresh = [machine.push("quick") for _ in range(3)]
    done = {JobStatus.COMPLETED}
    expect(until(lambda: {machine.status(job) for job in fresh} == done), "new jobs are not run any more")
    expect(until(lambda: machine.queue.size().waiting == 0), f"left: {[(j.id, j.status) for j in machine.jobs()]}")
    for process in processes:
        process.end()


def steps_beside_leases(machine: Machine, draw: random.Random) -> None:
    """The clock steps, again and again, while two processes hold jobs: nobody loses any."""
    first, second = machine.start(), machine.start()
    _hold(machine, 6, first, second)
    _all_judged(first, second)  # the first look at leases comes only after a while
    for _ in range(draw.randint(1, 4)):
        pause(draw)
        machine.step(drawn_step(draw))
    _all_judged(first, second)
    _work_on(machine, first, second)


def suspend(machine: Machine, draw: random.Random) -> None:
    """All processes stand still for a moment that the wall clock says was long: a lid that is closed, a saved VM."""
    processes = [machine.start(), machine.start()]
    _hold(machine, 6, *processes)
    _all_judged(*processes)
    for _ in range(draw.randint(1, 3)):
        pause(draw)
        machine.suspensions += 1
        for process in processes:
            process.stop()
        machine.step(draw.choice(STEPS[1:]))
        for process in draw.sample(processes, len(processes)):
            pause(draw, 0.02)
            process.go_on()
    _all_judged(*processes)
    _work_on(machine, *processes)


def stopped_for_long(machine: Machine, draw: random.Random) -> None:
    """All are stopped for longer than the lease, and both clocks go on: Ctrl-Z and fg, a paused container."""
    processes = [machine.start(), machine.start()]
    _hold(machine, 6, *processes)
    _all_judged(*processes)
    pause(draw)
    machine.suspensions += 1
    for process in processes:
        process.stop()
    time.sleep(LEASE + draw.uniform(0.1, 0.5))
    for process in draw.sample(processes, len(processes)):
        pause(draw, 0.1)
        process.go_on()
    _all_judged(*processes)
    _work_on(machine, *processes)


def one_frozen(machine: Machine, draw: random.Random) -> None:
    """One process is frozen past its lease: the others take over, and what it settles later is refused."""
    frozen = machine.start()
    jobs = _hold(machine, 3, frozen)
    other = machine.start()
    pause(draw)
    machine.suspensions += 1
    machine.blame(frozen, "frozen")
    frozen.freeze()
    taken = until(lambda: all(other.count(f"began {job} 2") for job in jobs[:1]), LEASE * 8)
    expect(taken, "a frozen runner's jobs are not run again after its lease")
    frozen.go_on()
    _work_on(machine, frozen, other)


def death_after_step(machine: Machine, draw: random.Random) -> None:
    """A process dies, its leases anywhere in time: the free byte tells, whatever the clock says."""
    dying, other = machine.start(), machine.start()
    jobs = _hold(machine, 6, dying, other)
    mine = [job for job in jobs if dying.count(f"began {job} ")]
    ahead = drawn_step(draw)
    machine.step(ahead)
    if draw.random() < 0.5:  # with leases in the far future, or long past
        dying.wait_more("looked", 12)  # for a beat or two
        machine.step(-ahead + timedelta(seconds=draw.uniform(-5, 5)))
    machine.blame(dying, "killed")
    dying.kill()
    machine.release()  # what was lost once waits for empty hands
    for job in mine[:1]:
        expect(until(lambda: other.count(f"began {job} 2") > 0), f"job {job} of a dead runner is not run again")
    _work_on(machine, other)


def frozen_in_the_future(machine: Machine, draw: random.Random) -> None:
    """A runner is frozen with leases of a fast clock, and the clock is set right: its jobs must not stay with it."""
    frozen = machine.start()
    jobs = _hold(machine, 3, frozen)
    other = machine.start()
    ahead = draw.choice(STEPS[1:])
    machine.step(ahead)
    far = machine.clock()
    with_leases = f"SELECT count(*) FROM jobs WHERE status = 4 AND lease_until >= {far}"  # noqa: S608 - a number
    expect(until(lambda: _count(machine, with_leases) == len(jobs)), "a living runner does not renew its leases")
    machine.suspensions += 1
    machine.blame(frozen, "frozen")
    frozen.freeze()
    machine.step(-ahead)
    other.wait_more("judged", 10)  # after the quiet time that the step brings about
    taken = until(lambda: any(other.count(f"began {job} 2") for job in jobs), LEASE * 3)
    frozen.go_on()
    expect(taken, f"a frozen runner's jobs are not run again after its lease, which a step of -{ahead} made longer")
    _work_on(machine, frozen, other)


def _count(machine: Machine, sql: str) -> int:
    with machine.queue.transaction() as database:
        return int(str(database.execute(sql).fetchone()[0]))


def start_after_step(machine: Machine, draw: random.Random) -> None:
    """A process starts just after a step that it cannot know of: it must not take living leases for ended."""
    living = machine.start()
    _hold(machine, 4, living)
    for _ in range(2):
        pause(draw, LEASE / 4)
        machine.step(draw.choice(STEPS))
        _all_judged(machine.start())
    _work_on(machine, *machine.processes)


def delays(machine: Machine, draw: random.Random) -> None:
    """Steps in the midst of waiting: nothing runs before its run_at, and all of it once time has gone on."""
    worker = machine.start()
    gone = timedelta(0)
    for _ in range(12):
        kind = draw.randrange(3)
        wait = draw.uniform(0, 0.5)
        if kind == 0:
            machine.push("quick", delay=wait)
        elif kind == 1:
            machine.push("again", [draw.randint(1, 3), wait / 2])
        else:
            machine.push("quick", run_at=machine.now() + timedelta(seconds=wait))
        if draw.random() < 0.4:
            pause(draw, 0.2)
            step = drawn_step(draw)
            gone += step
            machine.step(step)
    _let_time_go_on(machine, -gone)
    _work_on(machine, worker)


def _let_time_go_on(machine: Machine, back: timedelta) -> None:
    """Set the clock to where it would be, and then an hour further."""
    machine.step(back)
    machine.step(timedelta(hours=1))
    # Retries whose delay began while the clock was ahead are due only then.
    latest = max((job.run_at for job in machine.jobs()), default=machine.now())
    if latest > machine.now():
        machine.step(latest - machine.now())

    def waits() -> bool:
        again = [job.run_at for job in machine.jobs() if job.run_at > machine.now()]
        for run_at in again[:1]:
            machine.clock.step(run_at - machine.now())
        return machine.queue.size().waiting > 0

    expect(until(lambda: not waits()), f"stuck: {[(j.id, j.name, str(j.status), j.run_at) for j in machine.jobs()]}")


def standing_still(machine: Machine, draw: random.Random) -> None:
    """The clock stands: what is due is run, what is not waits, and both go on with it."""
    machine.clock.stand_still()
    first, second = machine.start(), machine.start()
    _hold(machine, 4, first, second)
    due = [machine.push("quick") for _ in range(20)]
    later = machine.push("again", [2, 0.05])
    expect(until(lambda: {machine.status(job) for job in due} == {JobStatus.COMPLETED}), "due jobs are not run")
    _all_judged(first, second)
    expect(machine.status(later) is not JobStatus.COMPLETED, "a retry did not wait for the clock")
    machine.clock.go_on()
    _work_on(machine, first, second)


def timing_order(machine: Machine, draw: random.Random) -> None:
    """A queue by time, in odd zones, at the ends of the calendar, while the clock steps: each claim in order."""
    zones = [
        UTC,
        timezone(timedelta(hours=14)),
        timezone(-timedelta(hours=23, minutes=59, seconds=59)),
        timezone(timedelta(minutes=30, microseconds=1)),
    ]
    end = datetime.max.replace(tzinfo=UTC)
    edges = [datetime(1, 1, 3, tzinfo=UTC), datetime.fromtimestamp(1, UTC), end]
    for _ in range(30):
        at = machine.now() + timedelta(microseconds=draw.randint(-(10**7), 3 * 10**5))
        if draw.random() < 0.2:
            at = draw.choice(edges[:2])
        machine.push(draw.choice(("quick", "again")), [1, 0.01], run_at=at.astimezone(draw.choice(zones)))
    never = [machine.push("quick", run_at=end) for _ in range(2)]
    worker = machine.start(concurrency=1)
    for _ in range(3):
        pause(draw, 0.1)
        machine.step(draw.choice(STEPS[:3]))
    expect(until(lambda: machine.queue.size().waiting == len(never)), "not all that is due was run")
    expect(all(machine.status(job) is JobStatus.PENDING for job in never), "the end of the calendar came early")
    for job in never:
        machine.forgive(job)
    worker.end()


def two_clocks(machine: Machine, draw: random.Random) -> None:
    """Two processes whose clocks are an hour apart: not promised, for a machine has one; but nothing may be lost."""
    slow = machine.start()
    _hold(machine, 3, slow)
    WallClock(machine.folder / "clock", 1).step(draw.choice((1, -1)) * timedelta(hours=1))
    fast = machine.start(slot=1)
    for process in (slow, fast):
        machine.blame(process, "its clock is another's")
    fast.wait_more("judged", 5)
    machine.release()
    for _ in range(20):
        machine.push("quick")
    expect(until(lambda: machine.queue.size().waiting == 0), "stuck between two clocks")
    for process in (slow, fast):
        process.end()


TIMED: Final = frozenset({timing_order})  # those in a queue by time
UNPROMISED: Final = frozenset({two_clocks})  # there, living runners may be robbed
SCENES: Final[tuple[Scene, ...]] = (
    steps_beside_leases,
    suspend,
    delays,
    timing_order,
    death_after_step,
    one_frozen,
    start_after_step,
    standing_still,
    two_clocks,
    stopped_for_long,
    frozen_in_the_future,
)
LIMITS: Final[dict[Scene, str]] = {
    frozen_in_the_future: "a lease far in the future, left by a step back, keeps a frozen runner's jobs for that long",
}
"""What docs/guarantees.md does not promise, by the scene that shows it: told as remarks for as long as it shows."""

"""What is judged of the loop beside the invariants that all harnesses share, and its figures."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from workqueue import Attempt, Job, JobStatus

from prove.crash.handlers import DEADLY, FAILING, Task
from prove.crash.stage import Actor
from prove.journal import AnyEvent, Ended, Pushed, Started, Vanished

MAX_LOST: Final = 3
_HEARD_LATE: Final = 1_000_000  # microseconds
_GAVE_UP: Final = 4  # `workqueue run`, of too many deaths
_WARNINGS: Final = re.compile(r"was removed under us|did not last|removed or replaced|Fatal Python error")


def programs(actors: Sequence[Actor], events: Sequence[AnyEvent], log: str) -> Iterator[str]:
    """Say who ended by itself, and what the programs logged that must not be."""
    for actor in actors:
        expected = {-9, 0} if actor.wanted == "stopped" else {-9}
        if not actor.is_up:
            expected.add(-15)  # asked to stop before it could hear
        if actor.part.kind == "pair":
            expected |= {0, _GAVE_UP}
        if actor.status is not None and actor.status not in expected:
            yield f"{actor.part.slot} ended with {actor.status}, wanted {actor.wanted or 'nothing'}"
    for said, times in Counter(_said(log)).items():
        yield f"a program logged{f' {times} times' if times > 1 else ''}: {said}"


def _said(log: str) -> Iterator[str]:
    """Give what was logged that must not be; of a traceback, its last line, with the place it came from."""
    place = ""
    for line in log.splitlines():
        if line.startswith('  File "'):
            place = line.strip()
        elif place and re.match(r"[\w.]+(Error|Exception|Unavailable|\w+): ", line):
            yield f"{line} ({place})"
            place = ""
        elif _WARNINGS.search(line):
            yield line


def all_of(
    events: Sequence[AnyEvent],
    jobs: Sequence[Job],
    histories: Mapping[int, Sequence[Attempt]],
    effects: Sequence[tuple[int, str]],
    orders: Sequence[tuple[int, int | None]],
    actors: Sequence[Actor],
) -> list[str]:
    """Give the broken promises that only this harness can see."""
    traced = {name for actor in actors if actor.part.tracer for _, name in actor.runners}
    return [
        *(f"P1: {text}" for text in _acknowledged_twice(events)),
        *(f"P8: {text}" for text in blamed(events, jobs, histories)),
        *(f"P2: {text}" for text in _torn(jobs, effects)),
        *(f"P6: {text}" for text in _children(orders)),
        *(f"I7: {text}" for text in unexplained(events, traced)),
    ]


def _acknowledged_twice(events: Sequence[AnyEvent]) -> Iterator[str]:
    """An id is given out once: else the job that had it before was never there."""
    for job, times in Counter(event.job for event in events if isinstance(event, Pushed)).items():
        if times > 1:
            yield f"job {job} was acknowledged {times} times"


def blamed(
    events: Sequence[AnyEvent], jobs: Sequence[Job], histories: Mapping[int, Sequence[Attempt]]
) -> Iterator[str]:
    """A job fails by three losses, each with a death to explain it; and is blamed for a neighbour's once at most."""
    gone = {event.by: event.why for event in events if isinstance(event, Vanished)}
    for event in events:  # what a job did to its own process explains more than that it was dead then
        if isinstance(event, Vanished) and event.why.startswith("job "):
            gone[event.by] = event.why
    by = {(event.job, event.attempt): event.by for event in events if isinstance(event, Started)}
    for job in jobs:
        if job.status is not JobStatus.FAILED:
            continue
        lost = [attempt for attempt in histories[job.id] if attempt.outcome == "lost"]
        if job.name != FAILING and (job.lost != MAX_LOST or len(lost) != MAX_LOST):
            yield f"job {job.id} {job.name!r} failed after {len(lost)} losses: {job.message}"
        for number, attempt in enumerate(lost):
            runner = by.get((job.id, attempt.attempt))
            if runner is None:
                continue
            if runner not in gone:
                yield f"job {job.id}: attempt {attempt.attempt} counts as lost, but {runner} lived"
            elif number and gone[runner].startswith("job ") and gone[runner] != f"job {job.id}":
                yield f"job {job.id}: loss {number + 1} was the doing of {gone[runner]}"
    for job in jobs:
        if job.name == DEADLY and (job.status, job.lost) != (JobStatus.FAILED, MAX_LOST):
            yield f"job {job.id} kills its process, but is {job.status} after {job.lost} losses"


def _torn(jobs: Sequence[Job], effects: Sequence[tuple[int, str]]) -> Iterator[str]:
    """A push of many leaves all of them or none: those that have an effect, and those that failed instead."""
    there = Counter(batch for _, batch in effects if batch)
    there.update(batch for job in jobs if (batch := job.decode(Task).batch))
    for batch, count in there.items():
        of = int(batch.rpartition("/")[2])
        if count != of:
            yield f"{count} of {of} jobs of push_many {batch} are there"


def _children(orders: Sequence[tuple[int, int | None]]) -> Iterator[str]:
    for parent, times in Counter(parent for _, parent in orders if parent is not None).items():
        if times > 1:
            yield f"job {parent} pushed {times} children in its one transaction"


def unexplained(events: Sequence[AnyEvent], traced: Collection[str] = ()) -> Iterator[str]:
    """A job that runs again does so after a retry, or after its runner had vanished: not one that vanishes later.

    traced: runners of whose death at a system call is known only when somebody buried them.
    """
    vanished: dict[str, int] = {}
    ended: dict[tuple[int, int], Ended] = {}
    starts: defaultdict[int, list[Started]] = defaultdict(list)
    for event in events:
        match event:
            case Vanished():
                vanished[event.by] = min(event.at, vanished.get(event.by, event.at))
            case Ended():
                ended[event.job, event.attempt] = event
            case Started():
                starts[event.job].append(event)
            case _:
                pass
    for job, story in starts.items():
        for before, after in pairwise(sorted(story, key=lambda start: start.attempt)):
            end = ended.get((job, before.attempt))
            known = vanished.get(before.by, after.at + 1) - _HEARD_LATE * (before.by in traced)
            if known > after.at and (end is None or end.how != "again"):
                yield f"job {job}: attempt {after.attempt} began by {after.by} while {before.by} lived with it"


def killed_by_jobs(events: Sequence[AnyEvent]) -> int:
    return sum(isinstance(event, Vanished) and event.why.startswith("job ") for event in events)


def frozen_past_lease(events: Sequence[AnyEvent]) -> int:
    return sum(isinstance(event, Vanished) and event.why == "frozen" for event in events)


def died_at_calls(actors: Sequence[Actor], events: Sequence[AnyEvent]) -> Counter[str]:
    """Count the deaths by strace's hand, by the system call."""
    by_job = {event.by for event in events if isinstance(event, Vanished) and event.why.startswith("job ")}
    return Counter(
        actor.part.tracer[actor.part.tracer.index("-e") + 1].removeprefix("trace=")
        for actor in actors
        if actor.part.tracer and not actor.wanted and not any(name in by_job for _, name in actor.runners)
    )


def rescues(events: Sequence[AnyEvent], actors: Sequence[Actor]) -> list[float]:
    """Give the seconds from each death under a job to the job's next start, where a worker lived all the while.

    First losses only: after the second, the job waits on purpose.
    """
    died: dict[str, int] = {}
    for event in events:
        if isinstance(event, Vanished) and event.why != "stopped":
            died.setdefault(event.by, event.at)
    ended = {(event.job, event.attempt) for event in events if isinstance(event, Ended)}
    starts: defaultdict[int, list[Started]] = defaultdict(list)
    for event in events:
        if isinstance(event, Started):
            starts[event.job].append(event)
    workers = [actor for actor in actors if actor.part.kind in ("work", "async") and actor.is_up]
    seconds: list[float] = []
    for story in starts.values():
        losses = 0
        for before, after in pairwise(story):
            at = died.get(before.by)
            if at is None or (before.job, before.attempt) in ended or at < before.at:
                continue
            losses += 1
            if losses == 1 and any(
                one.born_at < at and min(one.dead_at or after.at, one.hurt_at or after.at) >= after.at
                for one in workers
            ):
                seconds.append((after.at - at) / 1e6)
    return seconds

"""The auditor: what was written down outside the store, against what the store says in the end. All harnesses share it.

Each invariant is one function from the evidence to the sentences it finds broken, under its number. Those about what
jobs ask for beyond their turn are in asked.py; those of the crash loop, which knows no order of commits, are in
crash/tasks/judge.py.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec
from workqueue.job import Job, JobStatus
from workqueue.lifecycle import WAITING

from prove.asked import INVARIANTS as OF_TERMS
from prove.asked import Periodic, Standing
from prove.journal import AnyEvent, Claimed, Ended, Forgiven, Pushed, Pushing, Settled, Started, Vanished


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The store when nothing runs any more.

    complaints: what `check()` and the engine's own integrity check say. effects: rows that transactional handlers
    wrote, by job; None where there are none to look for. quiet: whether all that was due has had its time to run.
    leaks: what should be flat and is not, as sentences. batches: by id, as the store counts them. periodic: schedules
    of which no slot may be missing in a time.
    """

    jobs: Sequence[Job]
    complaints: Sequence[str] = ()
    effects: Mapping[int, int] | None = None
    quiet: bool = True
    leaks: Sequence[str] = ()
    batches: Mapping[int, Standing] = {}
    periodic: Sequence[Periodic] = ()


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """broken: a sentence for each invariant found broken, its number first. counts: what the evidence holds."""

    broken: list[str]
    counts: dict[str, int]


class Evidence:
    """The events, by what they are about."""

    def __init__(self, events: Sequence[AnyEvent], ending: Ending) -> None:
        self.ending = ending
        self.events = events
        self.left = {job.id: job for job in ending.jobs}
        self.announced = 0
        self.until = max((event.at for event in events), default=0)
        self.pushed: dict[int, Pushed] = {}
        self.claims: defaultdict[int, list[Claimed]] = defaultdict(list)
        self.turns: defaultdict[tuple[str, int], list[Claimed]] = defaultdict(list)
        self.starts: defaultdict[int, list[Started]] = defaultdict(list)
        self.ends: dict[tuple[int, int], Ended] = {}
        self.settled: defaultdict[int, list[Settled]] = defaultdict(list)
        self.story: defaultdict[int, list[Claimed | Settled | Forgiven]] = defaultdict(list)  # in the order noted
        self.vanished: set[str] = set()
        self.forgiven: Counter[int] = Counter()
        for event in events:
            self._file(event)

    def _file(self, event: AnyEvent) -> None:
        match event:
            case Pushing():
                self.announced += event.jobs
            case Pushed():
                self.pushed[event.job] = event
            case Claimed():
                self.claims[event.job].append(event)
                if event.turn:
                    self.turns[event.by, event.turn].append(event)
                self.story[event.job].append(event)
            case Started():
                self.starts[event.job].append(event)
            case Ended():
                self.ends[event.job, event.attempt] = event
            case Settled():
                self.settled[event.job].append(event)
                self.story[event.job].append(event)
            case Vanished():
                self.vanished.add(event.by)
            case Forgiven():
                self.forgiven[event.job] += 1
                self.story[event.job].append(event)
            case _:  # a refusal is what should happen to a late settlement
                pass

    def is_gone(self, job: int) -> bool:
        """Say whether the job has left, or is kept as one that completed."""
        return job not in self.left or self.left[job].status is JobStatus.COMPLETED

    def effects(self, job: int) -> int:
        return (self.ending.effects or {}).get(job, 0)

    def came_to_an_end(self, job: int) -> bool:
        """Say whether something outside the store shows that the job was dealt with."""
        return (
            any(map(_is_final, self.settled[job]))
            or any(self._ended_for_good(start) for start in self.starts[job])
            or self.effects(job) > 0
            or self.forgiven[job] > 0
        )

    def _ended_for_good(self, start: Started) -> bool:
        end = self.ends.get((start.job, start.attempt))
        return end is not None and end.how != "again"


def lost(evidence: Evidence) -> Iterator[str]:
    """I1: each acknowledged job is in the store, or was dealt with."""
    for job in evidence.pushed:
        if job not in evidence.left and not evidence.came_to_an_end(job):
            yield f"job {job} was acknowledged, and is neither there nor dealt with"


def ghosts(evidence: Evidence) -> Iterator[str]:
    """I2: no job that nobody pushed."""
    seen = evidence.left.keys() | evidence.claims.keys() | evidence.starts.keys()
    unacknowledged = seen - evidence.pushed.keys()
    unanswered = evidence.announced - len(evidence.pushed)
    if evidence.announced and len(unacknowledged) > unanswered:
        yield f"{len(unacknowledged)} jobs are there that no push returned, but only {unanswered} pushes were cut short"


def settled_twice(evidence: Evidence) -> Iterator[str]:
    """I3: each attempt is settled at most once, and each job for good at most once."""
    for job, settled in evidence.settled.items():
        for attempt, times in Counter(event.attempt for event in settled).items():
            if times > 1:
                yield f"job {job}, attempt {attempt}: settled {times} times"
        ends = sum(map(_is_final, settled))
        if ends > 1 + evidence.forgiven[job]:
            yield f"job {job}: settled for good {ends} times"


def settled_late(evidence: Evidence) -> Iterator[str]:
    """I4: what is settled is the latest attempt."""
    for job, story in evidence.story.items():
        latest = 0
        for event in story:
            if isinstance(event, Claimed):
                latest = max(latest, event.attempt)
            elif isinstance(event, Settled) and event.attempt < latest:
                yield f"job {job}: attempt {event.attempt} was settled after attempt {latest} was claimed"


def attempts_repeat(evidence: Evidence) -> Iterator[str]:
    """I5: no attempt is given out or begun twice; with nobody dying, they are 1, 2, 3, ….

    A death can hide a claim between its commit and the note of it, so that a number is missing here.
    """
    for job, claims in evidence.claims.items():
        numbers = [claim.attempt for claim in claims]
        if len(set(numbers)) < len(numbers):
            yield f"job {job}: the same attempt was claimed twice: {numbers}"
        elif not evidence.vanished and sorted(numbers) != list(range(1, len(numbers) + 1)):
            yield f"job {job}: expected attempts 1, 2, 3, …, got: {numbers}"
    for job, starts in evidence.starts.items():
        numbers = [start.attempt for start in starts]
        if len(set(numbers)) < len(numbers):
            yield f"job {job}: the same attempt was begun twice: {numbers}"


def effects_doubled(evidence: Evidence) -> Iterator[str]:
    """I6: one effect for each transactional job that completed, none for any other."""
    if evidence.ending.effects is None:
        return
    for job, rows in evidence.ending.effects.items():
        if rows > 1:
            yield f"job {job}: {rows} effects"
        if not evidence.is_gone(job) and not evidence.forgiven[job]:
            yield f"job {job}: its effect is there, but the job has not left the store"
    for job, push in evidence.pushed.items():
        gone = evidence.is_gone(job) and not evidence.forgiven[job]
        if push.transactional and gone and not evidence.effects(job) and not _failed_for_good(evidence, job):
            yield f"job {job}: completed without its effect"


def run_again_without_reason(evidence: Evidence) -> Iterator[str]:
    """I7: a job runs again only after a retry or a loss, and beside itself only when its runner had vanished."""
    for job, starts in evidence.starts.items():
        for before, after in pairwise(sorted(starts, key=lambda start: start.attempt)):
            end = evidence.ends.get((job, before.attempt))
            if before.by in evidence.vanished or evidence.forgiven[job]:
                continue
            if end is None or end.how != "again":
                how = "did not end" if end is None else f"ended as {end.how!r}"
                yield f"job {job}: attempt {after.attempt} began, but attempt {before.attempt} {how}, its runner alive"
            elif after.at < end.at:
                yield f"job {job}: attempt {after.attempt} began while attempt {before.attempt} still ran"


def begun_early(evidence: Evidence) -> Iterator[str]:
    """I8: nothing starts before its time."""
    for job, push in evidence.pushed.items():
        for event in (*evidence.claims[job], *evidence.starts[job]):
            if event.at < push.not_before:
                yield f"job {job}: attempt {event.attempt} came {push.not_before - event.at:,} µs before its time"


def stuck(evidence: Evidence) -> Iterator[str]:
    """I9: in the end nothing runs, and nothing that is due waits."""
    if not evidence.ending.quiet:
        return
    for job in evidence.left.values():
        push = evidence.pushed.get(job.id)
        if job.status is JobStatus.RUNNING:
            yield f"job {job.id}: still running, attempt {job.attempt}"
        elif job.status in WAITING and (push is None or push.not_before <= evidence.until):
            yield f"job {job.id}: still {job.status}, attempt {job.attempt}, message {job.message!r}"


def moved_illegally(evidence: Evidence) -> Iterator[str]:
    """I10: nothing comes after the end, unless a person brought the job back."""
    for job, story in evidence.story.items():
        ended_at = 0
        for event in story:
            if isinstance(event, Forgiven):
                ended_at = 0
            elif ended_at and event.attempt > ended_at:
                yield f"job {job}: settled for good at attempt {ended_at}, then came attempt {event.attempt}"
            elif isinstance(event, Settled) and _is_final(event):
                ended_at = event.attempt


def complained(evidence: Evidence) -> Iterator[str]:
    """I11: the store finds nothing wrong with itself."""
    yield from evidence.ending.complaints


def out_of_order(evidence: Evidence) -> Iterator[str]:
    """I12: what one turn gives is in order: the higher priority first, then by place, then by id."""
    for (runner, turn), claims in evidence.turns.items():
        given = [(-claim.priority, claim.place, claim.job) for claim in claims]
        if given != sorted(given):
            yield f"turn {turn} of {runner} gave jobs out of order: {[claim.job for claim in claims]}"


def leaked(evidence: Evidence) -> Iterator[str]:
    """I14: what should be flat is flat."""
    yield from evidence.ending.leaks


Judge = Callable[[Evidence], Iterator[str]]

INVARIANTS: Final[Mapping[str, Judge]] = {
    "I1": lost,
    "I2": ghosts,
    "I3": settled_twice,
    "I4": settled_late,
    "I5": attempts_repeat,
    "I6": effects_doubled,
    "I7": run_again_without_reason,
    "I8": begun_early,
    "I9": stuck,
    "I10": moved_illegally,
    "I11": complained,
    "I12": out_of_order,
    "I14": leaked,
    **OF_TERMS,
}


def audit(events: Sequence[AnyEvent], ending: Ending) -> Audit:
    """Judge one run by all invariants for which there is evidence."""
    evidence = Evidence(events, ending)
    found = {number: list(judge(evidence)) for number, judge in INVARIANTS.items()}
    again = sum(len(starts) > 1 for starts in evidence.starts.values())
    counts = {
        "jobs acknowledged": len(evidence.pushed),
        "run more than once": again,
        "lost": len(found["I1"]),
        "settled twice": len(found["I3"]),
        "effects doubled": len(found["I6"]),
        "stuck": len(found["I9"]),
    }
    return Audit(broken=[f"{number}: {text}" for number, texts in found.items() for text in texts], counts=counts)


def _is_final(event: Settled) -> bool:
    return event.to in {"completed", "failed", "cancelled"}


def _failed_for_good(evidence: Evidence, job: int) -> bool:
    """Say whether it ended without completing, and was dropped rather than kept."""
    settled = any(event.to in {"failed", "cancelled"} for event in evidence.settled[job])
    ended = any((end := evidence.ends.get((job, start.attempt))) and end.how in {"failed", "cancelled"}
                for start in evidence.starts[job])  # fmt: skip
    return settled or ended

"""What tasks ask for, judged from what their runs noted: limits, rates, orders, keys, batches, chains.

A run lasts from the note that it began until the first that is known of its end: its own note, the store's settling of
the attempt, or the death of whoever ran it. It is claimed before and settled after, so what must hold of claims holds
of runs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec
from workqueue import Job, JobStatus

from prove.crash.tasks import terms
from prove.crash.tasks.terms import APART
from prove.journal import AnyEvent, Batched, Claimed, Ended, Pushed, Settled, Started, Vanished

_STILL_THERE: Final = 2_000_000  # microseconds that a child may live on after the runner above it was killed
_NEVER: Final = 2**63


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one job. ended: when; `_NEVER` when nothing is known of that. returned: its handler did."""

    job: int
    attempt: int
    task: str
    about: str
    got: str
    by: str
    began: int
    ended: int
    returned: bool


class _OfBatch(msgspec.Struct, frozen=True):
    """What the data of a batch's jobs say."""

    batch: str


class Story:
    """The events of a unit, by what they tell of its tasks; in the order of their instants."""

    def __init__(self, events: Sequence[AnyEvent]) -> None:
        self.seen: dict[int, int] = {}  # job → the first that is known of it
        self.again = 0
        self.sealed: dict[str, int] = {}
        self.claims: defaultdict[int, list[int]] = defaultdict(list)  # by the store's clock
        self.died: dict[str, int] = {}
        ends: dict[tuple[int, int], Ended] = {}
        settled: dict[tuple[int, int], int] = {}
        starts: list[Started] = []
        for event in events:
            match event:
                case Pushed(job=job):
                    self.again += job in self.seen
                    self.seen.setdefault(job, event.at)
                case Claimed(job=job):
                    self.seen.setdefault(job, event.at)
                    self.claims[job].append(event.clock or event.at)
                case Started(job=job):
                    self.seen.setdefault(job, event.at)
                    starts.append(event)
                case Ended(job=job, attempt=attempt):
                    ends[job, attempt] = event
                case Settled(job=job, attempt=attempt):
                    settled.setdefault((job, attempt), event.at)
                case Vanished(why=why) if why != "stopped":  # who is stopped still ends what runs
                    self.died.setdefault(event.by, event.at)
                case Batched(batch=batch):
                    self.sealed[batch] = event.jobs
                case _:
                    pass
        self.runs = [self._run(start, ends, settled) for start in starts]
        self.of_job: defaultdict[int, list[Run]] = defaultdict(list)
        self.of_task: defaultdict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            self.of_job[run.job].append(run)
            self.of_task[run.task].append(run)

    def _run(
        self,
        start: Started,
        ends: Mapping[tuple[int, int], Ended],
        settled: Mapping[tuple[int, int], int],
    ) -> Run:
        place = start.job, start.attempt
        end = ends.get(place)
        known = [settled.get(place, _NEVER), self.died.get(start.by, _NEVER), _NEVER if end is None else end.at]
        return Run(
            job=start.job,
            attempt=start.attempt,
            task=start.task,
            about=start.about,
            got=start.got,
            by=start.by,
            began=start.at,
            ended=max(start.at, min(known)),
            returned=end is not None and end.how == "returned",
        )

    def lanes(self, task: str) -> Mapping[str, list[Run]]:
        """Give the runs of a task by the argument that its terms depend on."""
        found: defaultdict[str, list[Run]] = defaultdict(list)
        for run in self.of_task[task]:
            found[run.about].append(run)
        return found

    def jobs(self, runs: Iterable[Run]) -> list[list[Run]]:
        """Give the runs job by job, in the order of the pushes."""
        return [self.of_job[job] for job in sorted({run.job for run in runs})]


def all_of(story: Story, jobs: Sequence[Job], effects: Sequence[tuple[int, str]]) -> list[str]:
    """Give the broken promises of tasks. jobs: those left in the file; effects: the rows of callbacks."""
    failed = [job for job in jobs if job.status is JobStatus.FAILED]
    return [
        *(f"I15: {text}" for text in over_limit(story)),
        *(f"I16: {text}" for text in over_rate(story)),
        *(f"I13: {text}" for text in out_of_order(story)),
        *(f"I17: {text}" for text in key_taken_twice(story)),
        *(f"I18: {text}" for text in called_back_wrongly(story, effects, failed)),
        *(f"I19: {text}" for text in passed_on_wrongly(story)),
        *(f"I20: {text}" for text in outlived(story)),
    ]


def over_limit(story: Story) -> Iterator[str]:
    """I15: at no instant more runs of a lane than its limit."""
    for task, most in terms.LIMITS.items():
        for about, runs in story.lanes(task).items():
            if (found := at_once(runs)) > most:
                yield f"{found} runs of {task} {about} at once, of at most {most}"


def at_once(runs: Iterable[Run]) -> int:
    """Give how many of them ran at one instant, at most."""
    steps = sorted(step for run in runs for step in ((run.began, 1), (run.ended, -1)))  # an end before a beginning
    now = most = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def over_rate(story: Story) -> Iterator[str]:
    """I16: no more claims of a lane within any such time than its rate."""
    most, milliseconds = terms.RATE
    for about, runs in story.lanes(terms.RATED).items():
        claims = sorted(at for job in {run.job for run in runs} for at in story.claims[job])
        for first, last in zip(claims, claims[most:], strict=False):
            if last - first < milliseconds * 1000:
                yield f"{most + 1} claims of {terms.RATED} {about} within {last - first:,} us"


def out_of_order(story: Story) -> Iterator[str]:
    """I13: of an order one job runs after another, each until its end, as they were pushed."""
    for about, runs in story.lanes(terms.ORDERED).items():
        for before, after in pairwise(story.jobs(runs)):
            if min(run.began for run in after) < max(run.ended for run in before):
                yield f"job {after[0].job} of {about} began before the end of job {before[0].job}"


def key_taken_twice(story: Story) -> Iterator[str]:
    """I17: no second job of a key was stored while the first one was open."""
    for about, runs in story.lanes(terms.UNIQUE).items():
        for before, after in pairwise(story.jobs(runs)):
            # It was open when a run of it began, and when one returned; the second was there when we heard of it.
            open_until = max(run.ended if run.returned else run.began for run in before)
            if story.seen[after[0].job] < open_until:
                yield f"job {after[0].job} of key {about} was stored before job {before[0].job} ended"


def called_back_wrongly(story: Story, effects: Sequence[tuple[int, str]], failed: Sequence[Job]) -> Iterator[str]:
    """I18: what follows a batch is one job, and runs once, after all jobs of the batch have ended.

    failed: jobs that were lost too often, perhaps before they could say that they began.
    """
    parts: defaultdict[str, list[Run]] = defaultdict(list)
    for task in sorted(terms.PARTS):
        for about, runs in story.lanes(task).items():
            parts[about] += runs
    callbacks = story.lanes(terms.CALLBACK)
    rows = Counter(batch for _, batch in effects)
    never_began = Counter(
        job.decode(_OfBatch).batch for job in failed if job.name in terms.PARTS and job.id not in story.of_job
    )
    not_called = {job.decode(_OfBatch).batch for job in failed if job.name == terms.CALLBACK}
    for batch in sorted(parts.keys() | callbacks.keys() | story.sealed.keys()):
        calls = callbacks.get(batch, [])
        followers = {run.job for run in calls}
        if len(followers) > 1 or rows[batch] > 1:
            yield f"batch {batch} was called back by {len(followers)} jobs, with {rows[batch]} effects"
        if batch in story.sealed and not rows[batch] and batch not in not_called:
            yield f"batch {batch} was never called back"
        if not calls:
            continue
        of_batch = story.jobs(parts[batch])
        ran = len(of_batch) + never_began[batch]
        if batch in story.sealed and ran != story.sealed[batch]:
            yield f"{ran} jobs of batch {batch} ran, of {story.sealed[batch]}"
        began = min(run.began for run in calls)
        late = [runs[0].job for runs in of_batch if max(run.ended for run in runs) > began]
        if late:
            yield f"batch {batch} was called back before its jobs {late} ended"


def passed_on_wrongly(story: Story) -> Iterator[str]:
    """I19: each call of a chain runs after the one before it, and gets what that one's last attempt gave."""
    chains: defaultdict[str, list[Run]] = defaultdict(list)
    for task in sorted(terms.LINKS):
        for about, runs in story.lanes(task).items():
            chains[about] += runs
    for about, runs in chains.items():
        for before, after in pairwise(story.jobs(runs)):
            last = max(before, key=lambda run: run.attempt)
            expected = f"{last.job}:{last.attempt}"
            for run in after:
                if run.got != expected or not last.returned or run.began < last.ended:
                    yield f"job {run.job} of chain {about} got {run.got!r}, expected {expected!r} once that had ended"


def outlived(story: Story) -> Iterator[str]:
    """I20: what runs in a child process does not outlive the runner that has its job."""
    for run in story.runs:
        runner, apart, _ = run.by.partition(APART)
        gone = story.died.get(runner)
        if apart and gone is not None and run.began > gone + _STILL_THERE:
            yield f"job {run.job} began in a child of {runner} {(run.began - gone) / 1e6:.1f} s after its death"


def children_vanish(events: Iterable[AnyEvent]) -> list[AnyEvent]:
    """Give the deaths that follow from others: with a runner, its children."""
    children: defaultdict[str, set[str]] = defaultdict(set)
    gone: list[Vanished] = []
    for event in events:
        if isinstance(event, Started) and APART in event.by:
            children[event.by.partition(APART)[0]].add(event.by)
        elif isinstance(event, Vanished):
            gone.append(event)
    return [
        Vanished(at=event.at, by=child, why=event.why) for event in gone for child in sorted(children.get(event.by, ()))
    ]


def figures(story: Story) -> dict[str, int]:
    """Count what was seen, so that a harness which saw nothing is not taken for a proof."""
    full = sum(at_once(runs) == most for task, most in terms.LIMITS.items() for runs in story.lanes(task).values())
    return {
        "lanes": sum(len(story.lanes(task)) for task in terms.LIMITS),
        "of them seen full": full,
        "runs in child processes": sum(APART in run.by for run in story.runs),
        "pushes answered by the key's job": story.again,
        "batches called back": len(story.lanes(terms.CALLBACK)),
        "results passed on": sum(bool(run.got) for task in terms.LINKS for run in story.of_task[task]),
    }

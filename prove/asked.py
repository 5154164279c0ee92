"""What jobs ask for beyond their turn, and whether they got it: limits, rates, orders, keys, batches, chains, slots.

The events are told once more, in the order of the commits, so that each is judged by how all jobs stood just then. A
journal without `Asked` has nothing to say here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec
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
    Sealed,
    SetBack,
    Settled,
    Started,
    Vanished,
)

_FINAL: Final = {"completed", "failed", "cancelled"}


class Standing(NamedTuple):
    """A batch as the store counts it."""

    total: int
    completed: int
    failed: int
    cancelled: int


class Periodic(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule with a slot at each multiple of `every` microseconds. From `since` to `until` none may be missing."""

    queue: str
    name: str
    every: int
    since: int
    until: int


class _Ending(Protocol):
    @property
    def batches(self) -> Mapping[int, Standing]: ...
    @property
    def periodic(self) -> Sequence[Periodic]: ...


class Evidence(Protocol):
    """What is asked of `audit.Evidence`."""

    @property
    def events(self) -> Sequence[AnyEvent]: ...
    @property
    def ending(self) -> _Ending: ...


class Life:
    """How a job stands. attempt: the one that was settled last; touched: by a person, or whatever else cancels."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.terms = asked.terms
        self.status = "pending"
        self.due = asked.due
        self.attempt = 0
        self.touched = False

    def is_open(self) -> bool:
        return self.status not in _FINAL

    def is_due(self, clock: int) -> bool:
        """Say whether it is due, or waits for another try."""
        return self.status == "retrying" or (self.status == "pending" and self.due <= clock)


Lives = dict[int, Life]


def _told(evidence: Evidence) -> Iterator[tuple[AnyEvent, Lives]]:
    """Give each event with how all jobs stand before it."""
    lives: Lives = {}
    for event in evidence.events:
        yield event, lives
        match event:
            case Asked():
                lives[event.job] = Life(event)
            case Claimed(job=job) if job in lives:
                lives[job].status = "running"
            case Settled(job=job) if job in lives:
                life = lives[job]
                life.status, life.due, life.attempt = event.to, event.due, event.attempt
            case Forgiven(job=job) if job in lives:
                lives[job].touched = True
                if event.to:
                    lives[job].status, lives[job].due = event.to, 0
            case _:
                pass


def _claimed(evidence: Evidence) -> Iterator[tuple[Claimed, Life, Lives]]:
    for event, lives in _told(evidence):
        if isinstance(event, Claimed) and event.job in lives:
            yield event, lives[event.job], lives


def out_of_turn(evidence: Evidence) -> Iterator[str]:
    """I13: the jobs of an order run one at a time, none while an earlier one is due or waits for another try."""
    for event, life, lives in _claimed(evidence):
        order = life.terms.order
        if order is None:
            continue
        for other, beside in lives.items():
            if other == event.job or beside.terms.order != order or beside.asked.queue != life.asked.queue:
                continue
            if beside.status == "running":
                yield f"job {event.job} was claimed while job {other} of the same order {order!r} ran"
            elif other < event.job and beside.is_due(event.clock):
                yield f"job {event.job} was claimed before job {other} of the same order {order!r}"


def over_the_limit(evidence: Evidence) -> Iterator[str]:
    """I15: no more jobs of a lane run at once than its limit: by the store, and by what their handlers see.

    Handlers of runners that vanished do not count, nor one that goes on after its own transaction has completed it.
    """
    handlers: dict[tuple[int, int], Started] = {}
    vanished: set[str] = set()
    for event, lives in _told(evidence):
        match event:
            case Claimed(job=job) if job in lives:
                beside = [other for other in _of_lane(lives, lives[job]) if lives[other].status == "running"]
                yield from _judged(event, lives[job], beside, "were claimed")
            case Started(job=job) if job in lives and event.by not in vanished:
                running = {started.job for started in handlers.values()}
                beside = [other for other in _of_lane(lives, lives[job]) if other in running]
                yield from _judged(event, lives[job], beside, "ran")
                handlers[job, event.attempt] = event
            case Ended():
                handlers.pop((event.job, event.attempt), None)
            case Settled() if event.by == HANDLER:
                handlers.pop((event.job, event.attempt), None)
            case Vanished():
                vanished.add(event.by)
                handlers = {which: started for which, started in handlers.items() if started.by != event.by}
            case _:
                pass


def _of_lane(lives: Lives, life: Life) -> list[int]:
    limit, queue = life.terms.limit, life.asked.queue
    if limit is None:
        return []
    return [
        job
        for job, other in lives.items()
        if other is not life
        and other.terms.limit is not None
        and other.terms.limit.name == limit.name
        and other.asked.queue == queue
    ]


def _judged(event: Claimed | Started, life: Life, beside: Sequence[int], what: str) -> Iterator[str]:
    limit = life.terms.limit
    if limit is not None and limit.most is not None and len(beside) >= limit.most:
        jobs = sorted([*beside, event.job])
        yield f"jobs {jobs} of lane {limit.name!r} {what} at once, of which {limit.most} may run"


def too_fast(evidence: Evidence) -> Iterator[str]:
    """I16: within any `per` of a lane, by the store's clock, no more jobs start than its rate."""
    starts: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for event, lives in _told(evidence):
        if isinstance(event, SetBack):
            starts.clear()
        if not isinstance(event, Claimed) or event.job not in lives:
            continue
        life = lives[event.job]
        rate = life.terms.rate
        if rate is None or rate.starts is None:
            continue
        known = starts[life.asked.queue, rate.name]
        if known and event.clock < known[-1]:
            known.clear()  # set back while the claim was under way
        since = event.clock - micros(rate.per)
        known[:] = [*(at for at in known if at > since), event.clock]
        if len(known) > rate.starts:
            yield f"{len(known)} jobs of lane {rate.name!r} started within {rate.per}, of which {rate.starts} may"


def doubled(evidence: Evidence) -> Iterator[str]:
    """I17: one open job for each key, and none while a window keeps the key, but where it replaces another."""
    windows: dict[tuple[str, str, str], int] = {}
    for event, lives in _told(evidence):
        if isinstance(event, SetBack):
            windows.clear()
        is_open_again = isinstance(event, Forgiven) and event.to == "pending" and event.job in lives
        if not is_open_again and not isinstance(event, Asked):
            continue
        asked = event if isinstance(event, Asked) else lives[event.job].asked
        if asked.terms.key is None:
            continue
        place = asked.queue, asked.name, asked.terms.key
        for other, life in lives.items():
            mine = life.asked
            if other != event.job and life.is_open() and (mine.queue, mine.name, mine.terms.key) == place:
                yield f"job {event.job} has the key {place[2]!r} of job {other}, which is {life.status}"
        if isinstance(event, Asked):
            if windows.get(place, 0) > event.clock:
                yield f"job {event.job} was stored though its key {place[2]!r} was taken for a time yet"
            if event.unique_until:
                windows[place] = event.unique_until


def not_to_run(evidence: Evidence) -> Iterator[str]:
    """I18: nothing starts that is paused or past its time, and nothing ends as expired before it."""
    paused: set[tuple[str, str]] = set()
    for event, lives in _told(evidence):
        if isinstance(event, Paused):
            (paused.add if event.on else paused.discard)((event.queue, event.name))
        if isinstance(event, Claimed) and event.job in lives:
            asked, expires_at = lives[event.job].asked, _expires_at(lives[event.job])
            if paused & {(asked.queue, ""), (asked.queue, asked.name)}:
                yield f"job {event.job} {asked.name!r} was claimed while that was paused"
            if expires_at is not None and expires_at <= event.clock:
                yield f"job {event.job} was claimed {event.clock - expires_at:,} µs after it had expired"
        elif isinstance(event, Forgiven) and event.job in lives and event.why.startswith("expired"):
            expires_at = _expires_at(lives[event.job])
            if expires_at is None or expires_at > event.clock:
                yield f"job {event.job} ended as expired before its time"


def _expires_at(life: Life) -> int | None:
    expires_at = life.terms.expires_at
    return None if expires_at is None else micros(expires_at)


def batches_miscounted(evidence: Evidence) -> Iterator[str]:
    """I19: what follows a batch runs when it is sealed and all of it has ended; the store counts it as it is."""
    sealed: set[int] = set()
    members: defaultdict[int, list[int]] = defaultdict(list)
    lives: Lives = {}
    for event, lives in _told(evidence):  # noqa: B007 - as they stand in the end
        match event:
            case Sealed(batch=batch):
                sealed.add(batch)
            case Asked(terms=terms) if terms.batch is not None:
                members[terms.batch].append(event.job)
                if terms.batch in sealed:
                    yield f"job {event.job} came into batch {terms.batch} after it was sealed"
            case Claimed(job=job) if job in lives and (batch := lives[job].terms.follows_batch) is not None:
                if lives[job].touched:
                    continue
                if batch not in sealed:
                    yield f"job {job} follows batch {batch}, and was claimed before that was sealed"
                left = [other for other in members[batch] if lives[other].is_open() and not lives[other].touched]
                if left:
                    yield f"job {job} follows batch {batch}, and was claimed before jobs {left} of it had ended"
            case _:
                pass
    for batch, standing in evidence.ending.batches.items():
        ends = Counter(lives[job].status for job in members[batch])
        real = Standing(len(members[batch]), ends["completed"], ends["failed"], ends["cancelled"])
        if standing != real:
            yield f"batch {batch} counts {standing}, but it is {real}"


def chains_broken(evidence: Evidence) -> Iterator[str]:
    """I20: what follows a job runs when that has completed, with its result; and is cancelled only if it did not."""
    gave: dict[tuple[int, int], str] = {}
    for event, lives in _told(evidence):
        if isinstance(event, Ended) and event.gave:
            gave[event.job, event.attempt] = event.gave
        if not isinstance(event, Claimed | Started | Forgiven) or event.job not in lives:
            continue
        life = lives[event.job]
        before = life.terms.follows
        if before is None or life.touched or before not in lives:
            continue
        first = lives[before]
        match event:
            case Claimed() if first.status != "completed":
                yield f"job {event.job} was claimed, but job {before}, which it follows, is {first.status}"
            case Started() if event.got and event.got != gave.get((before, first.attempt), event.got):
                yield f"job {event.job} got {event.got} of job {before}, which gave {gave[before, first.attempt]}"
            case Forgiven() if "which it follows" in event.why and first.status not in {"failed", "cancelled"}:
                yield f"job {event.job} was cancelled, but job {before}, which it follows, is {first.status}"
            case _:
                pass


def slots_missed(evidence: Evidence) -> Iterator[str]:
    """I21: each slot of a schedule is run once at most, and none is missing where somebody was there to run it."""
    fired: defaultdict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    was_set_back = False
    for event in evidence.events:
        was_set_back = was_set_back or isinstance(event, SetBack)
        if isinstance(event, Fired):
            slots = fired[event.queue, event.name]
            if event.slot in slots and not was_set_back:
                yield f"slot {event.slot} of {event.name!r} was run by job {slots[event.slot]} and by job {event.job}"
            slots[event.slot] = event.job
    for each in evidence.ending.periodic:
        slots = fired[each.queue, each.name]
        first = -(-each.since // each.every)
        missing = [n * each.every for n in range(first, each.until // each.every + 1) if n * each.every not in slots]
        if missing:
            yield f"{len(missing)} slots of {each.name!r} were not run, the first at {missing[0]}"


INVARIANTS: Final[Mapping[str, Callable[[Evidence], Iterator[str]]]] = {
    "I13": out_of_turn,
    "I15": over_the_limit,
    "I16": too_fast,
    "I17": doubled,
    "I18": not_to_run,
    "I19": batches_miscounted,
    "I20": chains_broken,
    "I21": slots_missed,
}

"""What is asked of a store alone: exact instants, the ends of the calendar, a step at every reading of the clock."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Final

from workqueue import upkeep
from workqueue.job import Claim, JobStatus, NewJob
from workqueue.lifecycle import HandedBack, Raised, Returned, settle
from workqueue.store.clock import EPOCH, instant, micros
from workqueue.store.contract import Want
from workqueue.store.paging import Find
from workqueue.store.sqlite.engine import SqliteStore

_QUEUE: Final = "default"
_LEASE: Final = timedelta(seconds=60)
_TICK: Final = timedelta(microseconds=1)
_START: Final = 1_700_000_000_000_000
_ROUNDS: Final = 12
_EDGES: Final = (
    datetime(1, 1, 2, tzinfo=UTC),
    EPOCH - _TICK,
    EPOCH,
    EPOCH + _TICK,
    datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
)
_ZONES: Final = (
    UTC,
    timezone(timedelta(hours=14)),
    timezone(-timedelta(hours=23, minutes=59, seconds=59)),
    timezone(timedelta(minutes=30, microseconds=1)),
)

EARLY_JUDGEMENT: Final = (
    "a step of the clock between two readings in one look of the upkeep robs every living runner: judge leases by the "
    "instant at which the step would have been noticed"
)
PLACE_ZERO: Final = (
    "a job whose run_at is 1970 to the microsecond keeps that place in a queue by time when it is retried"
)


class SetClock:
    """A clock that stands where it was set. After `strike` readings more it steps by an hour, once."""

    def __init__(self) -> None:
        self.at = _START
        self.strike = 0

    def __call__(self) -> int:
        if self.strike:
            self.strike -= 1
            if not self.strike:
                self.at += micros(timedelta(hours=1))
        return self.at


@contextmanager
def _opened(clock: SetClock) -> Iterator[SqliteStore]:
    with tempfile.TemporaryDirectory(prefix="prove-time-") as folder:
        store = SqliteStore(Path(folder, "jobs.db"), clock=clock)
        try:
            yield store
        finally:
            store.close()


def play(draw: random.Random) -> tuple[dict[str, int], list[str], list[str]]:
    """Give counts, what is broken, and the open bugs that showed."""
    broken: list[str] = []
    jobs = exact_instants(draw, broken)
    robbed, steps = step_at_every_reading()
    remarks = [f"open, edges: {EARLY_JUDGEMENT} (robbed at {robbed} of {steps} readings)"] if robbed else []
    if retried_at_the_epoch():
        remarks.append(f"open, edges: {PLACE_ZERO}")
    early = sum("early" in text for text in broken)
    return {"clock steps": steps + jobs, "jobs": jobs, "before their time": early}, broken, remarks


def exact_instants(draw: random.Random, broken: list[str]) -> int:
    """Jobs at drawn instants, in odd zones: none is claimed a microsecond early, each at its very instant."""
    clock = SetClock()
    with _opened(clock) as store:
        runner = store.enlist(_QUEUE, "prove")
        for number in range(_ROUNDS):
            run_at = draw.choice(_EDGES) if number % 2 else instant(draw.randrange(0, 2 * _START))
            zone = draw.choice(_ZONES)
            try:
                told = run_at.astimezone(zone)
            except OverflowError:  # no date there
                told = run_at
            clock.at = micros(run_at) - 1
            new = NewJob(queue=_QUEUE, name="task", data=b"1", run_at=told, timing=draw.random() < 0.5)
            [job_id] = store.push([new])
            want = Want(_QUEUE, runner, _LEASE, 10)
            if claims := store.turn([], want).claims:
                broken.append(f"run_at {told!r}: claimed early, at {clock.at}")
            else:
                clock.at += 1
                claims = store.turn([], want).claims
            if [claim.job.id for claim in claims] != [job_id] or claims[0].job.run_at != run_at:
                broken.append(f"run_at {told!r}: expected job {job_id} at its instant, got {claims}")
            store.turn([_verdict(claim, Returned()) for claim in claims], None)
        broken += store.check()
    return _ROUNDS


def step_at_every_reading() -> tuple[int, int]:
    """Let the clock step by an hour at the nth reading of one look at the leases, for each n; count who was robbed."""
    robbed = tried = 0
    for strike in range(1, 20):
        clock = SetClock()
        with _opened(clock) as store, _monotonic(lambda clock=clock: clock.at / 1e6):
            living, other = store.enlist(_QUEUE, "living"), store.enlist(_QUEUE, "other")
            store.push([NewJob(queue=_QUEUE, name="task", data=b"1")])
            store.turn([], Want(_QUEUE, living, _LEASE, 1))
            keeper = upkeep.Upkeep(store, 0, every=timedelta(seconds=0.5), lease=_LEASE, archive=True)
            clock.at += micros(_LEASE) // 2  # so that leases are judged; both clocks go on alike until here
            store.beat(living, _LEASE)
            keeper.step()
            before = clock.at / 1e6
            clock.strike = strike
            with _monotonic(lambda before=before: before):
                verdicts = keeper.step()
            if clock.strike:
                return robbed, tried
            tried += 1
            robbed += len(store.turn(verdicts, None).refused) < len(verdicts)
            store.retire(other)
    return robbed, tried


@contextmanager
def _monotonic(now: object) -> Iterator[None]:
    """Let upkeep read this as the clock that nobody sets."""
    before = upkeep.time
    upkeep.time = SimpleNamespace(monotonic=now)  # type: ignore[assignment]
    try:
        yield
    finally:
        upkeep.time = before


def retried_at_the_epoch() -> bool:
    """Say whether a job pushed for 1970, and tried again now, comes before one that was due earlier than that."""
    clock = SetClock()
    with _opened(clock) as store:
        runner = store.enlist(_QUEUE, "prove")
        old, earlier = (
            NewJob(queue=_QUEUE, name=name, data=b"1", run_at=at, timing=True)
            for name, at in (("old", EPOCH), ("earlier", instant(_START + 1)))
        )
        store.push([old])
        [claim] = store.turn([], Want(_QUEUE, runner, _LEASE, 1)).claims
        again = Raised("later", "", timedelta(0), recoverable=True, delay=timedelta(seconds=1))
        store.turn([_verdict(claim, again)], None)
        store.push([earlier])
        clock.at += 2_000_000
        claims = store.turn([], Want(_QUEUE, runner, _LEASE, 2)).claims
        store.turn([_verdict(claim, HandedBack()) for claim in claims], None)
        assert {job.status for job in store.find(Find()).jobs} <= {JobStatus.PENDING, JobStatus.RETRYING}
        return [claim.job.name for claim in claims] != ["earlier", "old"]


def _verdict(claim: Claim, outcome: Returned | HandedBack | Raised):  # noqa: ANN202 - a Settlement
    return settle(claim, outcome, age=claim.age)

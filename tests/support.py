"""What the tests of the store share: engines by name, and factories with plain defaults."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType

from prove.clock import FakeClock
from workqueue.job import Claim, Job, NewJob
from workqueue.lifecycle import (
    Cancelled,
    HandedBack,
    Lost,
    Outcome,
    Raised,
    Returned,
    Settlement,
    settle,
)
from workqueue.store.contract import Store, Turn, Want
from workqueue.store.paging import Find, walk

QUEUE = "default"
LEASE = timedelta(seconds=60)
SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)

# Each breaks one rule that the schemas have for the rows of jobs.
BROKEN_ROWS = [
    "SET status = 1 WHERE status = 0",
    "SET status = 1, settled_at = NULL WHERE status = 3",
    "SET ready = NULL WHERE status = 0",
    "SET ready = 1 WHERE status = 4",
    "SET ready = 2 WHERE status = 0",
    "SET runner = NULL WHERE status = 4",
    "SET runner = 1 WHERE status = 0",
    "SET lease_until = NULL WHERE status = 4",
    "SET lease_until = 1 WHERE status = 0",
    "SET settled_at = NULL WHERE status = 3",
    "SET settled_at = 1 WHERE status = 0",
    "SET claimed_at = 1 WHERE status = 0",
    "SET attempt = 0 WHERE status = 4",
    "SET retry_count = 0 WHERE status = 2",
]


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for what threads, processes and servers do, where nobody tells of it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def interrupt_anywhere(act: Callable[[], object], *files: str) -> None:
    """Do it again and again, on a thread, and interrupt it one call or return of the code in `files` later each time.

    There Python handles signals; between two lines it need not.
    """

    def sweep() -> None:
        steps = 0
        while _interrupted(act, steps, files):
            steps += 1
        swept.set()

    swept = threading.Event()
    threading.Thread(target=sweep, daemon=True).start()
    assert swept.wait(20)


def _interrupted(act: Callable[[], object], steps: int, files: tuple[str, ...]) -> bool:
    """Say whether it was interrupted, after so many steps."""

    def trace(frame: FrameType, event: str, _value: object) -> object:
        nonlocal steps
        if not frame.f_code.co_filename.endswith(files):
            return None
        steps -= event in {"call", "return"}
        if steps < 0:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    with suppress(KeyboardInterrupt):
        sys.settrace(trace)
        try:
            act()
        finally:
            sys.settrace(before)
    return steps < 0


def open_engine(name: str, clock: FakeClock, folder: Path) -> Store:
    # Imported where they are used, so that each engine can be tested while another is broken.
    if name == "memory":
        from workqueue.store.memory.engine import MemoryStore

        return MemoryStore(clock)
    if name.startswith("postgresql://"):
        from workqueue.store.postgres.engine import PostgresStore

        return PostgresStore(name, clock=clock)
    from workqueue.store.sqlite.engine import SqliteStore

    return SqliteStore(folder / "q.db", clock=clock)


def new_job(**changes: object) -> NewJob:
    return NewJob(**({"queue": QUEUE, "name": "task", "data": b"{}"} | changes))  # type: ignore[arg-type]


def push(store: Store, **changes: object) -> int:
    [job_id] = store.push([new_job(**changes)])
    return job_id


def claim_all(
    store: Store, runner: int | None = None, *, queue: str = QUEUE, limit: int = 1000, alone: bool = False
) -> list[Claim]:
    """Claim what is due; without a runner, as a new one."""
    return turn(store, [], runner, queue=queue, limit=limit, alone=alone).claims


def claim_one(store: Store, runner: int | None = None, *, queue: str = QUEUE, alone: bool = False) -> Claim:
    [claim] = claim_all(store, runner, queue=queue, limit=1, alone=alone)
    return claim


def turn(
    store: Store,
    settlements: list[Settlement],
    runner: int | None = None,
    *,
    queue: str = QUEUE,
    limit: int = 1000,
    alone: bool = False,
) -> Turn:
    """Settle and claim; without a runner, as a new one."""
    if runner is None:
        runner = store.enlist(queue, "tests")
    return store.turn(settlements, Want(queue, runner, LEASE, limit, alone=alone))


def verdict(claim: Claim, outcome: Outcome, *, archive: bool = True, stays: bool = False) -> Settlement:
    return settle(claim, outcome, age=claim.age, archive=archive, stays=stays)


def completed(claim: Claim, *, stays: bool = False) -> Settlement:
    return verdict(claim, Returned(), stays=stays)


def raised(
    claim: Claim,
    error: str = "ValueError: bad",
    *,
    recoverable: bool = False,
    delay: timedelta | None = None,
    archive: bool = True,
) -> Settlement:
    return verdict(claim, Raised(error, "a traceback", SECOND, recoverable, delay), archive=archive)


def again(claim: Claim, delay: timedelta = timedelta(0)) -> Settlement:
    """The handler failed, and the job is to be tried again after `delay`."""
    return raised(claim, "RecoverableWorkerError: later", recoverable=True, delay=delay)


def gave_up(claim: Claim) -> Settlement:
    return verdict(claim, Cancelled("cancelled while running", SECOND))


def handed_back(claim: Claim) -> Settlement:
    return verdict(claim, HandedBack())


def lost(claim: Claim, *, archive: bool = True) -> Settlement:
    return verdict(claim, Lost("runner ended"), archive=archive)


def apply(store: Store, *settlements: Settlement) -> list[Claim]:
    """Settle without claiming; give the refused."""
    return store.turn(list(settlements), None).refused


def ids(claims: list[Claim]) -> list[int]:
    return [claim.job.id for claim in claims]


def all_jobs(store: Store, **which: object) -> list[Job]:
    """All jobs that are meant, whatever the size of a page."""
    return list(walk(store.find, Find(**({"limit": 1_000_000} | which))))  # type: ignore[arg-type]


def everything(store: Store) -> list[object]:
    """All jobs of a store with their histories, to compare before and after."""
    jobs = all_jobs(store)
    return [(job, store.history(job.id)) for job in jobs]


def settled_at_once(store: Store, settled: Callable[[Claim], Settlement], **changes: object) -> int:
    """Push a job, claim it and settle it so; what else was claimed with it is handed back."""
    job_id = push(store, **changes)
    runner = store.enlist(QUEUE, "tests")
    claims = claim_all(store, runner, queue=str(changes.get("queue", QUEUE)))
    assert job_id in ids(claims)
    assert apply(store, *(settled(c) if c.job.id == job_id else handed_back(c) for c in claims)) == []
    store.retire(runner)
    return job_id


def a_failed_job(store: Store, **changes: object) -> int:
    return settled_at_once(store, raised, **changes)


def a_suspect(store: Store, **changes: object) -> int:
    """A job that was lost once, and waits to run alone."""
    return settled_at_once(store, lost, **changes)


def one_job_of_each_status(store: Store) -> None:
    """One failed, one to be tried again, one that runs, and one that waits; none was cancelled."""
    a_failed_job(store)
    settled_at_once(store, lambda claim: again(claim, SECOND))
    push(store)
    claim_one(store)
    push(store)

"""The layers of a drain, each run without those above or below it."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from workqueue.context import Context
from workqueue.executor.threads import ThreadExecutor
from workqueue.job import Claim
from workqueue.lifecycle import Returned, Settlement, settle
from workqueue.plan import Plan
from workqueue.runner import Runner
from workqueue.store.contract import Beat, Store, Turn, Want
from workqueue.store.memory.engine import MemoryStore

from bench.peers.raw_loop import BATCH
from bench.work import NoOp

LEASE = timedelta(minutes=1)


def drain_store(store: Store, want: Want) -> tuple[float, list[Claim]]:
    """Settle and claim as a runner does, with nothing in between; give the seconds, and the claims there were."""
    every: list[Claim] = []
    began = time.perf_counter()
    claims = store.turn([], want).claims
    while claims:
        every += claims
        claims = store.turn([settled(claim) for claim in claims], want).claims
    return time.perf_counter() - began, every


def settled(claim: Claim) -> Settlement:
    return settle(claim, Returned(), age=claim.age, archive=True)


def run_executor(claims: Sequence[Claim]) -> float:
    """Give the seconds that an executor takes for the claims, a batch at a time."""
    worker = _Batched()
    executor = ThreadExecutor(worker.do_work, concurrency=1, enough=BATCH, ready=lambda: None)
    batches = [
        [Context(claim, _Costless([]), 0.0) for claim in claims[first : first + BATCH]]
        for first in range(0, len(claims), BATCH)
    ]

    def run() -> None:
        for batch in batches:
            worker.expect(len(batch))
            executor.submit(batch)
            worker.enough.wait()
            while executor.finished() < len(batch):  # the last is just about to be handed back
                time.sleep(0)
            executor.collect()

    took = seconds(run)
    executor.close()
    return took


class _Batched(NoOp):
    """Sets `enough` once a batch."""

    def expect(self, more: int) -> None:
        self.enough.clear()
        self._target = self.count + more


def run_runner(worker: NoOp, claims: Sequence[Claim]) -> float:
    """Give the seconds that a runner takes for the claims, with a store that has them at hand."""
    store = _Costless(claims)
    plan = Plan(
        queue="default",
        batch_size=BATCH,
        concurrency=1,
        poll_rate=timedelta(seconds=0.5),
        lease=LEASE,
        grace=timedelta(seconds=5),
        archive=True,
    )
    runner = Runner(store, worker.do_work, plan, settled=lambda: None)
    took = seconds(lambda: (runner.start(), store.empty.wait()))
    runner.stop()
    return took


class _Costless(MemoryStore):
    """A store that hands out claims it has at hand, and believes whatever it is told of them."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        super().__init__()
        self.empty = threading.Event()
        self._given_out = claims
        self._given = self._told = 0

    def turn(self, settlements: Sequence[Settlement], want: Want | None) -> Turn:
        self._told += len(settlements)
        if self._told == len(self._given_out):
            self.empty.set()
        given = [] if want is None else [*self._given_out[self._given : self._given + want.limit]]
        self._given += len(given)
        return Turn(given, [], suspects=False, next_due=None)

    def held(self, runner: int) -> Beat:
        del runner
        return Beat({claim.job.id: claim.job.attempt for claim in self._given_out}, frozenset())

    def beat(self, runner: int, lease: timedelta) -> Beat:
        del lease
        return self.held(runner)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began

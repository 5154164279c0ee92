"""Limits, rates, orders and keys under random crashes: never exceeded, never leaked, on each engine by itself."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from prove.clock import FakeClock
from workqueue.errors import DuplicateJob, LeaseLost
from workqueue.job import Claim, JobStatus, Lane, NewJob, Terms
from workqueue.lifecycle import Cancelled, HandedBack, Lost, Postponed, Raised, Returned, settle
from workqueue.retention import Keep
from workqueue.store.contract import Store, Turn, Want
from workqueue.store.paging import Find

from support import LEASE, QUEUE, SECOND, open_engine

ENGINES = ["memory", "sqlite"]
NAMES = ["x", "y"]
SOON = timedelta(seconds=5)
_MEMORY = Path("/dev/shm")  # each fsync of a real disk costs

limits = st.sampled_from([None, Lane("one", most=1), Lane("one", most=1), Lane("two", most=2)])
rates = st.sampled_from([None, None, Lane("slow", starts=1, per=SOON), Lane("quick", starts=2, per=SECOND)])
delays = st.sampled_from([0, 0, 1, 5]).map(lambda seconds: timedelta(seconds=seconds))
new_jobs = st.builds(
    NewJob,
    queue=st.just(QUEUE),
    name=st.sampled_from(["x", "x", "y"]),
    data=st.just(b"1"),
    priority=st.sampled_from([0, 0, 1]),
    delay=delays,
    expires=st.sampled_from([*[None] * 9, timedelta(seconds=3)]),
    unique_for=st.sampled_from([None, None, SECOND]),
    on_conflict=st.sampled_from(["keep", "replace", "error"]),
    terms=st.builds(
        Terms,
        limit=limits,
        rate=rates,
        order=st.sampled_from([None, "o", "o", "p"]),
        key=st.sampled_from([None, "k", "k", "l"]),
    ),
)
outcomes = st.one_of(
    st.just(Returned()),
    st.builds(Raised, error=st.just("bad"), traceback=st.just(""), duration=st.just(SECOND), recoverable=st.booleans()),
    st.builds(Cancelled, reason=st.just("no"), duration=st.just(SECOND)),
    st.builds(Postponed, delay=delays),
    st.just(HandedBack()),
)


ASKED = ("limit", "rate", "order", "key")


class Lanes(RuleBasedStateMachine):
    """One engine: runners claim, settle, die and freeze; a person cancels, restores and pauses.

    asked: what jobs ask for in this history; with all of it at once, little gets into each other's way.
    """

    engine = ""

    @initialize(asked=st.sampled_from([*[{one} for one in ASKED], {"limit", "order"}, {"limit", "rate"}, set(ASKED)]))
    def open(self, asked: set[str]) -> None:
        self.others = dict.fromkeys(set(ASKED) - asked)
        self.folder = Path(tempfile.mkdtemp(prefix="workqueue-lanes-", dir=_MEMORY if _MEMORY.is_dir() else None))
        self.clock = FakeClock()
        self.store: Store = open_engine(self.engine, self.clock, self.folder)
        self.jobs: list[int] = []
        self.taken: dict[tuple[str, str], int] = {}  # when each key's window ends
        self.starts: defaultdict[str, list[int]] = defaultdict(list)
        self.hands: dict[int, list[Claim]] = {self.store.enlist(QUEUE, "runner"): [] for _ in range(2)}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            try:
                self.all_comes_to_its_end()
                assert self.store.check() == []
            finally:
                self.store.close()
                shutil.rmtree(self.folder)

    def runner(self, pick: int) -> int:
        return sorted(self.hands)[pick % len(self.hands)]

    # what happens

    @rule(jobs=st.lists(new_jobs, min_size=1, max_size=4))
    def push(self, jobs: list[NewJob]) -> None:
        for drawn in jobs:
            job = msgspec.structs.replace(drawn, terms=msgspec.structs.replace(drawn.terms, **self.others))
            try:
                [job_id] = self.store.push([job])
            except DuplicateJob as error:
                assert error.job_id in self.jobs
                continue
            if job_id in self.jobs:
                assert job.terms is not None
                assert job.terms.key is not None
                continue
            self.jobs.append(job_id)
            self.note_key(job)

    def note_key(self, job: NewJob) -> None:
        """It was stored, so nobody had its key, or it replaced who had."""
        if job.terms is None or job.terms.key is None:
            return
        place = job.name, job.terms.key
        assert self.clock() >= self.taken.get(place, 0) or job.on_conflict == "replace"
        if job.on_conflict == "replace":
            self.taken.pop(place, None)
        if job.unique_for is not None:
            self.taken[place] = self.clock() + job.unique_for // timedelta(microseconds=1)

    @rule(pick=st.integers(0, 9), limit=st.sampled_from([1, 5]), alone=st.sampled_from([False, False, True]))
    def claim(self, pick: int, limit: int, alone: bool) -> None:
        runner = self.runner(pick)
        self.hands[runner] += self.turn(runner, limit, alone=alone).claims

    def turn(self, runner: int, limit: int, *, alone: bool) -> Turn:
        turn = self.store.turn([], Want(QUEUE, runner, LEASE, limit, alone=alone))
        for claim in turn.claims:
            rate = claim.job.terms.rate if claim.job.terms else None
            if rate is not None:
                since = self.clock() - rate.per // timedelta(microseconds=1)
                starts = self.starts[rate.name]
                starts[:] = [*(at for at in starts if at > since), self.clock()]
                assert rate.starts is not None
                assert len(starts) <= rate.starts
        return turn

    @precondition(lambda self: any(self.hands.values()))
    @rule(outcome=outcomes, data=st.data())
    def settle(self, outcome: Returned | Raised | Cancelled | Postponed | HandedBack, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from([claim for held in self.hands.values() for claim in held]), label="claim")
        self.hands[claim.runner].remove(claim)
        stays = data.draw(st.booleans(), label="stays")
        self.store.turn([settle(claim, outcome, age=claim.age, stays=stays)], None)  # refused, if it was rescued
        self.all_claim()

    @precondition(lambda self: any(self.hands.values()))
    @rule(data=st.data())
    def complete_in_a_transaction_or_roll_back(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from([claim for held in self.hands.values() for claim in held]), label="claim")
        try:
            with self.store.transaction(claim):
                if data.draw(st.booleans(), label="raises"):
                    raise ZeroDivisionError
        except (ZeroDivisionError, LeaseLost):
            return
        self.hands[claim.runner].remove(claim)

    @rule(pick=st.integers(0, 9))
    def die(self, pick: int) -> None:
        dead = self.runner(pick)
        self.store.retire(dead)
        del self.hands[dead]
        self.hands[self.store.enlist(QUEUE, "runner")] = []

    @rule(frozen=st.sampled_from([False, False, True]))
    def rescue(self, frozen: bool) -> None:
        """Bring back the jobs of the dead; and of those who seem frozen, though their handlers may run on."""
        if frozen:
            self.clock.advance(LEASE + SECOND)
        orphans = self.store.orphans(expired=frozen, limit=100)
        self.store.turn([settle(claim, Lost("ended"), age=claim.age) for claim in orphans], None)

    @rule(seconds=st.sampled_from([0.5, 1, 3, 10]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        self.all_claim()

    def all_claim(self) -> None:
        """Runners look when something ended, and when something is due."""
        for runner in sorted(self.hands):
            self.hands[runner] += self.turn(runner, 5, alone=False).claims

    @rule(
        what=st.sampled_from(["cancel", "cancel", "restore", "restore all", "sweep", "clean", "prune", "change"]),
        data=st.data(),
    )
    def meddle(self, what: str, data: st.DataObject) -> None:
        store = self.store
        job = data.draw(st.sampled_from(self.jobs or [0]), label="job")
        if what == "cancel" and job in {found.id for found in store.find(Find(limit=1000)).jobs}:
            store.cancel(job)
        elif what == "restore":
            store.restore(QUEUE, [job])
        elif what == "restore all":
            store.restore(QUEUE, None)
        elif what == "sweep":
            store.sweep(QUEUE, 100)
        elif what == "clean":
            store.clean(QUEUE, JobStatus.CANCELLED)
        elif what == "prune":
            mark = store.surplus.find(QUEUE, "completed", Keep(count=1))
            if mark is not None:
                store.surplus.prune(QUEUE, "completed", mark, 1)
        else:
            which = Find(queue=QUEUE, name=data.draw(st.sampled_from([None, *NAMES]), label="name"), limit=3)
            store.change(which, data.draw(st.sampled_from(["cancel", "restore", "delete"]), label="deed"))

    @rule(name=st.sampled_from([None, *NAMES]), on=st.sampled_from([True, False, False, False]))
    def pause(self, name: str | None, on: bool) -> None:
        (self.store.pause if on else self.store.resume)(QUEUE, name)

    # what holds

    @invariant()
    def nothing_is_exceeded(self) -> None:
        if not hasattr(self, "store"):
            return
        running, orders, keys = Counter[tuple[str, int]](), Counter[str](), Counter[tuple[str, str]]()
        for job in self.store.find(Find(limit=1000)).jobs:
            terms = job.terms or Terms()
            if job.status is JobStatus.RUNNING:
                running.update([] if terms.limit is None else [(terms.limit.name, terms.limit.most or 0)])
                orders.update([] if terms.order is None else [terms.order])
            if job.settled_at is None and terms.key is not None:
                keys[job.name, terms.key] += 1
        assert all(count <= most for (_, most), count in running.items()), running
        assert all(count == 1 for count in orders.values()), orders
        assert all(count == 1 for count in keys.values()), keys

    def all_comes_to_its_end(self) -> None:
        """With everybody dead and nothing paused, whoever works now finds all there is: no place was leaked."""
        for paused in self.store.paused(QUEUE):
            self.store.resume(QUEUE, paused)
        for runner in self.hands:
            self.store.retire(runner)
        runner = self.store.enlist(QUEUE, "last")
        for _ in range(20 + 3 * len(self.jobs)):
            if not self.store.size(QUEUE).waiting:
                return
            self.rescue(frozen=False)
            for alone in (False, True):
                while claims := (turn := self.turn(runner, 100, alone=alone)).claims:
                    self.nothing_is_exceeded()
                    self.store.turn([settle(claim, Returned(), age=claim.age) for claim in claims], None)
            self.clock.advance(SECOND if turn.next_due is None else max(SECOND, turn.next_due))
        left = [msgspec.structs.replace(job, data=b"") for job in self.store.find(Find(limit=1000)).jobs]
        raise AssertionError(f"expected all to come to its end, left: {left}")


@pytest.mark.parametrize("engine", ENGINES)
def test_no_lane_is_exceeded_and_no_place_leaks(engine: str) -> None:
    machine = type("Lanes", (Lanes,), {"engine": engine})
    run_state_machine_as_test(machine, settings=settings(settings.default, max_examples=100, stateful_step_count=30))

"""One random history, two engines: the model in memory and the one beside it must give the same answers at every step.

`beside.py` has the engines. Ids are compared by the job they stand for: a rolled back push burns ids in memory and on
PostgreSQL, and gives them back in SQLite.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from workqueue.backoff import Backoff
from workqueue.errors import BatchNotFound, DuplicateJob, JobNotFound, LeaseLost, UsageError
from workqueue.job import NO_HEADERS, Claim, Job, JobStatus, Lane, NewJob, Terms
from workqueue.lifecycle import Cancelled, HandedBack, Lost, Outcome, Postponed, Raised, Returned, Settlement, settle
from workqueue.retention import Keep
from workqueue.store.contract import Beat, Durability, Standing, Store, Turn, Want
from workqueue.store.memory.engine import MemoryStore
from workqueue.store.paging import Deed, Find, walk
from workqueue.store.surplus import Kept

from prove.clock import FakeClock

T = TypeVar("T")
QUEUES = ["a", "b"]
STATUSES = [JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.COMPLETED]
NEVER_PUSHED = -1
LEASE = timedelta(seconds=60)

steps = st.integers(-30, 90).map(lambda seconds: timedelta(seconds=seconds))
delays = st.sampled_from([0, 1, 5, 30]).map(lambda seconds: timedelta(seconds=seconds))
backoffs = st.sampled_from(
    [
        Backoff(min=timedelta(0), max=timedelta(0)),
        Backoff(min=timedelta(seconds=1), max=timedelta(seconds=4), limit=3),
        Backoff(min=timedelta(seconds=2), expiration=timedelta(seconds=20)),
    ]
)
texts = st.sampled_from(["ValueError: bad", "Größe 🐙", "a\nb", "'"])
outcomes = st.one_of(
    st.just(Returned()),
    st.builds(Returned, result=st.sampled_from([None, b'{"r":1}']), keep=delays, counted=st.booleans()),
    st.builds(Postponed, delay=delays, reason=st.sampled_from(["", "nobody knows it"])),
    st.builds(
        Raised,
        error=texts,
        traceback=texts,
        duration=delays,
        recoverable=st.sampled_from([True, True, False]),
        delay=st.none() | delays,
    ),
    st.builds(Cancelled, reason=texts, duration=delays),
    st.just(HandedBack()),
    st.builds(Lost, reason=texts),
)
wants = st.tuples(st.integers(0, 9), st.sampled_from(QUEUES), st.integers(1, 4), st.booleans())  # whose, what, how much
new_jobs = st.fixed_dictionaries(
    {
        "queue": st.sampled_from(QUEUES),
        "name": st.sampled_from(["x", "日本"]),
        "data": st.sampled_from([b"", b"\x00\xff", b"[1,2]", b"y" * 1500]),
        "priority": st.sampled_from([0, 0, 0, 1, -1]),
        "timing": st.booleans(),
        "backoff": backoffs,
        "headers": st.sampled_from([NO_HEADERS, NO_HEADERS, {"traceparent": "00-日本"}]),
    }
)


lanes = st.sampled_from([Lane("few", most=1), Lane("few", most=1), Lane("more", most=2)])
rates = st.sampled_from([Lane("slow", starts=1, per=timedelta(seconds=20)), Lane("quick", starts=2, per=LEASE)])
special = st.fixed_dictionaries(
    {
        "terms": st.builds(
            Terms,
            key=st.sampled_from([None, None, "k", "l"]),
            limit=st.none() | lanes,
            rate=st.none() | st.none() | rates,
            order=st.sampled_from([None, None, "o", "p"]),
            batch=st.sampled_from([None, None, 1, 2]),
        ),
        "expires": st.none() | st.none() | delays,
        "unique_for": st.none() | st.none() | delays,
        "on_conflict": st.sampled_from(["keep", "replace", "error"]),
    }
)


@st.composite
def batches(draw: st.DrawFn) -> list[dict[str, object]]:
    batch = []
    for job in draw(st.lists(new_jobs, min_size=1, max_size=3)):
        if draw(st.integers(0, 2)) == 0:
            job = job | draw(special)
        when = draw(st.sampled_from(["now", "now", "delay", "run_at"]))
        if when == "delay":
            job = job | {"delay": draw(delays)}
        elif when == "run_at":
            job = job | {"in": draw(steps)}
        batch.append(job)
    if draw(st.integers(0, 5)) == 0:  # one after another
        batch[-1] = batch[-1] | {"terms": Terms(followed=True)}
        batch.append(batch[-1] | {"terms": Terms(follows=-1, into=draw(st.none() | st.just("of"))), "data": b'{"a":1}'})
    return batch


def jobs_of(queue: Standing) -> int:
    # A queue without jobs is listed for its runners' sake, and a file remembers dead runners for a while.
    return queue.jobs


def _batch(engine: Engine, batch: int) -> object:
    try:
        return engine.store.batches.get(batch)
    except BatchNotFound:
        return None


class RollBackError(Exception):
    pass


class Engine:
    """A store, with its ids of jobs and runners turned into numbers that are the same for every engine."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ids: list[int] = []
        self.runners: list[int] = []

    def id_of(self, number: int) -> int:
        return self.ids[number] if number >= 0 else 10**9

    def number_of(self, job_id: int) -> int:
        return self.ids.index(job_id)

    def push(self, jobs: list[NewJob]) -> list[int] | str:
        """Push; give the numbers, or what is wrong."""
        try:
            pushed = self.store.push(jobs)
        except DuplicateJob as error:
            return (
                f"{self.number_of(error.job_id)} has the key"
                if error.job_id in self.ids
                else "one of these has the key"
            )
        except UsageError as error:
            return str(error)
        return self.note(pushed)

    def note(self, pushed: list[int]) -> list[int]:
        new = list(dict.fromkeys(job_id for job_id in pushed if job_id not in self.ids))
        assert new == sorted(new)
        assert not self.ids or not new or new[0] > max(self.ids)
        self.ids += new
        return [self.number_of(job_id) for job_id in pushed]

    def job(self, job: Job) -> Job:
        if job.terms is not None and job.terms.follows is not None:
            terms = msgspec.structs.replace(job.terms, follows=self.number_of(job.terms.follows))
            job = msgspec.structs.replace(job, terms=terms)
        return msgspec.structs.replace(job, id=self.number_of(job.id), message=self.message(job.message))

    def message(self, text: str) -> str:
        return re.sub(r"job (\d+), which", lambda found: f"job #{self.number_of(int(found[1]))}, which", text)

    def claim(self, claim: Claim) -> Claim:
        return msgspec.structs.replace(claim, job=self.job(claim.job), runner=self.runners.index(claim.runner))

    def own(self, claim: Claim) -> Claim:
        terms = claim.job.terms
        if terms is not None and terms.follows is not None:
            terms = msgspec.structs.replace(terms, follows=self.id_of(terms.follows))
        job = msgspec.structs.replace(claim.job, id=self.id_of(claim.job.id), terms=terms)
        return msgspec.structs.replace(claim, job=job, runner=self.runners[claim.runner])

    def turn(self, turn: Turn) -> Turn:
        return Turn(
            [self.claim(claim) for claim in turn.claims],
            sorted(map(self.claim, turn.refused), key=lambda claim: (claim.job.id, claim.job.attempt, claim.age)),
            turn.suspects,
            turn.next_due,
        )

    def beat(self, beat: Beat) -> Beat:
        return Beat(
            {self.number_of(job_id): attempt for job_id, attempt in beat.held.items()},
            frozenset(map(self.number_of, beat.cancelled)),
        )


class TwoEngines(RuleBasedStateMachine):
    """Few rules, so that most steps push, claim and settle; `claims` has every claim ever given, stale ones too."""

    def begin(self) -> None:
        """Make the place of the engine beside, empty."""
        raise NotImplementedError

    def open_store(self) -> Store:
        """Open the engine beside, on its place, with `clock`."""
        raise NotImplementedError

    def end(self) -> None:
        """Take the place away."""

    @initialize(batch=batches(), durability=st.sampled_from(["process", "conservative"]))
    def open(self, batch: list[dict[str, object]], durability: Durability) -> None:
        self.begin()
        self.durability = durability  # of a file: a log beside it, or none; a power cut is not part of the history
        self.clock = FakeClock()
        self.memory = Engine(MemoryStore(self.clock))
        self.beside = Engine(self.open_store())
        self.alive: list[int] = []
        self.claims: list[Claim] = []
        self.enlist()
        for queue in QUEUES:
            self.both(lambda engine, queue=queue: engine.store.batches.open(queue))
        self.push(batch)

    def teardown(self) -> None:
        if hasattr(self, "beside"):
            for engine in (self.memory, self.beside):
                engine.store.close()
        self.end()

    def both(self, act: Callable[[Engine], T]) -> T:
        """Do it in both engines, and give the one answer."""
        answer, beside = act(self.memory), act(self.beside)
        assert answer == beside, f"the model says {answer}, the engine beside it {beside}"
        return answer

    def some_job(self, data: st.DataObject) -> int:
        assert len(self.memory.ids) == len(self.beside.ids)
        return data.draw(st.integers(NEVER_PUSHED, len(self.memory.ids) - 1), label="job")

    def some_claim(self, data: st.DataObject) -> Claim:
        return data.draw(st.sampled_from(self.claims[-8:]), label="claim")

    def build(self, batch: list[dict[str, object]]) -> list[NewJob]:
        jobs = []
        for job in batch:
            fields = dict(job)
            if "in" in fields:
                fields["run_at"] = self.clock.now() + fields.pop("in")
            jobs.append(NewJob(**fields))
        return jobs

    # push

    @rule(batch=batches())
    def push(self, batch: list[dict[str, object]]) -> None:
        jobs = self.build(batch)
        self.both(lambda engine: engine.push(jobs))

    @rule(batch=batches(), commits=st.booleans(), data=st.data())
    def push_in_a_transaction(self, batch: list[dict[str, object]], commits: bool, data: st.DataObject) -> None:
        jobs = self.build(batch)
        cancelled = self.some_job(data) if data.draw(st.booleans(), label="cancels too") else NEVER_PUSHED

        def act(engine: Engine) -> list[int] | str:
            pushed: list[int] = []
            said = ""
            with suppress(RollBackError), engine.store.transaction() as transaction:
                transaction.execute("CREATE TABLE IF NOT EXISTS notes (word TEXT)")
                transaction.execute("INSERT INTO notes VALUES ('a')")
                try:
                    pushed = engine.store.push(jobs)
                except UsageError as error:
                    said = type(error).__name__
                with suppress(JobNotFound):
                    engine.store.cancel(engine.id_of(cancelled))
                if not commits:
                    raise RollBackError
            return said or (engine.note(pushed) if commits else [])

        self.both(act)

    # claim and settle

    def turn(self, verdicts: list[Settlement], wanted: tuple[int, str, int, bool] | None) -> Turn:
        """Take a turn in both, for a runner that lives: one that has retired claims no more."""

        def act(engine: Engine) -> Turn:
            want = None
            if wanted is not None and self.alive:
                pick, queue, limit, alone = wanted
                want = Want(queue, engine.runners[self.alive[pick % len(self.alive)]], LEASE, limit, alone=alone)
            own = [msgspec.structs.replace(verdict, claim=engine.own(verdict.claim)) for verdict in verdicts]
            return engine.turn(engine.store.turn(own, want))

        turn = self.both(act)
        self.claims += turn.claims
        return turn

    @rule(wanted=wants)
    def claim(self, wanted: tuple[int, str, int, bool]) -> None:
        self.turn([], wanted)

    @rule(queue=st.sampled_from(QUEUES))
    def claim_all(self, queue: str) -> None:
        self.turn([], (0, queue, 100, False))

    @precondition(lambda self: self.claims)
    @rule(
        chosen=st.lists(outcomes, min_size=1, max_size=4),
        archive=st.booleans(),
        stays=st.booleans(),
        wanted=st.none() | wants,
        data=st.data(),
    )
    def settle(
        self,
        chosen: list[Outcome],
        archive: bool,
        stays: bool,
        wanted: tuple[int, str, int, bool] | None,
        data: st.DataObject,
    ) -> None:
        """Settle what may well be stale by now, or named twice, and claim in the same turn."""
        claims = [(self.some_claim(data), outcome) for outcome in chosen]
        self.turn(
            [settle(claim, outcome, age=claim.age, archive=archive, stays=stays) for claim, outcome in claims], wanted
        )

    @precondition(lambda self: self.claims)
    @rule(outcome=outcomes, late=outcomes, data=st.data())
    def settle_again_when_it_runs_again(self, outcome: Outcome, late: Outcome, data: st.DataObject) -> None:
        """The case the fence is for: a verdict on an attempt after which the job was claimed anew."""
        claim = self.some_claim(data)
        self.turn([settle(claim, outcome, age=claim.age)], None)
        for alone in (False, True):
            self.turn([], (0, claim.job.queue, 100, alone))
        self.turn([settle(claim, late, age=claim.age)], None)

    @precondition(lambda self: self.claims)
    @rule(batch=batches(), commits=st.booleans(), stays=st.booleans(), data=st.data())
    def complete_in_a_transaction(
        self, batch: list[dict[str, object]], commits: bool, stays: bool, data: st.DataObject
    ) -> None:
        jobs = self.build(batch)
        claim = self.some_claim(data)

        def act(engine: Engine) -> str:
            try:
                with engine.store.transaction(engine.own(claim), stays=stays):
                    pushed = engine.store.push(jobs)
                    if not commits:
                        raise RollBackError
            except RollBackError:
                return "rolled back"
            except UsageError as error:
                return type(error).__name__
            except LeaseLost as error:
                assert (error.job_id, error.attempt) == (engine.id_of(claim.job.id), claim.job.attempt)
                return "lost"
            return f"committed {engine.note(pushed)}"

        self.both(act)

    # runners

    def enlist(self) -> None:
        for queue in QUEUES:
            for engine in (self.memory, self.beside):
                engine.runners.append(engine.store.enlist(queue, f"runner of {queue}"))
            self.alive.append(len(self.memory.runners) - 1)

    @rule(what=st.sampled_from(["beat", "beat", "retire", "enlist", "reopen"]), pick=st.integers(0, 9))
    def a_runner(self, what: str, pick: int) -> None:
        if what == "enlist" or not self.alive:
            self.enlist()
        elif what == "beat":
            runner = self.alive[pick % len(self.alive)]
            self.both(lambda engine: engine.beat(engine.store.beat(engine.runners[runner], LEASE)))
        elif what == "retire":
            runner = self.alive.pop(pick % len(self.alive))
            self.both(lambda engine: engine.store.retire(engine.runners[runner]))
        else:
            self.reopen()

    def reopen(self) -> None:
        """A store that was closed has no living runners; what they held is found again."""
        self.beside.store.close()
        self.beside.store = self.open_store()
        for runner in self.memory.runners:
            self.memory.store.retire(runner)
        self.alive.clear()

    def orphans(self, *, expired: bool, limit: int) -> list[Claim]:
        return self.both(
            lambda engine: [engine.claim(claim) for claim in engine.store.orphans(expired=expired, limit=limit)]
        )

    @rule(expired=st.booleans(), limit=st.integers(1, 5), rescues=st.booleans())
    def rescue(self, expired: bool, limit: int, rescues: bool) -> None:
        """Find orphans; rescue them, or keep them for a rescuer who comes late."""
        found = self.orphans(expired=expired, limit=limit)
        if rescues:
            assert self.turn([settle(claim, Lost("ended"), age=claim.age) for claim in found], None).refused == []
        self.claims += found

    @rule(beats=st.booleans())
    def rescue_what_looked_frozen(self, beats: bool) -> None:
        """Leases end, and the rescuer comes after the beat that renewed them, or after none."""
        self.clock.advance(LEASE + timedelta(seconds=1))
        found = self.orphans(expired=True, limit=100)
        if beats:
            for runner in self.alive:
                self.both(lambda engine, runner=runner: engine.beat(engine.store.beat(engine.runners[runner], LEASE)))
        self.turn([settle(claim, Lost("frozen"), age=claim.age) for claim in found], None)

    # people and time

    @rule(
        what=st.sampled_from(["cancel", "cancel", "restore all", "restore", "clean"]),
        queue=st.sampled_from(QUEUES),
        status=st.sampled_from(STATUSES),
        data=st.data(),
    )
    def a_person(self, what: str, queue: str, status: JobStatus, data: st.DataObject) -> None:
        def cancel(engine: Engine) -> bool | str:
            try:
                return engine.store.cancel(engine.id_of(number))
            except JobNotFound:
                return "not found"

        if what == "cancel":
            number = self.some_job(data)
            self.both(cancel)
        elif what == "restore":
            numbers = [self.some_job(data) for _ in range(3)]
            self.both(lambda engine: engine.store.restore(queue, list(map(engine.id_of, numbers))))
        elif what == "restore all":
            self.both(lambda engine: engine.store.restore(queue, None))
        else:
            self.both(lambda engine: engine.store.clean(queue, status))

    @rule(
        deed=st.none() | st.sampled_from(["cancel", "retry", "restore", "delete"]),
        which=st.builds(
            Find,
            queue=st.none() | st.sampled_from(QUEUES),
            status=st.none() | st.sampled_from(JobStatus),
            name=st.sampled_from([None, None, "x"]),
            text=st.sampled_from([None, None, "1", "bad", "\0", "y" * 100]),
            newest_first=st.booleans(),
            limit=st.sampled_from([1, 3, 100]),
        ),
        pages=st.integers(1, 3),
    )
    def a_search(self, deed: Deed | None, which: Find, pages: int) -> None:
        """Look at some pages of a search, or do something to the jobs in them."""

        def act(engine: Engine) -> object:
            here = which
            seen: list[Job] = []
            count = 0
            for _ in range(pages):
                if deed is None:
                    page = engine.store.find(here)
                    seen += map(engine.job, page.jobs)
                    following = page.next
                else:
                    changed = engine.store.change(here, deed)
                    count += changed.count
                    following = changed.next
                if following is None:
                    break
                here = here.beyond(following)
            return seen, count

        self.both(act)

    @rule(
        what=st.sampled_from(
            ["pause", "pause", "resume", "resume", "edit", "sweep", "seal", "cancel batch", "progress"]
        ),
        queue=st.sampled_from(QUEUES),
        name=st.sampled_from(["x", "x", None]),
        pick=st.integers(1, 3),
        data=st.data(),
    )
    def a_person_of_tasks(self, what: str, queue: str, name: str | None, pick: int, data: st.DataObject) -> None:
        def told(act: Callable[[Engine], object]) -> Callable[[Engine], object]:
            def tell(engine: Engine) -> object:
                try:
                    return act(engine)
                except UsageError as error:
                    return type(error).__name__

            return tell

        number = self.some_job(data)
        acts: dict[str, Callable[[Engine], object]] = {
            "pause": lambda engine: engine.store.pause(queue, name),
            "resume": lambda engine: engine.store.resume(queue, name),
            "edit": lambda engine: engine.store.edit(engine.id_of(number), b'{"b":2}' * (1 + 400 * (pick > 2))),
            "sweep": lambda engine: engine.store.sweep(queue, 100),
            "seal": lambda engine: engine.store.batches.seal(pick),
            "cancel batch": lambda engine: engine.store.batches.cancel(pick),
            "progress": lambda engine: engine.store.note_progress(
                engine.runners[pick % len(engine.runners)], {engine.id_of(number): b"%d" % pick}
            ),
        }
        self.both(told(acts[what]))

    @rule(
        what=st.sampled_from(["completed", "completed", "failed", "results"]),
        queue=st.sampled_from(QUEUES),
        keep=st.builds(Keep, age=st.none() | delays, count=st.none() | st.integers(1, 3)),
        limit=st.sampled_from([1, 2, 100]),
    )
    def keep_less(self, what: Kept, queue: str, keep: Keep, limit: int) -> None:
        """Prune a step; the marks of results name jobs, whose ids differ."""

        def act(engine: Engine) -> object:
            mark = engine.store.surplus.find(queue, what, keep)
            if mark is None:
                return None
            last = mark.last if mark.last == 2**63 - 1 else engine.number_of(mark.last)
            return mark.at, last, engine.store.surplus.prune(queue, what, mark, limit)

        self.both(act)

    @rule(step=steps)
    def advance(self, step: timedelta) -> None:
        self.clock.advance(step)

    # after each step

    @invariant()
    def both_look_the_same(self) -> None:
        if not hasattr(self, "beside"):
            return
        jobs = self.both(lambda engine: [engine.job(job) for job in walk(engine.store.find, Find(limit=10**6))])
        for job in jobs:
            self.both(lambda engine, number=job.id: engine.store.history(engine.id_of(number)))
        self.both(
            lambda engine: {
                engine.number_of(job_id): msgspec.structs.replace(found, message=engine.message(found.message))
                for job_id, found in engine.store.outlook(engine.ids).items()
            }
        )
        self.both(lambda engine: [(engine.store.paused(queue)) for queue in QUEUES])
        self.both(lambda engine: [_batch(engine, batch) for batch in (1, 2)])
        self.both(lambda engine: [(engine.store.size(queue), engine.store.idle(queue)) for queue in QUEUES])
        self.both(lambda engine: [found for found in engine.store.overview().queues if jobs_of(found)])
        self.both(lambda engine: [engine.beat(engine.store.held(runner)) for runner in engine.runners])
        assert self.both(lambda engine: engine.store.check()) == []

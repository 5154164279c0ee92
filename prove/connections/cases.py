"""What is done over a line that breaks: each verb, with what must have come of it whatever broke.

A case is a generator: up to its `yield` all is well; what comes after it meets the fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from workqueue.errors import StoreUnavailable
from workqueue.job import Claim, JobStatus, Lane, NewJob, Terms
from workqueue.lifecycle import HandedBack, Raised, Returned, Settlement, settle
from workqueue.schedule import Schedule
from workqueue.store.contract import Store, Want
from workqueue.store.paging import Find

from prove.journal import AnyEvent, Claimed, Ended, Forgiven, Pushed, Pushing, Refused, Settled, Started

_LEASE: Final = timedelta(seconds=60)
_PATIENCE: Final = 60.0  # seconds, for the server to end what it still does for a client that has gone
_ONE_AT_A_TIME: Final = Terms(limit=Lane("one", most=1))
HOUR: Final = timedelta(hours=1)


class Scene:
    """One queue for one case. far: the store beyond the line; near: the same store, whose line never breaks.

    events: for the auditor. broken: what else is wrong, as sentences.
    """

    def __init__(self, near: Store, far: Store, queue: str) -> None:
        self.near = near
        self.far = far
        self.queue = queue
        self.events: list[AnyEvent] = []
        self.broken: list[str] = []
        self.runner = far.enlist(queue, "far")
        self._other = near.enlist(queue, "near")
        self._hand: dict[int, Claim] = {}

    # what the far end does

    def job(self, **changes: object) -> NewJob:
        return NewJob(**({"queue": self.queue, "name": "task", "data": b"{}"} | changes))  # type: ignore[arg-type]

    def push(self, *jobs: NewJob) -> list[int]:
        self.events.append(Pushing(jobs=len(jobs)))
        pushed = self.far.push(jobs)
        self.events += [Pushed(job=job) for job in pushed]
        return pushed

    def claim(self, limit: int = 10) -> list[Claim]:
        return self.turn([], limit)

    def turn(self, settlements: Sequence[Settlement], limit: int | None = None) -> list[Claim]:
        for settlement in settlements:
            self._end(settlement, self.runner)
        want = None if limit is None else Want(self.queue, self.runner, _LEASE, limit)
        turn = self.far.turn(settlements, want)
        self._settled(settlements, turn.refused, self.runner)
        for claim in turn.refused:
            self.broken.append(f"job {claim.job.id}: the settlement of a claim that held was refused")
        if limit is not None and len(turn.claims) > limit:
            self.broken.append(f"{len(turn.claims)} jobs were claimed where {limit} were asked for")
        self._start(turn.claims, self.runner)
        self._hand |= {claim.job.id: claim for claim in turn.claims}
        return turn.claims

    def completed_by_itself(self, claim: Claim) -> None:
        """Note that the handler's transaction completed its job."""
        self._hand.pop(claim.job.id)
        job, attempt, by = claim.job.id, claim.job.attempt, str(self.runner)
        self.events += [
            Ended(job=job, attempt=attempt, by=by),
            Settled(job=job, attempt=attempt, to="completed", by=by),
        ]

    # what is left to do afterwards

    def finish(self) -> None:
        """Do what a runner does after a broken line, and run what waits, over the line that holds."""
        until = time.monotonic() + _PATIENCE
        while self._hand or self.near.size(self.queue).waiting:
            hand, self._hand = self._hand, {}
            self._settle([settle(claim, Returned(), age=claim.age) for claim in hand.values()], self.runner)
            self._hand_back_unknown()
            for alone in (False, True):
                turn = self.near.turn([], Want(self.queue, self._other, _LEASE, 100, alone=alone))
                self._start(turn.claims, self._other)
                self._settle([settle(claim, Returned(), age=claim.age) for claim in turn.claims], self._other)
            if time.monotonic() > until:
                left = self.near.find(Find(queue=self.queue)).jobs
                self.broken.append(f"{len(left)} jobs are left over: {left[:3]}")
                break
        self.near.retire(self._other)
        self.near.retire(self.runner)

    def _hand_back_unknown(self) -> None:
        """See `Runner`: the store may hold claims of a runner that does not know of them."""
        for job_id in self.near.held(self.runner).held:
            claim = Claim(self.near.get(job_id), self.runner, timedelta(0), 0)
            if claim.job.status is JobStatus.RUNNING:
                self.events.append(Claimed(job=job_id, attempt=claim.job.attempt, by=str(self.runner)))
                self._settled(
                    [given := settle(claim, HandedBack(), age=timedelta(0))],
                    self.near.turn([given], None).refused,
                    self.runner,
                )

    def _settle(self, settlements: Sequence[Settlement], runner: int) -> None:
        for settlement in settlements:
            self._end(settlement, runner)
        refused = self.near.turn(settlements, None).refused
        self._settled(settlements, refused, runner)
        self.broken += [f"job {claim.job.id}: the store does not know of its claim" for claim in refused]

    def _start(self, claims: Sequence[Claim], runner: int) -> None:
        by = str(runner)
        self.events += [Claimed(job=claim.job.id, attempt=claim.job.attempt, by=by) for claim in claims]
        self.events += [Started(job=claim.job.id, attempt=claim.job.attempt, by=by) for claim in claims]

    def _end(self, settlement: Settlement, runner: int) -> None:
        job = settlement.claim.job
        self._hand.pop(job.id, None)
        how = "returned" if settlement.to is JobStatus.COMPLETED else "again"
        self.events.append(Ended(job=job.id, attempt=job.attempt, by=str(runner), how=how))

    def _settled(self, settlements: Sequence[Settlement], refused: Sequence[Claim], runner: int) -> None:
        late = {(claim.job.id, claim.job.attempt) for claim in refused}
        for settlement in settlements:
            job, by = settlement.claim.job, str(runner)
            if (job.id, job.attempt) in late:
                self.events.append(Refused(job=job.id, attempt=job.attempt, by=by))
            else:
                self.events.append(Settled(job=job.id, attempt=job.attempt, to=str(settlement.to), by=by))


Case = Callable[[Scene], Generator[None]]


def completed(claim: Claim) -> Settlement:
    return settle(claim, Returned(), age=claim.age)


def again(claim: Claim) -> Settlement:
    return settle(claim, Raised("ValueError: again", "", timedelta(0), True, timedelta(0)), age=claim.age)


def push(scene: Scene) -> Generator[None]:
    scene.push(scene.job())
    yield
    scene.push(scene.job())


def push_many(scene: Scene) -> Generator[None]:
    yield
    scene.push(*[scene.job(data=b"x" * 500)] * 50)


def push_with_terms(scene: Scene) -> Generator[None]:
    """In a transaction of several statements."""
    yield
    scene.push(
        *(scene.job(terms=Terms(key=str(key))) for key in range(3)), scene.job(), scene.job(terms=_ONE_AT_A_TIME)
    )


def settle_and_claim(scene: Scene) -> Generator[None]:
    scene.push(*[scene.job()] * 6)
    claims = scene.claim(3)
    yield
    scene.turn([completed(claim) for claim in claims], 2)


def settle_alone(scene: Scene) -> Generator[None]:
    scene.push(*[scene.job()] * 3)
    claims = scene.claim(3)
    yield
    scene.turn([completed(claim) for claim in claims])


def claim_with_limits(scene: Scene) -> Generator[None]:
    scene.push(*[scene.job(terms=_ONE_AT_A_TIME)] * 3, scene.job())
    yield
    claims = scene.claim() or scene.claim()  # what was not done is to be done again
    if len(claims) != 2:
        scene.broken.append(f"expected one job within the limit and the one without, got: {len(claims)}")
    scene.turn([completed(claim) for claim in claims], 10)


def settle_to_try_again(scene: Scene) -> Generator[None]:
    pushed = scene.push(*[scene.job()] * 3)
    claims = scene.claim(3)
    yield
    scene.turn([again(claim) for claim in claims])
    for job in pushed:
        found = scene.near.get(job)
        tried = len(scene.near.history(job))
        if (found.retry_count, tried) != (1, 1):
            scene.broken.append(f"job {job}: expected one failure and one try, got: {found.retry_count} and {tried}")


def transaction(scene: Scene) -> Generator[None]:
    """The handler's own rows commit with its job: where the block raised, neither is there."""
    [job] = scene.push(scene.job())
    [claim] = scene.claim()
    with scene.near.transaction() as near:
        near.execute("CREATE TABLE IF NOT EXISTS effects (job bigint)")
    yield
    raised = False
    try:
        with scene.far.transaction(claim) as far:
            far.execute("INSERT INTO effects VALUES (%s)", [job])
    except StoreUnavailable:
        raised = True
    for _ in range(1000):  # the server may not know yet that its client has gone
        with suppress(StoreUnavailable), scene.near.transaction() as near:
            rows = near.execute("SELECT FROM effects WHERE job = %s", [job]).rowcount
            break
    runs = job in scene.near.held(scene.runner).held
    if (rows, runs) != ((0, True) if raised else (1, False)):
        scene.broken.append(f"job {job}: raised: {raised}, but effects: {rows} and still running: {runs}")
    if not raised:
        scene.completed_by_itself(claim)


def fire(scene: Scene) -> Generator[None]:
    schedules, now = scene.near.schedules, scene.near.now()
    slot = now - HOUR
    schedules.put(scene.queue, "hourly", Schedule(every=HOUR), slot)
    yield
    scene.events.append(Pushing(jobs=1))
    jobs = {slot: scene.job()}
    pushed = scene.far.schedules.fire(scene.queue, "hourly", seen=slot, then=now + HOUR, jobs=jobs)
    if pushed is None or len(pushed) != 1:
        scene.broken.append(f"expected the slot to be run once, and told so; got: {pushed}")
    scene.events += [Pushed(job=job) for job in pushed or ()]


def cancel(scene: Scene) -> Generator[None]:
    waits, stays = scene.push(scene.job(terms=Terms(key="k")), scene.job())
    yield
    done = scene.far.cancel(waits)
    scene.events.append(Forgiven(job=waits))
    found = scene.near.get(waits).status
    if not done or found is not JobStatus.CANCELLED:
        scene.broken.append(f"job {waits}: cancel gave {done}, and it is {found}")


def restore(scene: Scene) -> Generator[None]:
    pushed = scene.push(scene.job(), scene.job())
    for job in pushed:
        scene.near.cancel(job)
        scene.events.append(Forgiven(job=job))
    yield
    count = scene.far.restore(scene.queue, pushed)
    if count != len(pushed):
        scene.broken.append(f"expected {len(pushed)} jobs to be restored, got: {count}")


def enlist(scene: Scene) -> Generator[None]:
    scene.push(scene.job())
    yield
    before, scene.runner = scene.runner, scene.far.enlist(scene.queue, "another")
    scene.near.retire(before)
    scene.claim()


def beat(scene: Scene) -> Generator[None]:
    scene.push(*[scene.job()] * 2)
    claims = scene.claim()
    yield
    held = scene.far.beat(scene.runner, 2 * _LEASE).held
    if held != {claim.job.id: claim.job.attempt for claim in claims}:
        scene.broken.append(f"the beat does not know the claims: {held}")


CASES: Final[Mapping[str, Case]] = {
    case.__name__: case
    for case in (
        push,
        push_many,
        push_with_terms,
        settle_and_claim,
        settle_alone,
        claim_with_limits,
        settle_to_try_again,
        transaction,
        fire,
        cancel,
        restore,
        enlist,
        beat,
    )
}

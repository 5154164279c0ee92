"""What the driver asks of a store, as data: so that a model can be asked the same, and all can be asked again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple, TypeAlias

from workqueue.backoff import Backoff
from workqueue.errors import JobNotFound, LeaseLost
from workqueue.job import Claim, JobStatus, NewJob
from workqueue.lifecycle import Cancelled, HandedBack, Lost, Outcome, Raised, Returned, Settlement, settle
from workqueue.store.contract import Store, Turn, Want
from workqueue.store.paging import Find
from workqueue.store.sqlite.engine import SqliteStore

QUEUE: Final = "orders"
LEASE: Final = timedelta(seconds=60)
TRANSACTIONAL: Final = "transactional"  # the name of jobs that complete with an effect, in one transaction
SIZES: Final = (10, 30, 300, 1024, 1025, 3000, 9000)  # of payloads, about
_ROOM: Final = 64 * 1024  # bytes that are given back at once
_SECOND: Final = timedelta(seconds=1)
_TABLE: Final = "CREATE TABLE IF NOT EXISTS effects (job INTEGER NOT NULL, attempt INTEGER NOT NULL)"
_BACKOFFS: Final = (Backoff(), Backoff(limit=2), Backoff(factor=3.0))
Answer: TypeAlias = object


class Call(NamedTuple):
    """A verb of the store and its arguments. "transact", "checkpoint" and "shrink" are our own; see `perform`."""

    verb: str
    arguments: tuple[object, ...] = ()


class _HandlerFailedError(Exception):
    pass


def perform(store: Store, call: Call) -> Answer:
    """Do it; the answer may be compared with another store's. Errors of the store itself go through."""
    try:
        if call.verb == "transact":
            return _transact(store, *call.arguments)  # type: ignore[arg-type]
        if call.verb == "checkpoint":
            if isinstance(store, SqliteStore):
                store._db().checkpoint()
            return None
        if call.verb == "shrink":
            store.surplus.shrink(_ROOM, whole=True)
            return None  # one store has room to give back, another has not
        return getattr(store, call.verb)(*call.arguments)
    except (JobNotFound, LeaseLost) as error:
        return type(error).__name__


def _transact(store: Store, claim: Claim | None, children: Sequence[NewJob], fails: bool) -> Answer:
    try:
        with store.transaction(claim, stays=fails or len(children) % 2 > 0) as transaction:
            transaction.execute(_TABLE)
            if claim is not None:
                transaction.execute("INSERT INTO effects VALUES (?, ?)", (claim.job.id, claim.job.attempt))
            pushed = store.push(children) if children else []
            if fails:
                raise _HandlerFailedError
    except _HandlerFailedError:
        return "rolled back"
    return pushed


class Driver:
    """Pusher, runner and person in one: it knows what it was answered, and from that and chance what it asks next."""

    def __init__(self, chance: random.Random, sizes: Sequence[int] = SIZES) -> None:
        self._chance = chance
        self._sizes = sizes
        self.runner = 0
        self.held: dict[int, Claim] = {}
        self.jobs: list[int] = []
        self.to_settle_again: list[Settlement] = []
        self._pushed = 0

    def next(self) -> Call:
        chance = self._chance
        if not self.runner:
            return Call("enlist", (QUEUE, "driver"))
        if self.to_settle_again:  # as a runner does that could not settle
            return Call("turn", (tuple(self.to_settle_again), None))
        draw = chance.random()
        if draw < 0.20:
            return Call("push", ((self._new_job(),),))
        if draw < 0.32:
            return Call("push", (self._new_jobs(),))
        if draw < 0.62:
            return self._turn()
        if draw < 0.76:
            return self._transaction()
        if draw < 0.82 and self.jobs:
            return Call("cancel", (chance.choice(self.jobs),))
        if draw < 0.87:
            some = chance.sample(self.jobs, min(3, len(self.jobs)))
            return Call("restore", (QUEUE, None if chance.random() < 0.5 else tuple(some)))
        if draw < 0.91:
            return Call("clean", (QUEUE, chance.choice([JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.COMPLETED])))
        if draw < 0.93:
            which = Find(status=chance.choice([None, *JobStatus]), text=chance.choice([None, "7"]), limit=1000)
            return Call("change", (which, chance.choice(["cancel", "restore", "delete"])))
        if draw < 0.95:
            return Call("beat", (self.runner, LEASE))
        if draw < 0.97:
            return Call("checkpoint")
        if draw < 0.985:
            return Call("shrink")
        return Call("size", (QUEUE,))

    def learn(self, call: Call, answer: Answer) -> None:
        """Take in what the store answered."""
        match call.verb, answer:
            case "enlist", int(runner):
                self.runner = runner
            case "push", list(ids):
                self.jobs += ids
            case "turn", Turn(claims=claims):
                settlements: Sequence[Settlement] = call.arguments[0]  # type: ignore[assignment]
                self._let_go(settlements)
                self.to_settle_again = []
                self.held |= {claim.job.id: claim for claim in claims}
            case "transact", list(ids):
                self.jobs += ids
                self._forget(call)
            case "transact", "LeaseLost":
                self._forget(call)

    def learn_of_failure(self, call: Call) -> None:
        """The store raised: whether anything came of it, nobody knows."""
        if call.verb == "turn":
            self.to_settle_again = list(call.arguments[0])  # type: ignore[call-overload]
        elif call.verb == "transact":  # a runner would look at its leases; here another attempt will come
            self._forget(call)

    def start_anew(self) -> None:
        """As a process that begins: it holds nothing."""
        self.runner = 0
        self.held.clear()
        self.to_settle_again.clear()

    def _let_go(self, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            self.held.pop(settlement.claim.job.id, None)

    def _forget(self, call: Call) -> None:
        claim = call.arguments[0]
        if isinstance(claim, Claim):
            self.held.pop(claim.job.id, None)

    def _new_jobs(self) -> tuple[NewJob, ...]:
        head = self._new_job()
        if self._chance.random() < 0.5:  # alike: one statement
            return (head, *(NewJob(queue=QUEUE, name=head.name, data=self._data(), run_at=head.run_at, delay=head.delay,
                                   priority=head.priority, timing=head.timing, backoff=head.backoff)
                            for _ in range(self._chance.randint(1, 5))))  # fmt: skip
        return (head, *(self._new_job() for _ in range(self._chance.randint(1, 4))))

    def _new_job(self) -> NewJob:
        chance = self._chance
        return NewJob(
            queue=QUEUE if chance.random() < 0.9 else "letters",
            name=TRANSACTIONAL if chance.random() < 0.4 else "plain",
            data=self._data(),
            priority=chance.choice([0, 0, 0, 5, -3]),
            delay=chance.choice([None, None, None, _SECOND]),
            timing=chance.random() < 0.2,
            backoff=chance.choice(_BACKOFFS),
        )

    def _data(self) -> bytes:
        self._pushed += 1
        size = self._chance.choice(self._sizes)
        return b'"%d%s"' % (self._pushed, b"x" * size)

    def _turn(self) -> Call:
        chance = self._chance
        plain = [claim for claim in self.held.values() if claim.job.name != TRANSACTIONAL or chance.random() < 0.2]
        chosen = chance.sample(plain, chance.randint(0, len(plain)))
        settlements = tuple(self._settlement(claim) for claim in chosen)
        want = Want(QUEUE, self.runner, LEASE, chance.randint(1, 4), alone=chance.random() < 0.15)
        return Call("turn", (settlements, want if not settlements or chance.random() < 0.8 else None))

    def _settlement(self, claim: Claim) -> Settlement:
        chance = self._chance
        said = "ValueError: no"
        outcomes: list[Outcome] = [
            Raised(said, "a traceback", _SECOND),
            Raised(said, "a traceback" * 50, _SECOND, recoverable=True, delay=timedelta(0)),
            Raised(said, "", _SECOND, recoverable=True, delay=_SECOND),
            HandedBack(),
            Cancelled("cancelled while running", _SECOND),
        ]
        if claim.job.name != TRANSACTIONAL:
            outcomes += [Returned()] * 5
        archive, stays = chance.random() < 0.8, chance.random() < 0.5
        return settle(claim, chance.choice(outcomes), age=claim.age, archive=archive, stays=stays)

    def _transaction(self) -> Call:
        chance = self._chance
        claims = [claim for claim in self.held.values() if claim.job.name == TRANSACTIONAL]
        children = self._new_jobs() if chance.random() < 0.3 else ()
        return Call("transact", (chance.choice(claims) if claims else None, children, chance.random() < 0.15))


def lost(claims: Sequence[Claim]) -> Call:
    """The call by which a rescuer settles what the dead left behind."""
    verdicts = tuple(settle(claim, Lost("its runner ended"), age=claim.age) for claim in claims)
    return Call("turn", (verdicts, None))

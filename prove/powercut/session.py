"""One process's life on a recorded disk: what it did, what it was answered, and where in the recording."""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, cast
from unittest.mock import patch

import msgspec
from workqueue.job import Claim, NewJob
from workqueue.lifecycle import FINAL
from workqueue.store.contract import Durability, Turn
from workqueue.store.paging import Find
from workqueue.store.sqlite import checkpoints
from workqueue.store.sqlite.engine import SqliteStore

from prove.journal import AnyEvent, Claimed, Forgiven, Pushed, Pushing, Settled
from prove.powercut.calls import LEASE, TRANSACTIONAL, Answer, Call, Driver, lost, perform
from prove.powercut.driver import Connection, engine_over
from prove.powercut.recording import Mark, Operation, Recorder, recorded
from prove.powercut.states import Bench, Clock, state_of

CHECKPOINT_PAGES: Final = 40  # instead of a thousand, so that a short life sees several checkpoints
_STEP: Final = timedelta(milliseconds=300)


class Setting(msgspec.Struct, frozen=True):
    """leaves_log: as on Python 3.12 and later, where closing leaves the WAL as it is."""

    durability: Durability = "full"
    leaves_log: bool = False
    calls: int = 40

    def __str__(self) -> str:
        return self.durability + (", the log left when closing" if self.leaves_log else "")


class Recording(msgspec.Struct):
    """A life, written down. Commits count from 1; states[0] is that before the first.

    log: with the marks "committing" and "committed" (number of the commit), and "answered" (of the call).
    certain[n]: the number of the last commit when the n-th call had been answered. events[n]: of the n-th call.
    """

    setting: Setting
    before: dict[str, bytes]
    log: list[Operation]
    states: list[bytes]
    certain: list[int] = msgspec.field(default_factory=lambda: [0])
    events: list[Sequence[AnyEvent]] = []


@contextmanager
def short_logs() -> Generator[None]:
    with patch.object(checkpoints, "PAGES", CHECKPOINT_PAGES):
        yield


def record(bench: Bench, setting: Setting, seed: object, *, before: bytes, files: dict[str, bytes]) -> Recording:
    """Live on these files; before: the state that they show."""
    recorder = Recorder()
    states = [before]

    def witness(what: str, connection: Connection) -> None:
        recorder.log.append(Mark(what, len(states) - (what == "committed")))
        if what == "committing":
            states.append(b"")
        else:
            states[-1] = state_of(connection)

    recording = Recording(setting, files, recorder.log, states)
    bench.lay_out(files)
    with recorded(recorder), engine_over(recorder.name, witness=witness, leaves_log=setting.leaves_log), short_logs():
        _Life(bench, recording, random.Random(f"{seed}")).live()
    return recording


class _Life:
    def __init__(self, bench: Bench, recording: Recording, chance: random.Random) -> None:
        self._path = bench.path
        self._recording = recording
        self._chance = chance
        self._driver = Driver(chance)
        self._clock = Clock()
        self._store = self._open()

    def _open(self) -> SqliteStore:
        return SqliteStore(self._path, durability=self._recording.setting.durability, clock=self._clock)

    def live(self) -> None:
        try:
            for _ in range(self._recording.setting.calls):
                self._clock.advance(_STEP)
                draw = self._chance.random()
                if draw < 0.03:
                    self._store.close()
                    self._driver.start_anew()
                    self._store = self._open()
                elif draw < 0.08:
                    self._rescue()
                else:
                    self._do(self._driver.next())
        finally:
            self._store.close()

    def _do(self, call: Call) -> Answer:
        events: list[AnyEvent] = [Pushing(jobs=len(_pushed_by(call)))]
        if call.verb == "change":  # by a person
            which = cast("Find", call.arguments[0])
            events += [Forgiven(job=job.id) for job in self._store.find(which).jobs]
        answer = perform(self._store, call)
        self._driver.learn(call, answer)
        recording = self._recording
        recording.log.append(Mark("answered", len(recording.certain)))
        recording.certain.append(len(recording.states) - 1)
        events += _events_of(call, answer)
        if call.verb == "restore" and answer:
            events += [Forgiven(job=job) for job in call.arguments[1] or self._failed()]  # type: ignore[attr-defined]
        recording.events.append(events)
        return answer

    def _failed(self) -> set[int]:
        told = (event for events in self._recording.events for event in events)
        return {event.job for event in told if isinstance(event, Settled) and event.to == "failed"}

    def _rescue(self) -> None:
        self._clock.advance(LEASE * 2)
        orphans = self._store.orphans(expired=True, limit=100)
        self._driver.held.clear()
        if orphans:
            self._do(lost(orphans))


def _pushed_by(call: Call) -> Sequence[NewJob]:
    if call.verb not in ("push", "transact"):
        return ()
    return cast("Sequence[NewJob]", call.arguments[0 if call.verb == "push" else 1])


def _events_of(call: Call, answer: Answer) -> list[AnyEvent]:
    """What a pusher and a runner would have written down of this call."""
    events: list[AnyEvent] = []
    match call.verb, answer:
        case "push" | "transact", list(ids):
            events += [
                Pushed(job=job, transactional=new.name == TRANSACTIONAL)
                for job, new in zip(ids, _pushed_by(call), strict=True)
            ]
            if call.verb == "transact" and isinstance(claim := call.arguments[0], Claim):
                events.append(Settled(job=claim.job.id, attempt=claim.job.attempt, to="completed"))
        case "turn", Turn(claims=claims, refused=refused):
            for settlement in call.arguments[0]:  # type: ignore[attr-defined]
                if settlement.claim not in refused:
                    job = settlement.claim.job
                    to = str(settlement.to)
                    if settlement.to in FINAL or not job.cancel_requested:
                        events.append(Settled(job=job.id, attempt=job.attempt, to=to))
            events += [Claimed(job=claim.job.id, attempt=claim.job.attempt, by=str(claim.runner)) for claim in claims]
        case "cancel", True:
            events.append(Forgiven(job=call.arguments[0]))  # type: ignore[arg-type]
        case _:
            pass
    return events

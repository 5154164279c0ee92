"""Cuts the line at every byte of a case that matters: of each message, in both directions, with either end told."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Self

import msgspec
from workqueue.errors import WorkqueueError
from workqueue.store.paging import Find, walk
from workqueue.store.postgres.engine import PostgresStore

from prove.audit import Ending, audit
from prove.connections.cases import CASES, Case, Scene
from prove.journal import AnyEvent
from prove.postgres.protocol import Message
from prove.postgres.proxy import Deed, Fault, Proxy

_names: Final = itertools.count(1)


class Cut(msgspec.Struct, frozen=True):
    """One fault of a case, by numbers that mean the same next time. share: of the message that passes, 0 to 1."""

    case: str
    message: int
    share: float
    deed: str

    def __str__(self) -> str:
        return f"{self.case} {self.message} {self.share:.3f} {self.deed}"


class Line:
    """A database with one store on each side of a proxy, for any number of cuts; then the auditor."""

    def __init__(self, url: str) -> None:
        self.proxy = Proxy(url)
        self.near = PostgresStore(url)
        self.far = PostgresStore(self.proxy.url)
        self.events: list[AnyEvent] = []
        self.broken: list[str] = []
        self.struck = 0
        self._heard: list[Message] = []
        self._messages: dict[str, list[tuple[Fault, int]]] = {}

    def messages(self, case: str) -> int:
        """Say how many messages a case has that can be cut."""
        if case not in self._messages:
            for _ in range(2):  # the first of a store says more: it learns
                self.play(CASES[case], None, case)
            self._messages[case] = list(_described(self._heard))
        return len(self._messages[case])

    def cut(self, cut: Cut) -> None:
        self.messages(cut.case)
        fault, size = self._messages[cut.case][cut.message]
        fault = Fault(fault.side, Deed[cut.deed], round(cut.share * size), fault.kind, fault.statement, skip=fault.skip)
        self.play(CASES[cut.case], fault, str(cut))

    def play(self, case: Case, fault: Fault | None, said: str) -> None:
        """Play a case; what is wrong is told with `said`."""
        # With new connections, so that each time the same statements are prepared.
        self.far._database.pool.forget()  # noqa: SLF001
        scene = Scene(self.near, self.far, f"queue {next(_names)}")
        acting = case(scene)
        try:
            next(acting)
            self.proxy.heard()
            armed = None if fault is None else self.proxy.arm(fault)
            for _ in acting:
                pass
            self._heard = self.proxy.heard()
            self.struck += armed is not None and armed.struck
        except WorkqueueError as error:
            scene.broken.append(f"it gave up: {error}")
        finally:
            self.proxy.heal()
        scene.finish()
        self.events += scene.events
        self.broken += [f"{sentence} [python -m prove repeat connections cut {said}]" for sentence in scene.broken]

    def verdict(self) -> tuple[list[str], Counter[str]]:
        """Give what is broken, and what was done."""
        left = list(walk(self.near.find, Find(limit=1_000_000)))
        found = audit(self.events, Ending(jobs=left, complaints=self.near.check()))
        return [*self.broken, *found.broken], Counter(found.counts)

    def close(self) -> None:
        self.far.close()
        self.near.close()
        self.proxy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def every_cut(line: Line, case: str, shares: Sequence[float] = (0.0, 0.5, 1.0)) -> list[Cut]:
    """Give a cut before, in and after each message of a case, by turns of one kind and the other."""
    cuts = itertools.product(range(line.messages(case)), shares)
    return [
        Cut(case, message, share, deed) for (message, share), deed in zip(cuts, itertools.cycle(("CLOSE", "RESET")))
    ]


def some_cut(line: Line, draw: random.Random) -> Cut:
    case = draw.choice(list(CASES))
    share = draw.choice((0.0, 1.0, draw.random()))
    return Cut(case, draw.randrange(line.messages(case)), share, draw.choice(("CLOSE", "RESET")))


def _described(heard: Sequence[Message]) -> Iterator[tuple[Fault, int]]:
    """Describe each message so that it is met again, with its size."""
    seen: Counter[tuple[object, ...]] = Counter()
    for message in heard:
        if message.statement and "pg_notify" not in message.statement:
            key = (message.side, message.kind, message.statement)
            fault = Fault(message.side, Deed.CLOSE, 0, message.kind, message.statement, skip=seen[key])
            yield fault, len(message.data)
            seen[key] += 1

"""Probes of `run`: of one process, or of several whose parent answers for all of them.

The parent imports nothing of the user's, and has no store: it asks its worker processes, each over a line of its own.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final, Literal, NamedTuple

import msgspec

from workqueue.executor.messages import Line
from workqueue.logs import Log
from workqueue.metrics import Page
from workqueue.probes import Answer, Beginning, NotWellError, Probes, answer

log = Log("workqueue.cli")

_PATIENCE: Final = 2.0  # seconds that worker processes have for an answer


class Asked(msgspec.Struct, frozen=True):
    """To a worker process."""

    number: int
    path: str


class Answered(msgspec.Struct, frozen=True):
    """To the parent. number: of the question."""

    number: int
    answer: Answer | None


_asked: Final = msgspec.json.Decoder(Asked)
_answered: Final = msgspec.json.Decoder(Answered)


class Itself:
    """What this process says of itself; `probes` are others once it works."""

    def __init__(self) -> None:
        self.probes: Probes = Beginning()

    def ask(self, path: str) -> Answer | None:
        return answer(self.probes, path)

    def answer_parent(self, descriptor: int) -> None:
        """Answer on this line, on a thread, until the parent is gone."""
        os.set_inheritable(descriptor, False)
        line = Line(socket.socket(fileno=descriptor), _asked)
        threading.Thread(target=self._answer, args=(line,), name="workqueue-probes", daemon=True).start()

    def _answer(self, line: Line[Asked]) -> None:
        while not line.is_over:
            line.wait(None)
            for asked in line.receive():
                line.send(Answered(asked.number, self.ask(asked.path)))
                line.flush()


class Heard(NamedTuple):
    """What came of a question to a place: yes or no, as it said or because it said nothing; or nobody is there."""

    state: Literal["yes", "no", "down"]
    text: str


class Place:
    """A place for a worker process, as the parent asks it. number: from 1."""

    def __init__(self, number: int) -> None:
        self._name = f"worker process {number}"
        self._line: Line[Answered] | None = None  # None: nobody is there

    def open(self) -> socket.socket:
        """Give the end of a new line, for the process that comes."""
        ours, theirs = socket.socketpair()
        self._line = Line(ours, _answered)
        return theirs

    def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def ask(self, asked: Asked) -> Callable[[float], Heard]:
        """Ask; what this gives waits for the answer, until an instant."""
        line = self._line
        if line is None:
            return lambda _until: Heard("down", f"{self._name} is being started")
        line.send(asked)
        return lambda until: self._hear(line, asked.number, until)

    def _hear(self, line: Line[Answered], number: int, until: float) -> Heard:
        try:
            while not line.is_over:
                for heard in line.receive():
                    if heard.number == number:  # and not one that nobody waited for any more
                        return self._heard(heard.answer)
                left = until - time.monotonic()
                if left <= 0:
                    return Heard("no", f"{self._name} does not answer")
                line.wait(left)
        except (OSError, ValueError) as error:  # it was closed while we listened
            log.debug("%s: %s", self._name, error)
        return Heard("down", f"{self._name} has ended")

    def _heard(self, found: Answer | None) -> Heard:
        if found is None or found.status != HTTPStatus.OK:
            return Heard("no", f"{self._name}: {'' if found is None else found.text.strip()}")
        return Heard("yes", found.text)


class Several:
    """The probes of several worker processes together."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._asking = threading.Lock()  # a line is for one question at a time
        self._number = 0

    def ask(self, path: str) -> Answer | None:
        return answer(self, path)

    def live(self) -> None:
        """Raise NotWellError for those that are stuck. One that died is none: another is being started."""
        stuck = [heard.text for heard in self._all("/livez") if heard.state == "no"]
        if stuck:
            raise NotWellError("; ".join(stuck))

    def ready(self) -> None:
        """Raise NotWellError where none of them is ready."""
        found = self._all("/readyz")
        if not any(heard.state == "yes" for heard in found):
            raise NotWellError("; ".join(heard.text for heard in found))

    def metrics(self) -> str:
        """Give those of the store, by whichever process answers, and how the processes are."""
        states = Counter(heard.state for heard in self._all("/livez"))
        page = Page()
        counts = {"live": states["yes"], "stuck": states["no"], "down": states["down"]}
        samples = [("", {"state": state}, float(count)) for state, count in counts.items()]
        page.add("processes", "gauge", "Worker processes of one `workqueue run`.", samples)
        texts = (
            heard.text
            for place in self._places
            for heard in self._all("/metrics", [place])
            if heard.state == "yes" and heard.text
        )
        return next(texts, "") + str(page)

    def _all(self, path: str, places: Sequence[Place] | None = None) -> list[Heard]:
        """Ask them at once, and wait for all."""
        with self._asking:
            self._number += 1
            until = time.monotonic() + _PATIENCE
            answers = [place.ask(Asked(self._number, path)) for place in places or self._places]
            return [hear(until) for hear in answers]

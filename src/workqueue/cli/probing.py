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
from concurrent.futures import Future
from contextlib import suppress
from http import HTTPStatus
from itertools import count
from queue import SimpleQueue
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
        """Answer on this line, on threads, until the parent is gone."""
        os.set_inheritable(descriptor, False)
        line = Line(socket.socket(fileno=descriptor), _asked)
        threading.Thread(target=self._answer, args=(line,), name="workqueue-probes", daemon=True).start()

    def _answer(self, line: Line[Asked]) -> None:
        """Say at once whether this process lives; the rest asks the store, which may be long in coming."""
        rest: SimpleQueue[Asked | None] = SimpleQueue()
        threading.Thread(target=self._answer_rest, args=(line, rest), name="workqueue-probes-rest", daemon=True).start()
        while not line.is_over:
            line.wait(None)
            for asked in line.receive():
                if asked.path == "/livez":
                    line.send(Answered(asked.number, self.ask(asked.path)))
                    line.flush()
                else:
                    rest.put(asked)
        rest.put(None)

    def _answer_rest(self, line: Line[Asked], rest: SimpleQueue[Asked | None]) -> None:
        """Answer all who ask the same at once: so what came while the store was away does not pile up."""
        while True:
            waiting = [rest.get()]
            while not rest.empty():
                waiting.append(rest.get())
            asked = [one for one in waiting if one is not None]
            for path in dict.fromkeys(one.path for one in asked):
                found = self.ask(path)
                for one in asked:
                    if one.path == path:
                        line.send(Answered(one.number, found))
            line.flush()
            if len(asked) < len(waiting):  # the parent is gone
                return line.close()


class Heard(NamedTuple):
    """What came of a question to a place: yes or no, as it said or because it said nothing; or nobody is there."""

    state: Literal["yes", "no", "down"]
    text: str


class _Conversation:
    """Questions to a worker process, and its answers: in any order, each to whoever waits for it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._line = Line(end, _answered)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Answer | None]] = {}
        self._is_over = False
        threading.Thread(target=self._listen, name="workqueue-probes-heard", daemon=True).start()

    def ask(self, asked: Asked) -> Future[Answer | None]:
        """Ask; the answer fails with EOFError once nobody is there any more. Who gives up waiting cancels it."""
        coming: Future[Answer | None] = Future()
        with self._lock:
            if self._is_over:
                coming.set_exception(EOFError())
                return coming
            self._waiting[asked.number] = coming
        coming.add_done_callback(lambda _: self._waiting.pop(asked.number, None))
        self._line.send(asked)
        return coming

    def close(self) -> None:
        with suppress(OSError):  # the other end has gone
            self._end.shutdown(socket.SHUT_RDWR)  # who listens finds that out, and closes it

    def _listen(self) -> None:
        try:
            while not self._line.is_over:
                self._line.wait(None)
                for heard in self._line.receive():
                    coming = self._waiting.get(heard.number)
                    if coming is not None and coming.set_running_or_notify_cancel():
                        coming.set_result(heard.answer)
        except ValueError as error:
            log.warning("a worker process said what is no answer: %s", error)
        with self._lock:
            self._is_over = True
        for coming in list(self._waiting.values()):
            if coming.set_running_or_notify_cancel():
                coming.set_exception(EOFError())
        self._line.close()


class Place:
    """A place for a worker process, as the parent asks it. number: from 1."""

    def __init__(self, number: int) -> None:
        self._name = f"worker process {number}"
        self._conversation: _Conversation | None = None  # None: nobody is there

    def open(self) -> socket.socket:
        """Give the end of a new line, for the process that comes."""
        ours, theirs = socket.socketpair()
        self._conversation = _Conversation(ours)
        return theirs

    def close(self) -> None:
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.close()

    def ask(self, asked: Asked) -> Callable[[float], Heard]:
        """Ask; what this gives waits for the answer, until an instant."""
        conversation = self._conversation
        if conversation is None:
            return lambda _until: Heard("down", f"{self._name} is being started")
        coming = conversation.ask(asked)
        return lambda until: self._hear(coming, until)

    def _hear(self, coming: Future[Answer | None], until: float) -> Heard:
        try:
            found = coming.result(max(0.0, until - time.monotonic()))
        except EOFError:
            return Heard("down", f"{self._name} has ended")
        except TimeoutError:
            coming.cancel()
            return Heard("no", f"{self._name} does not answer")
        if found is None or found.status != HTTPStatus.OK:
            return Heard("no", f"{self._name}: {'' if found is None else found.text.strip()}")
        return Heard("yes", found.text)


class Several:
    """The probes of several worker processes together. Safe from any thread."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._numbers = count(1)

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
        asked = Asked(next(self._numbers), path)
        answers = [place.ask(asked) for place in places or self._places]
        until = time.monotonic() + _PATIENCE
        return [hear(until) for hear in answers]

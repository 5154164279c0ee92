"""What the processes on the tasks do: push, work, and in the end fill each lane, to see that no slot was leaked."""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import signal
import threading
from collections.abc import Callable
from typing import Any, Final

from workqueue import chain

from prove.crash.part import SERVICE, Part, now
from prove.crash.programs import patiently
from prove.crash.tasks.terms import ACCOUNTS, ADDRESSES, HOSTS, LIMIT, LIMIT_APART, LIMIT_ASYNC
from prove.journal import Batched, Pushed, Pushing

_ENOUGH: Final = 40  # jobs that wait, beyond which a pusher holds back
_GRACE: Final = 15.0  # seconds: longer than any job, so that none is handed back while it runs


def play(part: Part) -> int:
    """Do what the part's kind says until SIGTERM; give the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.environ[SERVICE] = part.encode()
    app: Any = importlib.import_module("prove.crash.tasks.app")
    match part.kind:
        case "push":
            return _push(part, app)
        case "fill":
            return _fill(app)
        case _:
            patiently(part, app.queue.start)
            signal.sigwait({signal.SIGTERM})
            app.queue.close(_GRACE)
            return 0


def _push(part: Part, app: Any) -> int:
    ending = threading.Event()
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            pusher = Pusher(app, f"{part.seed}:{number}")
            while not ending.is_set():
                patiently(part, pusher.push)
        except BaseException as error:
            failed.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(part.concurrency)]
    for thread in threads:
        thread.start()
    signal.sigwait({signal.SIGTERM})
    ending.set()
    for thread in threads:
        thread.join()
    app.queue.close()
    if failed:
        raise failed[0]
    return 0


def _fill(app: Any) -> int:
    """Push as many as each lane takes at once; each of them ends when all of its lane have met."""
    pusher = Pusher(app, "")
    lanes = [[app.visit.s(host, 0, f"visit-{host}/{LIMIT}")] * LIMIT for host in HOSTS]
    lanes.append([app.fetch.s(0, f"fetch/{LIMIT_ASYNC}")] * LIMIT_ASYNC)
    lanes.append([app.apart.s(0, f"apart/{LIMIT_APART}")] * LIMIT_APART)
    for calls in lanes:  # one after another: those who wait for each other take up the places of the rest
        pusher.many(calls)
        app.queue.wait_idle()
    app.queue.close()
    return 0


class Pusher:
    """Pushes what is drawn, one push after another."""

    def __init__(self, app: Any, seed: str) -> None:
        self._app = app
        self._draw = random.Random(seed)
        self._seed = seed
        self._batches = 0
        self._ways: list[Callable[[], None]] = [self._limited, self._alone, self._unique, self._batch, self._chain]

    def push(self) -> None:
        self._draw.choices(self._ways, [50, 10, 25, 8, 10])[0]()
        if self._app.queue.size().waiting > _ENOUGH:
            self._app.queue.wait_idle(0.1)

    def many(self, calls: list[Any]) -> None:
        """Push calls of one task together."""
        self._announce(len(calls))
        self._acknowledge(*calls[0].task.push_many(calls))

    def _announce(self, jobs: int = 1) -> None:
        self._app.witness.note(Pushing(at=now(), jobs=jobs))

    def _acknowledge(self, *jobs: int) -> None:
        at = now()
        self._app.witness.note(*(Pushed(at=at, job=job) for job in jobs))

    def _pause(self) -> float:
        return float(self._draw.choice([0, 0.001, 0.01, 0.05]))

    def _limited(self) -> None:
        """Push one or several that have a limit, a rate, or an order."""
        app, draw = self._app, self._draw
        call = draw.choice(
            [
                app.visit.s(draw.choice(HOSTS), self._pause()),
                app.fetch.s(self._pause()),
                app.call.s(draw.choice(HOSTS)),
                app.book.s(draw.choice(ACCOUNTS), self._pause(), draw.choice([0, 0, 1, 2])),
            ]
        )
        self.many([call] * draw.choice([1, 1, 2, 5]))

    def _alone(self) -> None:
        self.many([self._app.apart.s(self._pause())])

    def _unique(self) -> None:
        """Push one whose key another may have, or three of one key at once."""
        mail, address = self._app.mail, self._draw.choice(ADDRESSES)

        async def together() -> list[int]:
            return [handle.id for handle in await asyncio.gather(*(mail.apush(address) for _ in range(3)))]

        if self._draw.random() < 0.3:
            self._announce(3)
            self._acknowledge(*asyncio.run(together()))
        else:
            self._announce()
            self._acknowledge(mail.push(address, self._pause()).id)

    def _batch(self) -> None:
        app = self._app
        self._batches += 1
        label = f"{self._seed}#{self._batches}"
        count = self._draw.randrange(1, 6)
        self._announce(count + 1)
        with app.queue.batch(then=app.callback.s(label)) as batch:
            for _ in range(count):
                task = app.part_apart if self._draw.random() < 0.1 else app.part
                batch.add(task.s(label, self._pause()))
        app.witness.note(Batched(at=now(), batch=label, jobs=count))

    def _chain(self) -> None:
        app = self._app
        self._batches += 1
        label = f"{self._seed}#{self._batches}"
        tasks = [app.link_apart if self._draw.random() < 0.1 else app.link for _ in range(self._draw.randrange(2, 5))]
        first, *rest = tasks
        self._announce(len(tasks))
        handles = chain(first.s(label, ""), *(task.s(label) for task in rest)).push_all()
        self._acknowledge(*(handle.id for handle in handles))

"""Real runners and pushers, while their lines break or fall silent, sessions are ended, and the server restarts."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from typing import Final

import psycopg
from workqueue import Queue
from workqueue.context import Context
from workqueue.control import RecoverableWorkerError
from workqueue.errors import StoreUnavailable
from workqueue.job import Job
from workqueue.store.paging import Find, walk
from workqueue.store.postgres.engine import PostgresStore

from prove.audit import Ending, audit
from prove.journal import AnyEvent, Ended, Pushed, Pushing, Started
from prove.postgres.harm import WAYS, end_sessions, restart
from prove.postgres.protocol import Side
from prove.postgres.proxy import Deed, Fault, Proxy
from prove.postgres.server import PostgresServer

_PATIENCE: Final = 90.0  # seconds, for what is left when all is well again
_RUNNERS: Final = 2
_WORDS: Final = ("commit", "materialized", "delete", "insert", "update", "pushes")


class Storm:
    """One storm over a database of the server: `rage`, then `judge`."""

    def __init__(self, server: PostgresServer, url: str, draw: random.Random) -> None:
        self._server = server
        self._url = url
        self._draw = draw
        self._events: list[AnyEvent] = []
        self._over = threading.Event()
        self.counts: Counter[str] = Counter()

    def do_work(self, ctx: Context, job: Job) -> None:
        by = str(ctx.claim.runner)
        self._events.append(Started(job=job.id, attempt=job.attempt, by=by))
        if job.id % 3 == 0:
            try:
                with ctx.transaction() as transaction:
                    transaction.execute("INSERT INTO effects VALUES (%s)", [job.id])
            except StoreUnavailable as error:
                self._events.append(Ended(job=job.id, attempt=job.attempt, by=by, how="again"))
                raise RecoverableWorkerError(str(error)) from error
        self._events.append(Ended(job=job.id, attempt=job.attempt, by=by))

    def id(self) -> str:
        return "storm"

    def rage(self, seconds: float) -> None:
        """Let runners and a pusher work, each over a line of its own, until the time is over and nothing is left."""
        with ExitStack() as stack:
            near = stack.enter_context(Queue(self._url))
            with psycopg.connect(self._url, autocommit=True) as session:
                session.execute("CREATE TABLE effects (job bigint)")
            lines = [stack.enter_context(Proxy(self._url)) for _ in range(_RUNNERS + 1)]
            queues = [stack.enter_context(Queue(line.url, self, concurrency=4, poll_rate=timedelta(seconds=0.2)))
                      for line in lines[1:]]  # fmt: skip
            pushing = stack.enter_context(Queue(lines[0].url))
            pusher = threading.Thread(target=self._push, args=(pushing,))
            pusher.start()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                self._harm(lines)
                self._over.wait(self._draw.uniform(0.02, 0.3))
                for line in lines:
                    line.heal()
            self._over.set()
            pusher.join()
            patience = time.monotonic() + _PATIENCE
            while near.size().waiting and time.monotonic() < patience:
                self._over.wait(0)
                time.sleep(0.02)
            for queue in queues:
                queue.stop()

    def _harm(self, lines: list[Proxy]) -> None:
        line = self._draw.choice(lines)
        match self._draw.randrange(12):
            case 0:
                self.counts["restarts of the server"] += 1
                restart(self._server, self._draw.choice(WAYS))
            case 1 | 2:
                self.counts["times that all sessions were ended"] += 1
                end_sessions(self._url)
            case 3:
                self.counts["lines held"] += 1
                line.strike(Deed.HOLD)
            case 4:
                self.counts["lines refused"] += 1
                line.refuse()
                line.strike(self._draw.choice((Deed.CLOSE, Deed.RESET)))
            case _:
                self.counts["cuts at a message"] += 1
                deed = self._draw.choice((Deed.CLOSE, Deed.RESET, Deed.SWALLOW))
                word, byte = self._draw.choice(_WORDS), self._draw.choice((0, self._draw.randrange(200), 10**6))
                line.arm(Fault(self._draw.choice(list(Side)), deed, byte, statement=word))

    def _push(self, queue: Queue) -> None:
        pushes = random.Random(self._draw.random())  # noqa: S311 - to be drawn alike again
        while not self._over.wait(pushes.uniform(0.0, 0.02)):
            many = pushes.choice((1, 1, 1, 10))
            self._events.append(Pushing(jobs=many))
            try:
                jobs = queue.push_many("job", range(many)) if many > 1 else [queue.push("job", 0)]
            except StoreUnavailable:
                self.counts["pushes that said they could not"] += 1
                continue
            self._events += [Pushed(job=job, transactional=job % 3 == 0) for job in jobs]

    def judge(self) -> list[str]:
        """Give what is broken, and count what was done."""
        store = PostgresStore(self._url)
        with psycopg.connect(self._url) as session:
            effects: Counter[int] = Counter(job for (job,) in session.execute("SELECT job FROM effects"))
        ending = Ending(jobs=list(walk(store.find, Find(limit=1_000_000))), complaints=store.check(), effects=effects)
        store.close()
        found = audit(self._events, ending)
        self.counts.update(found.counts)
        return found.broken

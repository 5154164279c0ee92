"""Duties: the tasks of a queue, each of which asks for something beyond its turn; and those who push and pause them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import msgspec
from workqueue import Backoff, Context, Queue, StoreError, chain, injected
from workqueue.task import BaseTask

from prove.simulation.ledger import TICK
from prove.simulation.stand_ins import SECOND

if TYPE_CHECKING:
    from prove.simulation.host import Process
    from prove.simulation.people import Cast

TASKS: Final = "tasks"  # ends the names of the queues that have them
EXTRA: Final = ("nap", "nap", "snooze", "drop")  # errands, beside those of other queues
_ALIKE: Final = ("easy", "limited", "limited_by", "rated", "rated_by", "ordered", "ordered_few")  # each push a new job
_KEYED: Final = ("all", "keep", "error", "replace")
Task: TypeAlias = BaseTask[..., object]


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """What the tasks of one seed ask for, and of what it has most, so that they get into each other's way.

    every: seconds between the slots of its schedule, if it has one.
    """

    ways: list[str]
    alike: list[str]
    keyed: list[str]
    whom: str

    limit: int
    rate: str
    unique_for: float
    expires: float
    every: float | None
    catch_up: int


def asking(draw: Random) -> Asking:
    """Give this seed's."""
    return Asking(
        ways=["one", *draw.choices(["one", "many", "transaction", "key", "batch", "chain"], k=3)],
        alike=draw.sample(_ALIKE, 2),
        keyed=draw.sample(_KEYED, 2),
        whom=draw.choice(["a", "ab", "abc"]),
        limit=draw.choice([1, 1, 2, 3]),
        rate=draw.choice(["1/1s", "2/1s", "3/2s", "5/4s"]),
        unique_for=draw.choice([0.5, 2, 8]),
        expires=draw.choice([0.5, 2, 8]),
        every=draw.choice([None, None, 1, 2, 5]),
        catch_up=draw.choice([0, 1, 100]),
    )


class _Hands(Protocol):
    def attempt(
        self, ctx: Context, errand: str, *, got: object = None, gives: object = None, retries: bool = False
    ) -> None: ...


class Duties:
    """The tasks of a queue that is not started yet, by their names. hands: who runs them."""

    def __init__(self, queue: Queue, hands: _Hands, asking: Asking, seed: str) -> None:
        self._queue = queue
        self._hands = hands
        self._asking = asking
        self._seed = seed
        self.tasks: dict[str, Task] = {}
        most, rate, again = asking.limit, asking.rate, Backoff(min=timedelta(seconds=0.1), limit=3)
        self._make("easy")
        self._make("limited", limit=most)
        self._make("limited_by", limit=1, limit_by="whom")
        self._make("rated", rate=rate)
        self._make("rated_by", rate=rate, rate_by="whom", limit=most)
        self._make("ordered", ordered_by="whom")
        self._make("ordered_few", ordered_by="whom", limit=most, retry=again)
        self._make("all", ordered_by="whom", limit=most, rate=rate, key_by="whom")
        self._make("keep", key_by="whom", unique_for=asking.unique_for)
        self._make("error", key_by="whom", unique_for=asking.unique_for, on_conflict="error")
        self._make("replace", key_by="whom", on_conflict="replace", limit=1)
        self._make("member", limit=most, retry=again)
        self._make("collect")
        self._make("drill", limit=1)
        self._make_chain()
        if asking.every is not None:
            self._make_periodic(asking.every)

    def push_child(self) -> int:
        return self.tasks["easy"].push("quick", "a").id

    def _make(self, name: str, **options: object) -> None:
        hands, retries = self._hands, "retry" in options

        def run(errand: str, whom: str, ctx: Context = injected) -> None:
            hands.attempt(ctx, errand, retries=retries)

        self.tasks[name] = self._queue.task(name=name, **options)(run)  # type: ignore[call-overload]

    def _make_chain(self) -> None:
        hands = self._hands

        def first(errand: str, ctx: Context = injected) -> list[int]:
            gives = [ctx.job.id, ctx.job.attempt]
            hands.attempt(ctx, errand, gives=gives)
            return gives

        def then(before: list[int], errand: str, ctx: Context = injected) -> list[int]:
            gives = [ctx.job.id, ctx.job.attempt]
            hands.attempt(ctx, errand, got=before, gives=gives)
            return gives

        limit = self._asking.limit
        self.tasks["first"] = self._queue.task(name="first", limit=limit)(first)
        self.tasks["then"] = self._queue.task(name="then")(then)

    def _make_periodic(self, every: float) -> None:
        hands = self._hands

        def tick(slot: datetime, ctx: Context = injected) -> None:
            hands.attempt(ctx, "quick")

        options = {"every": timedelta(seconds=every), "catch_up": self._asking.catch_up}
        self.tasks[TICK] = self._queue.task(name=TICK, **options)(tick)  # type: ignore[call-overload]

    # who pushes

    def push_some(self, cast: Cast, process: Process, errand: str, draw: Random) -> None:
        errand = draw.choice(EXTRA) if draw.random() < 0.3 else errand
        match draw.choice(self._asking.ways):
            case "one":
                self._push_one(cast, process, errand, draw)
            case "key":
                self._push_key(cast, process, draw)
            case "many":
                task, count = self._alike(draw), draw.randint(2, 6)
                calls = [(errand, draw.choice(self._asking.whom)) for _ in range(count)]
                cast.pushing(process, count, errand, lambda: task.push_many(calls))
            case "transaction":
                task, count = self._alike(draw), draw.randint(2, 4)
                calls = [(errand, draw.choice(self._asking.whom)) for _ in range(count)]
                commits = draw.random() < 0.7
                cast.pushing(process, count, errand, lambda: self._push_in_transaction(task, calls, commits=commits))
            case "batch":
                self._push_batch(cast, process, errand, draw)
            case "chain":
                task, then, end = self.tasks["first"], self.tasks["then"], draw.choice(["quick", "nap", "effect"])
                links = chain(task.s(errand), then.s(errand="quick"), then.s(errand=end))
                # The errands differ, so that none is said to have an effect.
                cast.pushing(process, 3, "", lambda: [handle.id for handle in links.push_all()])

    def _alike(self, draw: Random) -> Task:
        return self.tasks[draw.choice(self._asking.alike)]

    def _push_one(self, cast: Cast, process: Process, errand: str, draw: Random) -> None:
        whom, wait = draw.choice(self._asking.whom), draw.choice([0, 0, 0.1, 2])
        expires = self._asking.expires if draw.random() < 0.2 else None
        task = self._alike(draw).using(after=wait, expires=expires, priority=draw.choice([0, 0, 1, -1]))
        soon = cast.host.now + int(wait * SECOND)
        cast.pushing(process, 1, errand, lambda: [task.push(errand, whom).id], not_before=soon)

    def _push_key(self, cast: Cast, process: Process, draw: Random) -> None:
        # What was pushed before may be given again, so that all of them have one errand, and none a time of its own.
        task = self.tasks[draw.choice(self._asking.keyed)].using(after=draw.choice([0, 0, 0.1, 2]))
        whom = draw.choice(self._asking.whom)
        cast.pushing(process, 1, "", lambda: [task.push("nap", whom).id])

    def _push_in_transaction(self, task: Task, calls: list[tuple[str, str]], *, commits: bool) -> list[int]:
        with self._queue.transaction():
            ids = [task.push(*call).id for call in calls]
            if not commits:
                raise LookupError("the application thinks better of it")
        return ids

    def _push_batch(self, cast: Cast, process: Process, errand: str, draw: Random) -> None:
        count, fails = draw.randint(0, 5), draw.random() < 0.1
        member, collect = self.tasks["member"], self.tasks["collect"]
        ledger = cast.host.ledger

        def fill() -> list[int]:
            with self._queue.batch(then=collect.s(draw.choice(["quick", "effect", "retry"]), "a")) as batch:
                if batch.id in ledger.batches or batch.id in ledger.opened:
                    ledger.broken.append(f"S12: batch {batch.id} was given to two who opened one")
                ledger.opened.add(batch.id)
                for _ in range(count):
                    batch.add(member.s(errand, "a"))
                if fails:
                    raise LookupError("the application thinks better of it")
            return ledger.batches.get(batch.id, [])

        cast.pushing(process, count + 1, "", fill)

    # who meddles

    def meddle(self, draw: Random) -> None:
        """Be a person who pauses tasks and resumes them; in the end all are resumed."""
        queue, name = self._queue, draw.choice([None, "member", *self._asking.alike, *self._asking.keyed])
        act: Callable[[], object] = draw.choice([lambda: queue.pause(name), lambda: queue.resume(name), self._resume])
        try:
            act()
        except StoreError:
            pass

    def _resume(self) -> None:
        for name in self._queue.paused():
            self._queue.resume(name)

    def put_right(self) -> None:
        """Resume what is paused. Raises what the store does."""
        self._resume()

    def end_schedule(self) -> None:
        """Let no more slots be run. Raises what the store does."""
        self._queue.pause_schedule(TICK)

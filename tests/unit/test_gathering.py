"""Gathering: many pushes, one commit, and each its own fate."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from workqueue import StoreUnavailable, UsageError
from workqueue.gathering import Gathering
from workqueue.job import NewJob
from workqueue.store.memory.engine import MemoryStore


class Watched(MemoryStore):
    """Remembers what came together; `act` sees each batch first. The first one waits until `go_on`."""

    def __init__(self, act: Callable[[list[str]], None] = lambda _names: None) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.began, self.go_on = threading.Event(), threading.Event()
        self.act = act

    def push(self, jobs):
        names = [job.name for job in jobs]
        self.batches.append(names)
        if len(self.batches) == 1:
            self.began.set()
            assert self.go_on.wait(30)
        self.act(names)
        return super().push(jobs)


def job(name: str) -> NewJob:
    return NewJob(queue="q", name=name, data=b"{}")


class Pushers:
    """A leader that is held up in the store, and threads that come meanwhile."""

    def __init__(self, store: Watched) -> None:
        self.gathering = Gathering(store)
        self.store = store
        self.results: dict[str, int | BaseException] = {}
        self._threads = [threading.Thread(target=self._push, args=["first"])]
        self._threads[0].start()
        assert store.began.wait(30)

    def come(self, *names: str) -> None:
        for name in names:
            waiting = len(self.gathering._waiting)
            thread = threading.Thread(target=self._push, args=[name])
            thread.start()
            self._threads.append(thread)
            while len(self.gathering._waiting) == waiting:
                assert thread.is_alive()

    def go_on(self) -> None:
        self.store.go_on.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _push(self, name: str) -> None:
        try:
            self.results[name] = self.gathering.push(job(name))
        except BaseException as error:
            self.results[name] = error


def test_one_alone_waits_for_nobody():
    store = Watched()
    store.go_on.set()
    gathering = Gathering(store)
    assert [gathering.push(job(name)) for name in "abc"] == [1, 2, 3]
    assert store.batches == [["a"], ["b"], ["c"]]


def test_those_who_come_during_a_commit_share_the_next():
    pushers = Pushers(Watched())
    pushers.come(*"abcdefgh")
    pushers.go_on()
    assert pushers.store.batches == [["first"], list("abcdefgh")]
    assert pushers.results == {"first": 1} | {name: number for number, name in enumerate("abcdefgh", start=2)}


def test_one_that_cannot_be_stored_does_not_harm_its_neighbours():
    def refuse(names: list[str]) -> None:
        if "bad" in names:
            raise ValueError("bad")

    pushers = Pushers(Watched(refuse))
    pushers.come("a", "bad", "b")
    pushers.go_on()
    assert isinstance(pushers.results.pop("bad"), ValueError)
    assert pushers.results == {"first": 1, "a": 2, "b": 3}


def test_a_store_that_is_away_is_asked_once_and_all_are_told():
    def away(names: list[str]) -> None:
        if names != ["first"]:
            raise StoreUnavailable("away", path="x")

    pushers = Pushers(Watched(away))
    pushers.come("a", "b", "c")
    pushers.go_on()
    assert pushers.store.batches == [["first"], ["a", "b", "c"]]
    assert [type(pushers.results[name]) for name in "abc"] == [StoreUnavailable] * 3


def test_a_leader_that_is_interrupted_tells_the_others_that_nobody_knows():
    """It may have come after the commit: stored again, their jobs would be there twice."""

    class Interrupted(Watched):
        def push(self, jobs):
            ids = super().push(jobs)
            if self.batches[-1] == ["a", "b", "c"]:
                raise KeyboardInterrupt
            return ids

    pushers = Pushers(Interrupted())
    pushers.come("a", "b", "c")
    pushers.go_on()
    assert [type(pushers.results[name]) for name in "abc"] == [KeyboardInterrupt, StoreUnavailable, StoreUnavailable]
    assert "may be stored or not" in str(pushers.results["b"])
    assert pushers.store.batches == [["first"], ["a", "b", "c"]]
    assert pushers.gathering.push(job("d")) == 5


def test_the_main_thread_stores_its_own_job_and_nobody_waits_for_it():
    """Ctrl-C may come in the midst of whatever it does."""

    def interrupt(names: list[str]) -> None:
        if names == ["interrupted"]:
            raise KeyboardInterrupt

    pushers = Pushers(Watched(interrupt))
    pushers.come("a", "b")
    with pytest.raises(KeyboardInterrupt):
        pushers.gathering.push(job("interrupted"))
    assert pushers.gathering.push(job("main")) == 1
    pushers.go_on()
    assert pushers.results == {"first": 2, "a": 3, "b": 4}
    assert pushers.store.batches == [["first"], ["interrupted"], ["main"], ["a", "b"]]


def test_an_event_loop_that_is_interrupted_holds_nobody_up(monkeypatch):
    store = Watched()
    store.go_on.set()
    gathering = Gathering(store)
    join = gathering._join

    def interrupted(*arguments: object, **options: bool) -> bool:
        join(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(gathering, "_join", interrupted)
        asyncio.run(gathering.apush(job("a")))
    assert asyncio.run(asyncio.wait_for(gathering.apush(job("b")), 30)) == 1
    with ThreadPoolExecutor(1) as another:
        assert another.submit(gathering.push, job("c")).result(30) == 2


def test_while_no_thread_can_be_started_one_apush_fails_and_the_next_does_not(monkeypatch):
    store = Watched()
    store.go_on.set()
    gathering = Gathering(store)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="new thread"):
        patch.setattr(threading.Thread, "start", no_thread)
        asyncio.run(gathering.apush(job("a")))
    assert asyncio.run(asyncio.wait_for(gathering.apush(job("b")), 30)) == 1
    assert store.batches == [["b"]]


def test_a_leader_that_can_start_no_thread_stores_for_the_event_loop_itself(monkeypatch):
    pushers = Pushers(Watched())

    async def push() -> int:
        task = asyncio.create_task(pushers.gathering.apush(job("a")))
        while not pushers.gathering._waiting:
            await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            pushers.go_on()
        return await asyncio.wait_for(task, 30)

    assert asyncio.run(push()) == 2
    assert pushers.results == {"first": 1}


def no_thread(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_leader_that_fails_at_the_first_push_lets_others_lead():
    store = Watched(lambda _names: (_ for _ in ()).throw(ZeroDivisionError))
    pushers = Pushers(store)
    pushers.come("a")
    pushers.go_on()
    assert [type(result) for result in pushers.results.values()] == [ZeroDivisionError] * 2


def test_tasks_of_an_event_loop_share_too_and_a_cancelled_one_holds_nobody_up():
    store = Watched()
    gathering = Gathering(store)

    async def push_all() -> list[int | BaseException]:
        tasks = [asyncio.create_task(gathering.apush(job(str(number)))) for number in range(200)]
        while len(gathering._waiting) < 199:  # the first is at the store
            await asyncio.sleep(0)
        for number in (1, 100, 199):
            tasks[number].cancel()
        await asyncio.sleep(0)
        store.go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(push_all())
    assert [number for number, result in enumerate(results) if isinstance(result, BaseException)] == [1, 100, 199]
    ids = [result for result in results if isinstance(result, int)]
    assert ids == list(range(1, 198))
    assert [len(batch) for batch in store.batches] == [1, 196]


def test_inside_a_transaction_a_push_joins_it_and_awaiting_is_refused():
    store = Watched()
    store.go_on.set()
    gathering = Gathering(store)
    with pytest.raises(ZeroDivisionError), store.transaction():
        gathering.push(job("a"))
        raise ZeroDivisionError
    assert store.size("q").waiting == 0

    async def push() -> None:
        with store.transaction():
            await gathering.apush(job("b"))

    with pytest.raises(UsageError, match="no await"):
        asyncio.run(push())
    assert store.size("q").waiting == 0

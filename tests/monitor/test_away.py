"""A database that goes away for a while, or takes long: it is said, keys are answered, and it goes on."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from prove.postgres.proxy import Deed, Proxy
from watching import run, watched
from workqueue import Queue
from workqueue.errors import StoreUnavailable, UnsuitableFile
from workqueue.job import JobStatus
from workqueue.monitor import Desk, app
from workqueue.store import open_store

from support import a_failed_job, push, until


def test_on_postgres_all_of_it(postgres):
    with Queue(postgres) as queue:
        store = queue._open_store()
        failed = a_failed_job(store, name="send")
        push(store, name="digest")

        async def test() -> None:
            with Proxy(postgres) as line:
                async with watched(line.url, period=timedelta(milliseconds=100)) as watcher:
                    await watcher.sees("1 waiting", "1 failed", "digest", "ValueError: bad")
                    await watcher.press("tab", "tab", "r", "y")
                    await watcher.sees("is due now", "2 waiting", "0 failed")
                    assert store.get(failed).status is JobStatus.PENDING
                    line.refuse()
                    line.strike(Deed.RESET)
                    await watcher.sees("no answer for", "digest")
                    push(store, name="pushed meanwhile")
                    await watcher.press("up", "shift+tab", "slash", *"dig", "enter", "escape")
                    await watcher.press("p", "y")
                    line.heal()
                    await watcher.sees("3 waiting", "pushed meanwhile")
                    await watcher.until(lambda: "no answer" not in watcher.text)

        run(test())


def test_a_file_that_went_away_is_opened_again(tmp_path):
    path = tmp_path / "jobs.db"
    open_store(path).close()
    desk = Desk(path, period=0)
    assert desk.frame(20).failures == []
    for file in tmp_path.iterdir():  # as whoever puts a backup in its place
        file.rename(tmp_path / f"old {file.name}")
    for _ in range(2):
        with pytest.raises(UnsuitableFile, match="but there is none"):
            desk.frame()
    assert not path.exists()
    with Queue(path) as queue:
        queue.push("n", 1)
    until(lambda: (sight := desk.frame(20).sight) is not None and sight.total.pending == 1)
    desk.close()
    desk.close()


def test_an_act_on_a_database_that_is_away_says_so(tmp_path, monkeypatch):
    with Queue(tmp_path / "jobs.db") as queue:
        queue.push("n", 1)

        def away(*_: object) -> None:
            raise StoreUnavailable("expected an answer of the server, got none", path="jobs.db")

        async def test() -> None:
            async with watched(tmp_path / "jobs.db") as watcher:
                await watcher.sees("default")
                monkeypatch.setattr(Desk, "hand", away)
                await watcher.press("p", "y")
                await watcher.sees("expected an answer of the server, got none")

        run(test())


def test_an_error_is_shown_for_as_long_as_it_lasts(tmp_path, monkeypatch):
    frame = Desk.frame
    errors: list[Exception] = [StoreUnavailable("expected a server", path="jobs.db"), OSError("expected a disk")]

    def failing(desk: Desk) -> object:
        if errors:
            raise errors[0]
        return frame(desk)

    with Queue(tmp_path / "jobs.db") as queue:
        queue.push("n", 1)

        async def test() -> None:
            async with watched(tmp_path / "jobs.db") as watcher:
                await watcher.sees("default")
                monkeypatch.setattr(Desk, "frame", failing)
                watcher.app.wake()
                await watcher.sees("no answer for", "expected a server", "default")
                errors.pop(0)
                watcher.app.wake()
                await watcher.sees("no answer for", "expected a disk", "default")
                errors.pop(0)
                watcher.app.wake()
                await watcher.until(lambda: "no answer" not in watcher.text)

        run(test())


def test_while_nobody_answers_keys_are_heard(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "_SLOW", 0.01)
    answers = threading.Event()
    frame = Desk.frame

    def slow(desk: Desk) -> object:
        answers.wait(20)
        return frame(desk)

    with Queue(tmp_path / "jobs.db") as queue:
        queue.push("n", 1)

        async def test() -> None:
            async with watched(tmp_path / "jobs.db") as watcher:
                await watcher.sees("default")
                monkeypatch.setattr(Desk, "frame", slow)
                watcher.app.wake()
                await watcher.sees("no answer for", "asked, and waiting")
                await watcher.press("slash", "x")
                await watcher.sees("nothing has 'x' in it")
                answers.set()
                await watcher.until(lambda: "no answer" not in watcher.text)

        run(test())


def test_what_ends_a_look_but_is_no_answer_ends_the_monitor(tmp_path, monkeypatch):
    open_store(tmp_path / "jobs.db").close()

    def broken(_: Desk) -> object:
        raise ZeroDivisionError("a bug of ours")

    async def test() -> None:
        async with watched(tmp_path / "jobs.db") as watcher:
            monkeypatch.setattr(Desk, "frame", broken)
            watcher.app.wake()
            await watcher.until(lambda: watcher.app.return_code)

    with pytest.raises(Exception, match="a bug of ours"):
        run(test())

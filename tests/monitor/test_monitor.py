"""The monitor by its keys: what is to be seen, what can be looked into, what can be done, and who is asked before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from textual.widgets import Input
from watching import Watcher, run, segments_of, watched
from workqueue import payload
from workqueue.figures import Counted
from workqueue.job import JobStatus
from workqueue.monitor import Desk
from workqueue.monitor.jobs import Jobs
from workqueue.monitor.story import StoryView
from workqueue.monitor.table import Table
from workqueue.store import open_store
from workqueue.store.contract import Store
from workqueue.words import printable

from support import a_failed_job, again, apply, claim_one, everything, push, raised, settled_at_once

HOSTILE = [
    "[bold red]markup[/] [@click=app.quit]x[/]",
    "[/] [red",
    "\x1b[31mred\x1b]0;title\x07\x9b31m",
    "\u202eevil\u200b\u2066",
    "a\r\nb\tc\x08",
    "$primary [link=file:///etc]漢字👩‍👩‍👧[/link]",
    "{{7*7}} %s \\[esc]",
    "x" * 300,
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with_clock = open_store(tmp_path / "jobs.db")
    yield with_clock
    with_clock.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def fill(store: Store) -> dict[str, int]:
    """A queue in which there is a job of each kind."""
    failed = a_failed_job(store, queue="mail", name="send", data=b'{"to":"ada@example.org","password":"hunter2"}')
    runner = store.enlist("mail", "host:7")
    retrying = push(store, queue="mail", name="digest")
    apply(store, again(claim_one(store, runner, queue="mail"), timedelta(hours=1)))
    running = push(store, queue="mail", name="send")
    claim_one(store, runner, queue="mail")
    store.note_progress(runner, {running: b'"half of it"'})
    waiting = push(store, queue="mail", name="send")
    other = push(store, queue="crawl", name="fetch")
    return {"failed": failed, "retrying": retrying, "running": running, "waiting": waiting, "other": other}


def status(store: Store, job: int) -> JobStatus:
    return store.get(job).status


# look


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)], ids="{0[0]}x{0[1]}".format)
def test_all_is_to_be_seen_at_once(store, path, size, monkeypatch):
    jobs = fill(store)
    frame, failed_at = Desk.frame, store.get(jobs["failed"]).settled_at
    monkeypatch.setattr(Desk, "frame", lambda desk: msgspec.structs.replace(frame(desk), now=failed_at))
    store.pause("crawl", None)
    store.ledger.add("mail", {"send": Counted(completed=1234)})

    async def test() -> None:
        async with watched(path, size=size) as watcher:
            text = await watcher.sees("QUEUES AND TASKS", "RUNNERS", "FAILURES", "1,234")
            assert len(watcher.lines) == size[1] and {len(line) for line in watcher.lines} <= set(range(size[0] + 1))
            assert str(path)[:20] in watcher.lines[0]
            assert "2 waiting" in text and "1 running" in text and "1 failed" in text and "1 runner " in text
            assert watcher.line_with("crawl").split()[:3] == ["crawl", "paused", "1"]
            assert " host:7 " in watcher.line_with("half of it")
            failure = watcher.line_with("ValueError: bad")
            assert f" {jobs['failed']} " in failure and "for good" in failure and "just now" in failure
            assert "in 59m" in watcher.line_with("RecoverableWork") or "in 1h" in watcher.line_with("RecoverableWork")
            assert "r retry" in watcher.lines[-1]

    run(test())


def test_tasks_have_their_own_figures(store, path):
    fill(store)

    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("digest")
            # waiting, not due, running, failed
            assert watcher.line_with("  send ").split()[1:5] == ["1", "·", "1", "1"]
            assert watcher.line_with("  digest ").split()[1:5] == ["·", "1", "·", "·"]
            assert watcher.line_with("  fetch ").split()[1:5] == ["1", "·", "·", "·"]
            assert "no runner" in watcher.line_with("crawl")

    run(test())


def test_what_comes_is_shown_and_what_was_chosen_stays_so(store, path):
    fill(store)

    async def test() -> None:
        async with watched(path) as watcher:
            table = watcher.app.screen.query_one("#work", Table)
            await watcher.sees("fetch")
            await watcher.press("down", "j", "down", "up")
            chosen = table.subject
            assert chosen is not None and (chosen.queue, chosen.name) == ("mail", None)
            push(store, queue="a new one", name="task")
            await watcher.look()
            await watcher.sees("a new one")
            assert table.subject == chosen
            assert [line.strip() for line in watcher.reversed_lines()] == [watcher.line_with("mail ").strip()]
            await watcher.press("end")
            assert table.subject is not None and table.subject.name == "send"
            await watcher.press("home", "k", "pageup")
            assert table.subject is not None and table.subject.queue == "a new one"

    run(test())


def test_an_empty_store_says_so(store, path):
    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("nothing was pushed so far", "nobody runs jobs", "nothing failed", "0 waiting")
            await watcher.press("slash", "x")
            await watcher.sees("nothing has 'x' in it")
            await watcher.press("escape")
            await watcher.sees("nothing was pushed so far", "nobody runs jobs", "nothing failed")
            await watcher.press("enter", "pagedown", "r")  # r last: what it says is gone after some seconds
            await watcher.sees("choose a row first")

    run(test())


def test_a_filter_keeps_what_has_it_in_a_name_or_a_message(store, path):
    fill(store)

    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("fetch", "digest")
            await watcher.press("slash", *"dig")
            await watcher.until(lambda: "fetch" not in watcher.text)
            assert "digest" in watcher.text and "ValueError" not in watcher.text
            await watcher.press("enter")
            assert isinstance(watcher.app.focused, Table)
            await watcher.press("escape")
            await watcher.sees("fetch", "ValueError")
            await watcher.press("slash", *"nowhere")
            await watcher.sees("nothing has 'nowhere' in it")

    run(test())


def test_a_job_is_looked_into(store, path):
    jobs = fill(store)

    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("ValueError")
            await watcher.press("tab", "tab", "down", "enter")
            text = await watcher.sees("failed for good", "a traceback", "ada@example.org", "Attempt 1 failed", "Pushed")
            assert "hunter2" not in text and "password" in text
            assert f"job {jobs['failed']} 'send' of queue 'mail'" in text and "It stays until somebody" in text
            assert isinstance(watcher.app.screen, StoryView)
            store.restore("mail", [jobs["failed"]])
            await watcher.look()
            await watcher.sees("the next in line", "Next try as soon as its turn comes")
            store.cancel(jobs["failed"])
            store.clean("mail", JobStatus.CANCELLED)
            await watcher.look()
            await watcher.sees("has left: it completed, or was deleted")
            await watcher.press("escape")
            await watcher.sees("QUEUES AND TASKS")

    run(test())


def test_the_jobs_of_a_task_are_listed_a_page_at_a_time(store, path):
    fill(store)
    ids = [push(store, queue="many", name="n", data=f'"number {number}"'.encode()) for number in range(150)]

    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("many")
            await watcher.press("end", "enter")
            await watcher.sees("jobs of task 'n' of queue 'many'", str(ids[-1]))
            assert isinstance(watcher.app.screen, Jobs)
            await watcher.press("n")
            await watcher.sees(f"below {ids[50]}", f" {ids[49]} ")
            await watcher.press("n")
            await watcher.sees("there are no more")
            await watcher.press("b")
            await watcher.sees(f" {ids[-1]} ")
            await watcher.press("slash", *"number 77", "enter")
            await watcher.until(lambda: watcher.app.screen.query_one(Table).row_count == 1)
            await watcher.sees(f" {ids[77]} ")
            await watcher.press("escape")
            await watcher.press(*"ssss")
            await watcher.sees("no such jobs", "failed  newest first")
            await watcher.press("escape")
            await watcher.sees("FAILURES")

    run(test())


# act


async def answer(watcher: Watcher, *keys: str, asked: str, said: str) -> None:
    """Press a key, read what is asked, say yes, and read what came of it."""
    await watcher.press(*keys)
    await watcher.sees(asked)
    await watcher.press("y")
    await watcher.sees(said)


def test_a_failed_job_is_retried_when_that_was_meant(store, path):
    job = fill(store)["failed"]

    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("ValueError")
            await watcher.press("tab", "tab", "down", "r")
            await watcher.sees(f"Retry job {job} 'send' of queue 'mail'?")
            await watcher.press("n")
            await watcher.sees("nothing was changed")
            assert status(store, job) is JobStatus.FAILED
            await answer(watcher, "r", asked="Retry job", said=f"job {job} 'send' of queue 'mail' is due now")
            assert status(store, job) is JobStatus.PENDING
            await watcher.until(lambda: "ValueError" not in watcher.text)

    run(test())


def test_no_is_no(store, path):
    jobs = fill(store)
    before = everything(store)

    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("half of it")
            await watcher.press("tab")
            for no in ("n", "escape", "q"):
                await watcher.press("c")
                await watcher.sees(f"Cancel job {jobs['running']}")
                await watcher.press("r", "c", "enter")  # none of these is an answer
                await watcher.press(no)
                await watcher.sees("nothing was changed", "FAILURES")

    run(test())
    assert everything(store) == before


def test_a_running_job_is_asked_to_stop(store, path):
    job = fill(store)["running"]

    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("half of it")
            await watcher.press("tab")
            await answer(watcher, "c", asked=f"Cancel job {job}", said="runs; its handler is told")
            await watcher.sees("asked to stop")

    run(test())
    assert store.get(job).cancel_requested


def test_acts_on_all_of_a_task_or_a_queue(store, path):
    jobs = fill(store)

    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("digest")
            await watcher.press("down", "down")
            await answer(watcher, "u", asked="Restore all that failed of queue 'mail'?", said="restored 1 job of")
            assert status(store, jobs["failed"]) is JobStatus.PENDING
            other = a_failed_job(store, queue="mail", name="zeta")
            await watcher.press("down")
            await answer(watcher, "r", asked="or is retrying of task 'digest'", said="1 job of task 'digest'")
            assert store.get(jobs["retrying"]).run_at <= store.now() and status(store, other) is JobStatus.FAILED
            await watcher.press("down")
            await answer(watcher, "c", asked="Cancel ALL that waits or runs of task 'send'", said="cancelled 3 jobs of")
            await answer(watcher, "c", asked="Cancel ALL", said="cancelled")
            await answer(watcher, "u", asked="Restore all", said="nothing of task 'send' of queue 'mail' has failed")

    run(test())
    assert status(store, jobs["waiting"]) is JobStatus.CANCELLED
    assert status(store, jobs["other"]) is JobStatus.PENDING


def test_a_queue_and_a_task_are_paused_and_resumed(store, path):
    fill(store)

    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("fetch")
            await answer(watcher, "p", asked="Pause queue 'crawl'?", said="paused queue 'crawl'")
            assert store.paused("crawl") == [None]
            await watcher.sees("crawl  paused")
            await answer(watcher, "p", asked="Resume queue 'crawl'?", said="resumed queue 'crawl'")
            assert store.paused("crawl") == []
            await watcher.press("tab", "tab", "down")
            await answer(watcher, "p", asked="Pause task 'send' of queue 'mail'?", said="paused task 'send'")
            assert store.paused("mail") == ["send"]

    run(test())


def test_a_pause_is_undone_where_it_was_made_and_whoever_made_it(store, path):
    fill(store)

    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("fetch")
            await watcher.press("enter")
            await watcher.until(lambda: isinstance(watcher.app.screen, Jobs))
            await watcher.sees("jobs of queue 'crawl'", "fetch")
            await answer(watcher, "p", asked="Pause task 'fetch'", said="paused task 'fetch' of queue 'crawl'; p")
            await answer(watcher, "p", asked="Resume task 'fetch'", said="resumed task 'fetch'")
            await watcher.press("enter")
            await watcher.until(lambda: isinstance(watcher.app.screen, StoryView))
            await answer(watcher, "p", asked="Pause task 'fetch'", said="paused task 'fetch'")
            store.resume("crawl", "fetch")
            await answer(watcher, "p", asked="Pause task 'fetch'", said="paused task 'fetch'")
            await answer(watcher, "p", asked="Resume task 'fetch'", said="resumed task 'fetch'")

    run(test())


def test_what_cannot_be_done_is_told(store, path):
    jobs = fill(store)

    async def test() -> None:
        async with watched(path) as watcher:
            await watcher.sees("half of it")
            await watcher.press("tab")
            await answer(watcher, "r", asked="Retry", said=f"job {jobs['running']} is left as it is: it runs")
            await watcher.press("tab", "down")
            await answer(watcher, "c", asked="Cancel", said=f"job {jobs['failed']} is left as it is: it is failed")
            await watcher.press("c")
            store.clean("mail", JobStatus.FAILED)
            await watcher.press("y")
            await watcher.sees(f"job {jobs['failed']} has left meanwhile")

    run(test())


# what jobs bring along


def test_what_jobs_bring_along_is_text(store, path):
    for nasty in HOSTILE:
        runner = store.enlist(nasty[:100], nasty[:60])
        names = {"queue": nasty[:100], "name": nasty[:100], "data": b'"\x1b[31m [red]x[/red] \\u202e"'}
        settled_at_once(store, lambda claim, nasty=nasty: raised(claim, f"Bad: {nasty}"), **names)
        job = push(store, queue=nasty[:100], name=nasty[:100])
        claim_one(store, runner, queue=nasty[:100])
        store.note_progress(runner, {job: payload.encode({"said": nasty})})

    async def test() -> None:
        async with watched(path, size=(200, 80)) as watcher:
            text = await watcher.sees("Bad: ", *(printable(nasty)[:18] for nasty in HOSTILE))
            await watcher.until(lambda: "counting" not in watcher.text)
            await watcher.press("p")
            await watcher.sees("Pause queue")
            await watcher.press("y")
            text += await watcher.sees("paused queue")
            await watcher.press("tab", "tab", "enter")
            text += await watcher.sees("failed for good")
            await watcher.press("escape", "l")
            text += await watcher.sees("jobs of task", "running")
            await watcher.press("escape", "slash")
            watcher.app.screen.query_one(Input).value = "".join(HOSTILE)[:150]
            text += await watcher.sees("nothing has")
            assert {letter for letter in text if not letter.isprintable()} == {"\n"}
            styles = {str(segment.style) for segments in segments_of(watcher.app) for segment in segments}
            assert not any("link" in style or "@" in style or "on white" in style for style in styles)

    run(test())

"""What the pages show, and that they are quick and short however much there is."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from dashboard_support import Visitor, text_of
from sightseeing import PAGES, furnished
from workqueue import Queue
from workqueue.dashboard import app
from workqueue.dashboard.pages import LARGEST_EDIT
from workqueue.errors import StoreUnavailable
from workqueue.job import Lane, NewJob, Terms
from workqueue.store.contract import Want


@pytest.fixture
def lived_in(visitor: Visitor, queue: Queue) -> Visitor:
    furnished(queue)
    return visitor


def test_no_secret_is_on_any_page(lived_in):
    for path in PAGES:
        assert "hunter2-marker" not in lived_in.get(path).text, path
    assert "••••••" in lived_in.get("/jobs/1").text


def test_the_overview_of_nothing_says_so(visitor):
    said = text_of(visitor.get("/").text)
    assert "No queue has jobs or runners yet." in said
    assert "No job has failed for good." in said
    assert "Waiting 0 Running 0" in said


def test_the_overview_counts(lived_in):
    said = text_of(lived_in.get("/").text)
    assert "Waiting 3 Running 0 Later 2 Retrying 1 Failed 2" in said
    assert "no such user ada" in said
    assert re.search(r"default paused 3 0 1 2 2 ", said)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", [9, 8, 7, 6, 5, 4, 2, 1]),
        ("status=failed", [2, 1]),
        ("name=part", [6, 5, 4]),
        ("name=part&before=6", [5, 4]),
        ("text=grace", [2]),
        ("text=no+such+user", [2, 1]),
        ("queue=other", []),
        ("status=cancelled&queue=default", [8]),
    ],
)
def test_jobs_are_found(lived_in, query, ids):
    page = lived_in.get(f"/jobs?{query}").text
    assert [int(found) for found in re.findall(r'<th scope="row"><a href="/jobs/(\d+)"', page)] == ids


def test_jobs_come_a_page_at_a_time(visitor, queue):
    queue.push_many("task", range(120))
    seen, path = [], "/jobs?queue=default"
    while path:
        page = visitor.get(path).text
        seen.append([int(found) for found in re.findall(r'<th scope="row"><a href="/jobs/(\d+)"', page)])
        path = next(iter(re.findall(r'rel="next" href="([^"]*)"', page)), "").replace("&amp;", "&")
    assert [len(ids) for ids in seen] == [50, 50, 20]
    assert sum(seen, []) == list(range(120, 0, -1))


def test_a_page_that_found_nothing_yet_says_how_far_it_looked(visitor, queue, monkeypatch):
    from workqueue.store.paging import Page

    monkeypatch.setattr(queue._store, "find", lambda which: Page([], 4711))
    said = text_of(visitor.get("/jobs?text=needle").text)
    assert "None so far, looking from the newest down to job 4711." in said
    assert "before=4711" in visitor.get("/jobs?text=needle").text


def test_the_story_of_a_job_is_told_in_order(lived_in):
    page = lived_in.get("/jobs/1").text
    titles = [text_of(found) for found in re.findall(r"<h3>(.*?)</h3>", page)]
    assert titles == ["Pushed", "Attempt 1 failed", "Attempt 2 failed", "Failed for good"]
    assert page.count('<details id="traceback-') == 2
    assert page.count(" open>") == 1
    assert "ConnectionError: no such user ada" in text_of(page)
    assert "Job 1 &#39;mail&#39;" in page


def test_what_a_job_asks_for_is_shown(visitor, queue):
    lane, rate = Lane("per customer", most=3), Lane("mails", starts=5, per=timedelta(minutes=1))
    batch = queue._store.batches.open("default")
    terms = Terms(key="k-1", limit=lane, rate=rate, order="o-1", batch=batch)
    job = NewJob(queue="default", name="task", data=b"{}", terms=terms, priority=7)
    then = NewJob(queue="default", name="then", data=b"{}", terms=Terms(follows=-1, into="x"))
    first, _ = queue._store.push([job, then])
    said = text_of(visitor.get(f"/jobs/{first}").text)
    for wanted in (
        "Key k-1",
        "3 at once of per customer",
        "5 in 1m of mails",
        "Order o-1",
        f"Batch {batch}",
        "Priority 7",
    ):
        assert wanted in said
    assert f"Waits for job {first}" in text_of(visitor.get(f"/jobs/{first + 1}").text)


def test_a_job_that_has_left_says_what_is_known(lived_in):
    answer = lived_in.get("/jobs/3")
    assert answer.status_code == 404
    assert "it completed" in text_of(answer.text)


def test_the_result_of_a_job_that_has_left_is_shown_as_long_as_it_is_kept(visitor, queue):
    @queue.task(name="add", keep_results=timedelta(hours=1))
    def add(a: int, b: int) -> dict[str, int]:
        return {"sum": a + b, "token": 5}

    add.push(1, 2)
    queue.start()
    assert queue.wait_idle(10)
    page = visitor.get("/jobs/1").text
    assert "&#34;sum&#34;: 3" in page
    assert "••••••" in page


def test_progress_is_shown(visitor, queue):
    import threading

    from workqueue import Context, injected

    told, go_on = threading.Event(), threading.Event()

    @queue.task(name="long")
    def long(*, ctx: Context = injected) -> None:
        ctx.progress({"done": 42})
        told.set()
        go_on.wait(10)

    long.push()
    queue.start()
    assert told.wait(10)
    for _ in range(200):
        page = visitor.get("/jobs/1").text
        if "&#34;done&#34;: 42" in page:
            break
    go_on.set()
    assert "&#34;done&#34;: 42" in page
    assert "Attempt 1 runs" in page


def test_large_data_are_cut_and_not_edited(visitor, queue):
    queue.push("long", list(range(40_000)))
    queue.push("wide", "x" * 300_000)
    for job_id in (1, 2):
        page = visitor.get(f"/jobs/{job_id}")
        assert len(page.content) < LARGEST_EDIT
        assert "<textarea" not in page.text
    assert "lines more" in visitor.get("/jobs/1").text
    assert "300,002 characters" in visitor.get("/jobs/2").text


def test_data_that_are_no_json_are_shown_and_not_edited(visitor, queue):
    queue.push_bytes("raw", b"\xff\x00<script>")
    page = visitor.get("/jobs/1").text
    assert "b&#39;\\xff\\x00&lt;script&gt;&#39;" in page
    assert "<textarea" not in page


def test_the_bytes_of_data_survive_an_edit_that_changes_nothing(visitor, queue):
    from html import unescape

    queue.push("task", {"text": "\n</textarea>&amp;\u2028\u202e", "price": 1.5})
    page = visitor.get("/jobs/1").text
    typed = unescape(page[page.index("<textarea") :].partition(">")[2].partition("</textarea>")[0])
    assert json.loads(typed) == {"text": "\n</textarea>&amp;\u2028\u202e", "price": 1.5}


def test_batches_and_schedules_and_runners_are_listed(lived_in, queue):
    assert "1 default 0% 0 0 0 3 Cancel … batch 1" in text_of(lived_in.get("/batches").text)
    said = text_of(batch := lived_in.get("/batches/1").text)
    assert "Of queue default . No more jobs come" in said
    assert "Jobs Filter and act on them" in said
    assert [number for number in range(1, 10) if f'href="/jobs/{number}"' in batch] == [4, 5, 6]
    assert [number for number in range(1, 10) if f'href="/jobs/{number}"' in lived_in.get("/jobs?batch=1").text] == [
        4,
        5,
        6,
    ]
    assert "None of its jobs is here" not in said
    assert "nightly default 0 4 * * * Europe/Berlin" in text_of(lived_in.get("/schedules").text)
    assert "alive 0" in text_of(lived_in.get("/runners").text)


def test_what_runs_is_shown_with_who_runs_it_and_since_when(queue, visitor):
    store = queue._store
    queue.push("task", None, run_at=store.now() - timedelta(hours=2))
    runner = store.enlist("default", "host:77")
    store.introduce(runner, timedelta(minutes=1), None)
    store.turn([], Want("default", runner, timedelta(minutes=1), 1))
    assert "running default 1 just now on host:77" in text_of(visitor.get("/jobs").text)
    assert "running default 1 just now host:77" in text_of(visitor.get("/runners").text)
    assert re.search(r"Attempt 1 runs \S+ \S+ · just now on host:77", text_of(visitor.get("/jobs/1").text))
    store.retire(runner)


def test_a_queue_has_a_page_of_its_own(lived_in):
    said = text_of(lived_in.get("/queue?id=default").text)
    assert "default paused Resume" in said
    assert "nightly" in said
    assert text_of(lived_in.get("/queue?id=nothing%20here").text).count("nothing here") >= 2


def test_a_store_that_cannot_be_asked_is_told_of(visitor, queue, monkeypatch):
    def away(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("the server at db:5432 is away, token=hunter2-marker", path="db")

    for verb in ("find", "get", "overview"):
        monkeypatch.setattr(queue._store, verb, away)
    for path in ("/", "/jobs", "/jobs/1"):
        answer = visitor.get(path)
        assert answer.status_code == 503
        assert "The store does not answer" in answer.text
        assert "hunter2" not in answer.text


def test_a_mistake_of_ours_is_told_of_without_its_details(visitor, queue, monkeypatch):
    monkeypatch.setattr(queue._store, "find", lambda which: 1 / 0)
    answer = visitor.get("/jobs")
    assert answer.status_code == 500
    assert "ZeroDivisionError" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


def test_when_counting_takes_long_a_page_comes_without_the_count(queue, monkeypatch):
    import threading

    go_on = threading.Event()
    counting = queue._store.overview

    def slowly():
        go_on.wait(20)
        return counting()

    monkeypatch.setattr(queue._store, "overview", slowly)
    queue.push("task")
    dashboard = app(queue)
    visitor = Visitor(dashboard)
    for path in ("/", "/queue?id=default", "/runners"):
        assert "The jobs are being counted." in text_of(visitor.get(path).text)
    assert "task" in text_of(visitor.get("/jobs").text)
    go_on.set()
    dashboard.close()


def test_where_few_match_one_page_is_looked_for_on_and_on(visitor, queue, monkeypatch):
    from workqueue.store.paging import Page

    queue.push("needle")
    [needle] = queue.jobs()
    asked = []

    def find(which):
        asked.append(which.before)
        at = 1000 if which.before is None else which.before
        return Page([needle], None) if at <= 10 else Page([], at - 100)

    monkeypatch.setattr(queue._store, "find", find)
    assert "needle" in text_of(visitor.get("/jobs?text=x").text)
    assert asked == [None, *range(900, -100, -100)]


def test_what_would_hide_or_mislead_is_made_visible(visitor, queue):
    name = "inv\u202egpj.exe\u200b\x1b[31m"
    queue.push(name, {"key\u202e": "\u2066value"})
    for path in ("/jobs", "/jobs/1", "/queue?id=default"):
        page = visitor.get(path).text
        assert not {"\u202e", "\u200b", "\x1b", "\u2066"} & set(page), path
    assert "inv\\u202egpj.exe\\u200b\\x1b[31m" in visitor.get("/jobs").text
    assert "key\\u202e" in visitor.get("/jobs/1").text

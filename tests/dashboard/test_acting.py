"""What one can do from the dashboard, with forms alone: each ends at a page that says what was done."""

from __future__ import annotations

import re
import sys
from datetime import timedelta

import pytest
from dashboard_support import HERE, text_of, value_of
from workqueue import Backoff, Cancel, Queue
from workqueue.dashboard import acting, app
from workqueue.job import JobStatus
from workqueue.redaction import Redaction

# Read as JSON, and too deep for what looks into it: a list comprehension has a frame of its own before Python 3.12.
DEEP = 800 if sys.version_info < (3, 12) else 1200


@pytest.fixture
def failing(queue: Queue) -> Queue:
    """A queue with failed jobs (1 to 5), one that completed (6), one cancelled (7), and some that wait (8 to 10)."""

    @queue.task(name="mail", retry=Backoff(limit=1))
    def mail(to: str, password: str = "hunter2-marker") -> None:
        if to == "give up":
            raise Cancel("no use")
        if to != "fine":
            raise ConnectionError(f"no such user {to}")

    for number in range(5):
        mail.push(f"user {number}")
    mail.push("fine")
    mail.push("give up")
    queue.start()
    assert queue.wait_idle(10)
    queue.stop()
    for number in range(3):
        queue.push_after("later", {"n": number}, timedelta(hours=1))
    return queue


def statuses(queue: Queue) -> dict[int, str]:
    return {job.id: str(job.status) for job in queue.jobs()}


def test_chosen_jobs_are_tried_again(visitor, failing):
    answer = visitor.fill("/act/jobs", deed="retry", id=["1", "3", "7", "8", "11"], back="/jobs?status=failed")
    assert str(answer.url) == f"{HERE}/jobs?status=failed&said=retried&n=4"
    assert "4 jobs are tried again: they are due now." in text_of(answer.text)
    assert failing.get(8).run_at < failing.get(9).run_at
    assert {job for job, status in statuses(failing).items() if status == "pending"} == {1, 3, 7, 8, 9, 10}


def test_chosen_jobs_are_cancelled(visitor, failing):
    answer = visitor.fill("/act/jobs", deed="cancel", id=["8", "8", "9", "1"])
    assert "Cancelled 2 jobs" in text_of(answer.text)
    assert {job for job, status in statuses(failing).items() if status == "cancelled"} == {7, 8, 9}


def test_a_name_with_a_newline_is_meant_as_it_is_though_browsers_send_another(visitor, queue):
    with Queue(queue.path, id="two\nlines", auto_start=False) as odd:
        odd.push("a\ntask")
        for fields in ({}, {"name": "a\r\ntask"}):
            visitor.fill("/act/pause", deed="pause", queue="two\r\nlines", **fields)
        assert odd.paused() == [None, "a\ntask"]
        visitor.fill("/act/all", deed="cancel", done="0", before="2", queue="two\r\nlines", name="a\r\ntask")
        assert statuses(odd) == {1: "cancelled"}


def test_deleting_is_asked_about_first(visitor, failing):
    asked = visitor.fill("/act/jobs", deed="delete", id=["1", "2", "8"], back="/jobs?status=failed")
    assert "Delete 3 jobs?" in text_of(asked.text)
    assert "cannot be undone" in text_of(asked.text)
    assert 1 in statuses(failing)
    fields = re.findall(r'name="(\w+)" value="([^"]*)"', asked.text)
    told: dict[str, list[str]] = {}
    for name, value in fields:
        if name not in ("theme",):
            told.setdefault(name, []).append(value)
    told = {**told, "csrf": told["csrf"][:1], "back": ["/jobs?status=failed"]}
    answer = visitor.post("/act/jobs", data=told)
    assert "Deleted 2 jobs for good." in text_of(answer.text)
    assert sorted(statuses(failing)) == [3, 4, 5, 7, 8, 9, 10]


def test_a_job_that_was_deleted_leads_to_the_others(visitor, failing):
    answer = visitor.fill("/act/jobs", deed="delete", sure="yes", id="1", back="/jobs/1")
    assert answer.url.path == "/jobs"
    assert answer.status_code == 200


def test_choosing_nothing_changes_nothing(visitor, failing):
    before = statuses(failing)
    for deed in ("retry", "restore", "cancel", "delete"):
        assert "Nothing was changed" in text_of(visitor.fill("/act/jobs", deed=deed).text)
    assert statuses(failing) == before


@pytest.mark.parametrize(
    "fields", [{"deed": "explode", "id": "1"}, {"deed": "cancel", "id": "x"}, {"deed": "cancel", "id": "0"}, {}]
)
def test_a_form_that_says_something_else_is_refused(visitor, failing, fields):
    before = statuses(failing)
    assert visitor.fill("/act/jobs", **fields).status_code == 400
    assert statuses(failing) == before


def test_all_that_match_are_restored_after_a_look_at_them(visitor, failing):
    asked = visitor.get("/confirm?deed=retry&status=failed&text=user%204")
    said = text_of(asked.text)
    assert "Retry all jobs that match?" in said
    assert "How many 1 " in said
    assert "Contains user 4" in said
    fields = {
        name: value_of(name, asked.text[asked.text.index('action="/act/all"') :])
        for name in ("deed", "done", "before", "status", "text")
    }
    assert fields["before"] == "6"
    answer = visitor.fill("/act/all", **fields)
    assert "1 job is tried again" in text_of(answer.text)
    assert statuses(failing)[5] == "pending"
    assert statuses(failing)[4] == "failed"


def test_what_is_pushed_after_the_question_is_not_meant(visitor, queue):
    first = queue.push("task")
    before = value_of("before", visitor.get("/confirm?deed=cancel").text)
    second = queue.push("task")
    visitor.fill("/act/all", deed="cancel", done="0", before=before)
    assert statuses(queue) == {first: "cancelled", second: "pending"}


def test_many_jobs_are_changed_in_steps_that_go_on(visitor, queue, monkeypatch):
    monkeypatch.setattr(acting, "_STEP", 0.0)
    monkeypatch.setattr(acting, "_AT_ONCE", 40)
    queue.push_many("task", range(100))
    page = visitor.fill("/act/all", deed="cancel", done="0", before="101", queue="default")
    assert "40 jobs so far" in text_of(page.text)
    assert sum(status == "cancelled" for status in statuses(queue).values()) == 40
    seen = []
    while "Go on" in page.text:
        form = page.text[page.text.index('action="/act/all"') :]
        fields = {name: value_of(name, form) for name in ("csrf", "deed", "done", "before", "queue")}
        seen.append(fields["done"])
        page = visitor.post("/act/all", data=fields)
    assert seen == ["40", "80"]
    assert "Cancelled 100 jobs" in text_of(page.text)


def test_nothing_that_matches_is_nothing_to_ask_about(visitor, failing):
    assert "Nothing was changed" in text_of(visitor.get("/confirm?deed=delete&name=unknown").text)


def test_the_count_is_told_where_it_is_known(visitor, queue):
    queue.push_many("task", range(80))
    assert "How many 80 a moment ago" in text_of(visitor.get("/confirm?deed=cancel&status=pending").text)
    assert "How many more than 50" in text_of(visitor.get("/confirm?deed=cancel&name=task").text)


def edit(visitor, job_id, change, then=""):
    page = visitor.get(f"/jobs/{job_id}").text
    typed = page[page.index("<textarea") :].partition(">")[2].partition("</textarea>")[0]
    from html import unescape

    return visitor.fill(
        "/act/edit", id=str(job_id), mark=value_of("mark", page), data=change(unescape(typed)), then=then
    )


def test_a_failed_job_is_edited_and_restored(visitor, failing):
    answer = edit(visitor, 2, lambda text: text.replace("user 1", "fine"), then="retry")
    assert "Saved the new data. The job is tried again" in text_of(answer.text)
    job = failing.get(2)
    assert job.status is JobStatus.PENDING
    assert job.decode() == {"to": "fine", "password": "hunter2-marker"}
    assert "hunter2" not in answer.text
    failing.start()
    assert failing.wait_idle(10)


def test_an_edit_may_only_be_saved(visitor, failing):
    answer = edit(visitor, 2, lambda text: '{"to": "fine"}')
    assert "Saved the new data." in text_of(answer.text)
    assert failing.get(2).status is JobStatus.FAILED
    assert failing.get(2).data == b'{"to":"fine"}'


def test_a_waiting_job_can_be_edited_too(visitor, queue):
    job_id = queue.push("task", {"a": 1})
    edit(visitor, job_id, lambda text: text.replace("1", "1.10"))
    assert queue.get(job_id).data == b'{\n  "a": 1.10\n}'


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("{", "expected data that is JSON"),
        ('{"to": "•••••• hidden 1"}', "mask"),
        ("", "JSON"),
        ('"' + "x" * 140_000 + '"', "at most"),
        ('{"to": ' + "[" * DEEP + "]" * DEEP + "}", "nested less deep"),
    ],
)
def test_an_edit_that_cannot_be_says_so_and_keeps_what_was_typed(visitor, failing, typed, said):
    answer = edit(visitor, 2, lambda text: typed, then="retry")
    assert answer.status_code == 400
    assert said in text_of(answer.text)
    assert f"{typed[:50]}".replace('"', "&#34;") in answer.text
    assert failing.get(2).decode() == {"to": "user 1", "password": "hunter2-marker"}
    assert failing.get(2).status is JobStatus.FAILED


def test_of_two_who_edit_the_second_is_told(visitor, failing):
    page = visitor.get("/jobs/2").text
    edit(visitor, 2, lambda text: '{"to": "first"}')
    answer = visitor.fill("/act/edit", id="2", mark=value_of("mark", page), data='{"to": "second"}')
    assert "Somebody else changed the data" in text_of(answer.text)
    assert failing.get(2).decode() == {"to": "first"}


def test_an_edit_that_comes_between_is_not_lost(visitor, failing, monkeypatch):
    page = visitor.get("/jobs/2").text
    edited = Redaction.edited

    def too_late(redaction: Redaction, text: str, before: bytes) -> bytes:
        failing.edit(2, {"to": "first"})
        return edited(redaction, text, before)

    monkeypatch.setattr(Redaction, "edited", too_late)
    answer = visitor.fill("/act/edit", id="2", mark=value_of("mark", page), data='{"to": "second"}')
    assert "somebody else changed its data just now" in text_of(answer.text)
    assert failing.get(2).decode() == {"to": "first"}


def test_a_job_that_runs_is_not_edited(visitor, queue):
    import threading

    started, go_on = threading.Event(), threading.Event()

    @queue.task(name="slow")
    def slow(n: int) -> None:
        started.set()
        go_on.wait(10)

    job_id = slow.push(1).id
    page = visitor.get(f"/jobs/{job_id}").text
    queue.start()
    assert started.wait(10)
    answer = visitor.fill("/act/edit", id=str(job_id), mark=value_of("mark", page), data='{"n": 2}')
    go_on.set()
    assert "runs or has ended" in text_of(answer.text)


def test_a_queue_and_a_task_of_it_are_paused_and_resumed(visitor, queue):
    queue.push("task")
    answer = visitor.fill("/act/pause", queue="default", deed="pause", back="/queue?id=default")
    assert "Paused: nothing more is started." in text_of(answer.text)
    visitor.fill("/act/pause", queue="default", name="task", deed="pause")
    assert queue.paused() == [None, "task"]
    visitor.fill("/act/pause", queue="default", deed="resume")
    visitor.fill("/act/pause", queue="default", name="task", deed="resume")
    assert queue.paused() == []
    assert visitor.fill("/act/pause", queue="default", deed="explode").status_code == 400
    assert visitor.fill("/act/pause", deed="pause").status_code == 400


def test_a_schedule_is_paused_resumed_and_run_at_once(visitor, queue):
    @queue.task(name="nightly", every="0 4 * * *")
    def nightly() -> None: ...

    queue.start()
    queue.stop()
    page = visitor.get("/schedules")
    assert "0 4 * * *" in page.text
    assert "Run now" in page.text
    visitor.fill("/act/schedule", queue="default", name="nightly", deed="pause")
    assert queue.schedules()[0].paused
    visitor.fill("/act/schedule", queue="default", name="nightly", deed="resume")
    assert not queue.schedules()[0].paused
    answer = visitor.fill("/act/schedule", queue="default", name="nightly", deed="trigger")
    assert "Pushed one job of the schedule" in text_of(answer.text)
    assert [job.name for job in queue.jobs()] == ["nightly"]
    assert visitor.fill("/act/schedule", queue="default", name="unknown", deed="pause").status_code == 404


def test_where_the_tasks_are_not_known_their_schedules_are_not_run_from(visitor, queue, tmp_path):
    from dashboard_support import Visitor

    @queue.task(name="nightly", every="0 4 * * *")
    def nightly() -> None: ...

    queue.start()
    queue.stop()
    elsewhere = app(tmp_path / "jobs.db", read_only=False)
    guest = Visitor(elsewhere)
    page = guest.get("/schedules").text
    assert "Run now" not in page
    assert "workqueue schedules trigger NAME --app module:queue" in page
    assert "schedules trigger NAME" not in visitor.get("/schedules").text
    refused = guest.fill("/act/schedule", queue="default", name="nightly", deed="trigger")
    assert refused.status_code == 400
    assert "`workqueue schedules trigger nightly --app module:queue`" in text_of(refused.text)
    assert visitor.fill("/act/schedule", queue="default", name="unknown", deed="trigger").status_code == 404
    elsewhere.close()


def test_a_batch_is_cancelled_after_a_question(visitor, queue):
    @queue.task(name="part")
    def part(n: int) -> None: ...

    with queue.batch() as batch:
        for number in range(3):
            batch.add(part.s(number))
    assert "Cancel batch 1?" in text_of(visitor.get("/confirm/batch?id=1").text)
    assert "Left 3 of 3 jobs" in text_of(visitor.get("/confirm/batch?id=1").text)
    assert "Cancelled 3 jobs of the batch." in text_of(visitor.fill("/act/batch", id="1").text)
    assert set(statuses(queue).values()) == {"cancelled"}
    assert visitor.fill("/act/batch", id="7").status_code == 404


def test_all_jobs_of_a_batch_that_match_are_acted_on(visitor, queue):
    @queue.task(name="part")
    def part(n: int) -> None: ...

    part.push(0)
    with queue.batch() as batch:
        for number in range(3):
            batch.add(part.s(number))
    asked = visitor.get(f"/confirm?deed=cancel&batch={batch.id}").text
    assert f"Batch {batch.id} How many 3" in text_of(asked)
    fields = {name: value_of(name, asked) for name in ("deed", "before", "batch")}
    assert "Cancelled 3 jobs" in text_of(visitor.fill("/act/all", **fields).text)
    assert statuses(queue) == {1: "pending", **dict.fromkeys((2, 3, 4), "cancelled")}


def test_the_theme_is_kept(visitor):
    assert 'data-theme="auto"' in visitor.get("/").text
    assert str(visitor.fill("/theme", theme="dark", back="/jobs?status=failed").url) == f"{HERE}/jobs?status=failed"
    assert 'data-theme="dark"' in visitor.get("/").text
    visitor.fill("/theme", theme="<script>")
    assert 'data-theme="auto"' in visitor.get("/").text


def test_an_address_cannot_make_a_page_say_what_it_likes(visitor):
    for query in ("said=hello", "said=restored", "said=restored&n=<b>", "said=restored&n=" + "9" * 99, "said="):
        assert 'id="note"' not in visitor.get(f"/jobs?{query}").text
    assert "Restored 1,234 jobs" in visitor.get("/jobs?said=restored&n=1234").text


def test_what_takes_less_than_a_second_takes_one_request(visitor, queue, monkeypatch):
    monkeypatch.setattr(acting, "_STEP", 60.0)
    monkeypatch.setattr(acting, "_AT_ONCE", 40)
    queue.push_many("task", range(100))
    assert "Cancelled 100 jobs" in text_of(visitor.fill("/act/all", deed="cancel", done="0", before="101").text)

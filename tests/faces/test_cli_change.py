"""What people change from the command line: jobs that they name or that match, pauses, schedules; and what is asked."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from workqueue import JobStatus, Queue
from workqueue.cli import change, group
from workqueue.job import NewJob
from workqueue.schedule import Schedule
from workqueue.store.paging import Changed, Deed, Find
from workqueue.store.sqlite.engine import SqliteStore

HOUR = 3600


def run(*arguments: object) -> Result:
    return CliRunner().invoke(group, [str(a) for a in arguments], prog_name="workqueue")


def listed(path: Path, *options: object) -> list[int]:
    return [job["id"] for job in json.loads(run("jobs", path, "--json", *options).stdout)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Jobs 1 to 4: two mails and a visit of queue `a`, one mail of queue `b`; the second mail is for later."""
    path = tmp_path / "jobs.db"
    with Queue(path, id="a") as queue:
        queue.push("mail", {"to": "ada"})
        queue.push_after("mail", {"to": "bob"}, HOUR)
        queue.push("visit", {"to": "ada"})
    with Queue(path, id="b") as queue:
        queue.push("mail", {"to": "ada"})
    return path


def statuses(path: Path) -> list[str]:
    with Queue(path) as queue:
        return [str(queue.get(job).status) for job in range(1, 5)]


# those that match


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (["--name", "mail"], [1, 2, 4]),
        (["--text", "ada"], [1, 3, 4]),
        (["--queue", "a", "--text", "ada"], [1, 3]),
        (["--status", "pending", "--name", "visit"], [3]),
        (["--text", "nobody"], []),
    ],
)
def test_the_filters_mean_the_same_for_looking_and_for_changing(path, filters, ids):
    assert listed(path, *filters) == ids
    result = run("cancel", path, *filters, "--yes")
    assert (result.exit_code, result.stdout) == (0 if ids else 1, f"cancelled {len(ids)}\n")
    assert listed(path, "--status", "cancelled") == ids
    filters = ["cancelled" if word == "pending" else word for word in filters]
    result = run("clean", path, *filters, *(["--status", "cancelled"]), "--yes")
    assert (result.exit_code, result.stdout) == (0, f"deleted {len(ids)}\n"), "none are left, which is what was wanted"


def test_the_newest_first_and_those_before_an_id(path):
    assert listed(path, "--newest") == [4, 3, 2, 1]
    assert listed(path, "--newest", "--before", 4, "--limit", 2) == [3, 2]
    assert "the next page is --before 2" in run("jobs", path, "--newest", "--limit", "3").stderr
    assert listed(path, "--after", 1, "--before", 4) == [2, 3]


@pytest.mark.parametrize("command", ["cancel", "retry"])
def test_all_there_are_is_never_meant_by_saying_nothing(path, command):
    result = run(command, path)
    assert result.exit_code == 2 and "got none" in result.stderr
    assert set(statuses(path)) == {"pending"}


@pytest.mark.parametrize("option", ["--text", "--name", "--queue", "--batch", "--status"])
@pytest.mark.parametrize("command", ["cancel", "retry", "restore", "clean", "jobs"])
def test_a_filter_of_nothing_does_not_mean_all(path, command, option):
    run("cancel", path, 4)
    result = run(command, path, option, "", *(["--yes"] if command in ("cancel", "clean") else []))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{option}, got: ''; else leave it out" in result.stderr or f"Invalid value for '{option}'" in result.stderr
    assert statuses(path) == ["pending"] * 3 + ["cancelled"]


@pytest.mark.parametrize("command", ["cancel", "retry", "restore", "clean"])
def test_ids_and_filters_together_are_refused(path, command):
    result = run(command, path, 1, "--name", "mail")
    assert result.exit_code == 2 and "got both" in result.stderr


def test_a_text_that_cannot_be_looked_for(path):
    result = run("jobs", path, "--text", "x" * 1001)
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("command", "question"),
    [
        (["cancel", "--name", "mail"], "Cancel 3 jobs of PATH (pending or retrying or running, name 'mail')?"),
        (["cancel", "--queue", "a"], "Cancel 3 jobs of PATH (pending or retrying or running, queue 'a')?"),
        (["clean", "--status", "cancelled"], "Delete 1 job of PATH (cancelled) for good?"),
        (["clean", "4"], "Delete jobs 4 of PATH for good?"),
    ],
)
def test_what_destroys_asks_first(path, command, question):
    run("cancel", path, 4)
    run("push", path, "mail", "1", "--queue", "b")
    result = run(command[0], path, *command[1:])
    asked = question.replace("PATH", str(path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"workqueue: expected --yes, because there is no terminal to ask on. {asked}\n"
    assert statuses(path) == ["pending"] * 3 + ["cancelled"]


def test_many_are_not_counted_before_the_question(path, monkeypatch):
    monkeypatch.setattr("workqueue.cli.filters._COUNTED", 2)
    assert "Cancel 2 jobs or more of" in run("cancel", path, "--name", "mail").stderr


def test_what_was_pushed_meanwhile_is_not_cancelled_with_the_rest(path, monkeypatch):
    def pushing(store: SqliteStore, which: Find, deed: Deed) -> Changed:
        pushed.extend(store.push([NewJob(queue="a", name="mail", data=b"{}")]))
        assert len(pushed) < 20, "it runs after them"
        return original(store, which, deed)

    pushed: list[int] = []
    original = SqliteStore.change
    monkeypatch.setattr(SqliteStore, "change", pushing)
    monkeypatch.setattr(change, "_AT_ONCE", 1)
    assert run("cancel", path, "--queue", "a", "--name", "mail", "--yes").stdout == "cancelled 3\n"
    assert listed(path, "--status", "cancelled") == [1, 2, pushed[0]], "that one was there when it began"


# retry


def test_retry_by_id_says_what_comes_of_each(path):
    with Queue(path, id="a") as queue:
        queue.cancel(1)
    result = run("retry", path, 1, 2, 3, 99)
    assert result.exit_code == 2
    assert result.stdout == "1: waits again, due now\n2: due now\n3: is due already\n"
    assert "expected the id of a job" in result.stderr
    assert run("retry", path, 3).exit_code == 1
    with Queue(path) as queue:
        assert queue.get(2).run_at < queue.get(2).pushed_at + timedelta(minutes=1)


def test_retry_without_a_status_means_what_waits_for_another_try_and_what_failed(path):
    assert run("retry", path, "--name", "mail").stdout == "retried 0\n"
    assert run("retry", path, "--status", "pending", "--name", "mail").stdout == "retried 1\n"
    with Queue(path, Failing(), id="a") as queue:
        assert queue.wait_idle(10)
    assert statuses(path) == ["failed"] * 3 + ["pending"]
    assert run("retry", path, "--text", "'ada'").stdout == "retried 2\n"
    assert statuses(path) == ["pending", "failed", "pending", "pending"]


def test_a_job_whose_key_another_one_has_is_not_tried_again(path):
    with Queue(path, id="keys") as queue:

        @queue.task(name="sync", key_by="n")
        def sync(n: int) -> None: ...

        first = sync.push(1)
        first.cancel()
        sync.push(1)
    result = run("retry", path, first.id)
    assert (result.exit_code, result.stdout) == (
        1,
        f"{first.id}: another job has its key by now; `workqueue why` says which\n",
    )


class Failing:
    def id(self) -> str:
        return "failing"

    def do_work(self, ctx: object, job: object) -> None:
        raise ValueError(job.decode())  # type: ignore[attr-defined]


# restore, clean


def test_restore_those_that_match(path):
    with Queue(path, Failing(), id="a") as queue:
        queue.wait_idle(10)
    run("cancel", path, 4)
    assert run("restore", path, "--text", "'ada'", "--name", "visit").stdout == "restored 1\n"
    assert run("restore", path, "--status", "cancelled").stdout == "restored 1\n"
    assert run("restore", path, 1, "--queue", "a").stdout == "restored 1\n"
    assert statuses(path) == ["pending"] * 4


def test_clean_by_id(path):
    run("cancel", path, 1, 2)
    result = run("clean", path, 1, 3, "--yes")
    assert (result.exit_code, result.stdout) == (0, "1: deleted\n3: is pending, and was not deleted; cancel it first\n")
    assert run("clean", path, 3, "--yes").exit_code == 1
    assert run("clean", path, 1, "--yes").exit_code == 2
    assert listed(path) == [2, 3, 4]


# pause, resume


def test_pause_and_resume_a_queue_and_names_of_it(path):
    assert run("pause", path, "--queue", "a").stdout == "paused: queue 'a'\n"
    assert run("pause", path, "--queue", "b", "--name", "mail", "--name", "visit").stdout == (
        "paused: jobs called 'mail' of queue 'b'\npaused: jobs called 'visit' of queue 'b'\n"
    )
    assert json.loads(run("status", path, "--json").stdout)["paused"] == [
        {"queue": "a", "name": None},
        {"queue": "b", "name": "mail"},
        {"queue": "b", "name": "visit"},
    ]
    assert "paused: queue 'a'\npaused: jobs called 'mail' of queue 'b'\n" in run("status", path).stdout
    assert "queue paused" in json.loads(run("why", path, 1, "--json").stdout)["reasons"]
    resumed = run("resume", path, "--queue", "b", "--name", "mail")
    assert resumed.stdout == "resumed: jobs called 'mail' of queue 'b'\n"
    assert resumed.stderr == "workqueue: still paused: jobs called 'visit' of queue 'b'\n"
    assert run("resume", path, "--queue", "a").exit_code == 0
    with Queue(path, id="b") as queue:
        assert queue.paused() == ["visit"]


def test_what_was_not_paused_is_not_resumed(path):
    result = run("resume", path, "--queue", "a", "--name", "mail")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "workqueue: jobs called 'mail' of queue 'a' was not paused\n"


def test_a_queue_of_which_nothing_is_known_is_paused_with_a_word_about_it(path):
    result = run("pause", path, "--queue", "mial")
    assert (result.exit_code, result.stdout) == (0, "paused: queue 'mial'\n")
    assert "nothing is known of queue 'mial' so far; known: 'a', 'b'" in result.stderr
    assert "paused: queue 'mial'" in run("status", path).stdout.splitlines()
    assert json.loads(run("status", path, "--json").stdout)["paused"] == [{"queue": "mial", "name": None}]
    for wrong in (["--queue", ""], ["--name", ""]):
        assert run("pause", path, *wrong).exit_code == 2


# schedules


@pytest.fixture
def scheduled(path: Path) -> Path:
    with Queue(path, id="a") as queue:
        now = queue._store.now()
        queue._store.schedules.put("a", "tick", Schedule(every=timedelta(minutes=5)), now + timedelta(minutes=5))
        queue._store.schedules.put("c", "report", Schedule(every="0 3 * * *", timezone="Europe/Berlin"), now)
    return path


def test_schedules_are_listed_of_every_queue_also_of_one_without_jobs(scheduled):
    result = run("schedules", scheduled)
    head, report, tick = (line.split() for line in result.stdout.splitlines())
    assert head[:4] == ["QUEUE", "NAME", "EVERY", "NEXT"]
    assert tick[:3] == ["c", "report", "0"] and "(Europe/Berlin)" in tick and "due" in tick
    assert report[:3] == ["a", "tick", "5m"]
    found = json.loads(run("schedules", "list", scheduled, "--json").stdout)
    assert [(one["queue"], one["name"], one["every"]) for one in found] == [
        ("a", "tick", "PT300S"),
        ("c", "report", "0 3 * * *"),
    ]
    assert "tick" not in run("schedules", scheduled, "--queue", "c").stdout


def test_schedules_are_paused_and_resumed(scheduled):
    assert run("schedules", "pause", scheduled, "tick", "--queue", "a").exit_code == 0
    assert "paused" in run("schedules", scheduled, "--queue", "a").stdout
    resumed = run("schedules", "resume", scheduled, "tick", "--queue", "a")
    assert "resumed: schedule 'tick' of queue 'a'; its next slot is " in resumed.stdout
    assert "paused" not in run("schedules", scheduled).stdout
    for deed in ("pause", "resume"):
        unknown = run("schedules", deed, scheduled, "tick")
        assert unknown.exit_code == 2 and "of queue 'default'" in unknown.stderr


def test_a_schedule_that_was_not_paused_is_not_resumed(scheduled):
    result = run("schedules", "resume", scheduled, "tick", "--queue", "a")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "workqueue: schedule 'tick' of queue 'a' was not paused\n"


def test_a_schedule_that_this_machine_cannot_read_is_listed_all_the_same(scheduled):
    import sqlite3

    with sqlite3.connect(scheduled) as connection:
        connection.execute("UPDATE schedules SET spec = replace(spec, 'Europe/Berlin', 'Mars/Olympus')")
    connection.close()
    assert "Mars/Olympus" in run("schedules", scheduled).stdout


# why


def test_why_speaks_to_people_and_to_programs(path):
    result = run("why", path, 2)
    assert result.exit_code == 0
    assert result.stdout.startswith("Job 2 'mail' of queue 'a' waits.\nIt is not due before ")
    found = json.loads(run("why", path, 2, "--json").stdout)
    assert (found["job"], found["status"]) == (2, "pending")
    assert found["reasons"] == ["waiting", "not due", "no runner"]
    assert len(found["sentences"]) == 3 and found["not_before"].endswith("Z")
    assert run("why", path, 99).exit_code == 2
    run("cancel", path, 2)
    run("clean", path, 2, "--yes")
    assert json.loads(run("why", path, 2, "--json").stdout)["status"] is None


def test_a_runner_tells_which_names_it_knows(path):
    with Queue(path, id="a") as queue:

        @queue.task(name="known")
        def known() -> None: ...

        queue.pause()
        queue.start()
        while (runner := queue._store.overview().runners[0]).knows is None:
            queue.wait_idle(0.01)
        assert runner.knows == ["known"]
        assert "No live runner knows the name 'mail'; they know 'known'." in run("why", path, 1).stdout

        @queue.task(name="mail")
        def mail(to: str) -> None: ...

        while queue._store.overview().runners[0].knows != ["known", "mail"]:
            queue.wait_idle(0.01)
        assert "1 live runner of the queue may take it" in run("why", path, 1).stdout
        assert JobStatus.PENDING is queue.get(1).status

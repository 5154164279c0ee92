"""Where a command looks for what was not said: WORKQUEUE_URL, then [tool.workqueue] of the nearest pyproject.toml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from workqueue import Queue
from workqueue.cli import group

ALL_THREE = (
    "workqueue: expected {what} as an argument, or in WORKQUEUE_URL, or as url in [tool.workqueue] of a "
    "pyproject.toml here or above; got none of the three. Say `workqueue {command} {what} …`; "
    "`workqueue {command} --help` has examples\n"
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(group, [str(a) for a in arguments], prog_name="workqueue")


def ids(*arguments: object) -> list[int]:
    result = run("jobs", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return [job["id"] for job in json.loads(result.stdout)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder two below the one of the project, where we stand."""
    monkeypatch.delenv("WORKQUEUE_URL", raising=False)
    here = tmp_path / "project" / "src" / "deep"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def project(here: Path) -> Path:
    return here.parents[1]


def configure(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(f"[project]\nname = 'mine'\n[tool.workqueue]\n{text}\n")


def fill(path: Path, jobs: int) -> Path:
    with Queue(path) as queue:
        queue.push_many("n", range(jobs))
    return path


def test_the_argument_counts_before_the_variable_and_that_before_the_file(here, project, monkeypatch):
    said, named, configured = (fill(here / f"{name}.db", count) for count, name in enumerate(("a", "b", "c"), start=1))
    configure(project, f"url = '{configured}'")
    assert len(ids()) == 3
    monkeypatch.setenv("WORKQUEUE_URL", str(named))
    assert len(ids()) == 2
    assert len(ids(said)) == 1
    monkeypatch.setenv("WORKQUEUE_URL", "b.db")
    assert len(ids()) == 2, "seen from the current folder"
    monkeypatch.setenv("WORKQUEUE_URL", "")
    assert len(ids()) == 3, "empty is as none"


def test_a_file_is_seen_from_the_folder_of_its_pyproject(project):
    fill(project / "jobs.db", 2)
    configure(project, 'url = "jobs.db"')
    assert len(ids()) == 2


def test_a_nearer_pyproject_counts_if_it_has_the_table(here, project):
    fill(project / "jobs.db", 2)
    configure(project, 'url = "jobs.db"')
    (here / "pyproject.toml").write_text("[tool.other]\nurl = 'x'\n")
    assert len(ids()) == 2
    fill(here / "near.db", 1)
    configure(here, 'url = "near.db"')
    assert len(ids()) == 1


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["status"], "FILE"),
        (["jobs", "--status", "failed"], "FILE"),
        (["show", "1"], "FILE"),
        (["why", "1"], "FILE"),
        (["push", "n", "1"], "FILE"),
        (["cancel", "1", "2"], "FILE"),
        (["restore"], "FILE"),
        (["clean"], "FILE"),
        (["pause"], "FILE"),
        (["resume"], "FILE"),
        (["check"], "FILE"),
        (["reopen"], "FILE"),
        (["copy", "there.db"], "SOURCE"),
        (["backup", "there.db"], "SOURCE"),
        (["migrate"], "URL"),
    ],
    ids=lambda value: value[0],
)
def test_without_any_the_error_names_all_three(here, command, what):
    result = run(*command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == ALL_THREE.format(what=what, command=command[0])
    assert list(here.iterdir()) == []


def test_schedules_too(here):
    for command in (["schedules"], ["schedules", "pause", "report"]):
        result = run(*command)
        assert result.exit_code == 2 and "got none of the three" in result.stderr


def test_each_command_does_without_the_store(project):
    configure(project, 'url = "jobs.db"\nqueue = "mail"')
    assert run("push", "n", "1").stdout == "1\n"
    assert run("push", "n", "2", "--queue", "other").stdout == "2\n"
    assert [queue["queue"] for queue in json.loads(run("status", "--json").stdout)["queues"]] == ["mail", "other"]
    assert run("show", "1", "--json").exit_code == run("why", "1").exit_code == 0
    assert run("cancel", "1").stdout == "1: cancelled\n"
    assert run("restore", "1").stdout == "restored 1\n"
    assert run("pause").stdout == "paused: queue 'mail'\n"
    assert run("resume").stdout == "resumed: queue 'mail'\n"
    assert run("clean", "--yes").stdout == "deleted 0\n"
    assert run("check").exit_code == 0
    assert "has no schedules" in run("schedules").stdout
    assert run("backup", "copy.db").exit_code == 0
    assert run("copy", "moved.db", "--yes").exit_code == 0
    assert run("reopen").exit_code == 0
    assert (project / "jobs.db").exists() and not (project / "src" / "deep" / "jobs.db").exists()


def test_a_move_of_what_is_configured_is_asked_about(project):
    fill(project / "jobs.db", 1)
    configure(project, 'url = "jobs.db"')
    result = run("copy", "snapshot.db")
    assert (result.exit_code, result.stdout) == (2, "")
    question = f"Move all of {project / 'jobs.db'}, and shut it for jobs and workers?"
    assert f"expected --yes, because there is no terminal to ask on. {question}" in result.stderr
    assert not Path("snapshot.db").exists()
    assert run("copy", "snapshot.db", "--while-running").exit_code == 0, "nothing is shut"
    assert run("push", "n", "1").exit_code == 0
    assert run("copy", project / "jobs.db", "moved.db").exit_code == 0, "it was said"


def test_a_file_with_the_name_of_an_id(here):
    fill(here / "17", 1)
    assert run("cancel", "./17", "1").stdout == "1: cancelled\n"
    assert run("cancel", "17", "1").exit_code == 2, "two ids"


def test_what_named_the_store_is_said_where_that_may_be_wrong(here, project, monkeypatch):
    configure(project, 'url = "missing.db"')
    by = f"(the store was named by [tool.workqueue] of {project / 'pyproject.toml'})"
    assert run("status").stderr.endswith(f"{by}\n")
    fill(here / "jobs.db", 1)
    monkeypatch.setenv("WORKQUEUE_URL", "jobs.db")
    assert run("show", "9").stderr.endswith("(the store was named by WORKQUEUE_URL)\n")
    assert "named by" not in run("show", "jobs.db", "9").stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("url = ", "expected to read"),
        ("url = 5", "url, app and queue, each a text, got: Expected `str | null`, got `int` - at `$.url`"),
        ("file = 'jobs.db'", "unknown field `file`"),
        ("url = ':memory:'", "no other process can see"),
        ("url = 'mysql://me:secret@host/jobs'", "begins with postgresql://, got: mysql://…"),
    ],
)
def test_a_configuration_that_is_wrong(project, text, said):
    configure(project, text)
    result = run("status")
    assert result.exit_code == 2
    assert said in result.stderr and "secret" not in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (":memory:", "no other process can see"),
        ("mysql://me:secret@host/jobs", "begins with postgresql://, got: mysql://…"),
    ],
)
def test_a_variable_that_is_wrong(here, monkeypatch, value, said):
    monkeypatch.setenv("WORKQUEUE_URL", value)
    result = run("push", "n", "1")
    assert result.exit_code == 2
    assert said in result.stderr and "secret" not in result.output
    assert list(here.iterdir()) == []


def test_a_pyproject_that_is_no_text(project):
    (project / "pyproject.toml").write_bytes(b"\xff\xfe")
    result = run("status")
    assert (result.exit_code, "expected to read" in result.stderr) == (2, True)


def test_a_tool_table_that_is_none(project):
    (project / "pyproject.toml").write_text("tool = 5")
    assert "got none of the three" in run("status").stderr


def test_help_asks_for_no_store(here):
    assert run("status", "--help").exit_code == run("show", "-h").exit_code == 0


# the app

APP = """
from datetime import timedelta
from workqueue import Queue

queue = Queue("jobs.db")

@queue.task(name="say")
def say() -> None:
    print("said", flush=True)
    queue.stop()

@queue.task(name="daily", every=timedelta(days=1))
def daily() -> None: ...
"""


def workqueue(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "WORKQUEUE_URL"}
    command = [sys.executable, "-m", "workqueue", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("folder", [".", "src"])
def test_run_runs_the_app_that_is_configured_from_below_its_folder_too(project, folder):
    (project / "app.py").write_text(APP)
    configure(project, "app = 'app:queue'")
    place = project / folder
    with Queue(place / "jobs.db") as queue:  # as the program says: seen from where it is started
        queue.push("say", {})
    done = workqueue(place, "run")
    assert (done.returncode, done.stdout) == (0, "said\n"), done.stderr


def test_run_without_an_app_says_where_it_could_be(here):
    done = workqueue(here, "run")
    assert done.returncode == 2
    assert done.stderr == (
        "workqueue: expected module:queue, such as app.tasks:queue, as an argument, or as app in [tool.workqueue] of a "
        "pyproject.toml here or above; got neither\n"
    )


def test_an_app_that_is_none_names_its_file(project):
    configure(project, "app = 'app.py'")
    done = workqueue(project, "run")
    assert done.returncode == 2
    assert f"got: 'app.py' in [tool.workqueue] of {project / 'pyproject.toml'}" in done.stderr


def test_a_periodic_task_is_triggered_by_its_program(project):
    (project / "app.py").write_text(APP)
    configure(project, "app = 'app:queue'")
    assert workqueue(project, "schedules", "trigger", "daily").stdout == "1\n"
    assert workqueue(project, "schedules", "trigger", "daily", "--app", "app:queue").stdout == "2\n"
    unknown = workqueue(project, "schedules", "trigger", "say")
    assert unknown.returncode == 2 and "expected the name of a schedule" in unknown.stderr
    with Queue(project / "jobs.db") as queue:
        assert [(job.name, job.data) for job in queue.jobs()] == [("daily", b"{}")] * 2

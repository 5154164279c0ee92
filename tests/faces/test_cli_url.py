"""Every command on the URL of a database; a missing driver; and a password that comes out nowhere."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from workqueue import Queue, StoreError
from workqueue.cli import group

from lines import Lines

SECRET = "s3cr3t"
APP = """
import os
from datetime import timedelta
from workqueue import Queue

queue = Queue(os.environ["URL"])

def tell(text):
    events = os.open("events", os.O_WRONLY)
    os.write(events, f"{text}\\n".encode())
    os.close(events)

@queue.task(name="quick")
def quick(n: int) -> None:
    tell(f"ran {n} in {os.getpid()}")

@queue.task(name="hold", limit=2)
def hold(n: int) -> None:
    tell(f"holds {n} in {os.getpid()}")
    gate = os.open("gate", os.O_RDONLY)
    os.read(gate, 1)
    os.close(gate)

@queue.task(name="tick", every=timedelta(seconds=1))
def tick() -> None:
    tell("tick")
"""


def run(*arguments: object):
    return CliRunner().invoke(group, [str(a) for a in arguments], prog_name="workqueue")


def ok(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_each_command_does_on_a_database_what_it_does_on_a_file(postgres):
    assert ok("push", postgres, "mail", '{"to": "ada"}', "--priority", "3") == "1\n"
    assert ok("push", postgres, "mail", '{"to": "eva"}', "--after", "1h") == "2\n"
    assert ok("cancel", postgres, "2") == "2: cancelled\n"
    [queue] = json.loads(ok("status", postgres, "--json"))["queues"]
    assert (queue["pending"], queue["cancelled"]) == (1, 1)
    assert [job["id"] for job in json.loads(ok("jobs", postgres, "--json"))] == [1, 2]
    assert json.loads(ok("show", postgres, "1", "--json"))["data"] == {"to": "ada"}
    assert ok("restore", postgres, "2") == "restored 1\n"
    ok("cancel", postgres, "2")
    assert ok("clean", postgres, "--status", "cancelled", "--yes") == "deleted 1\n"
    assert "found nothing wrong" in ok("check", postgres)
    assert json.loads(ok("check", postgres, "--json"))["engine"]["name"] == "PostgreSQL"
    assert run("show", postgres, "2").exit_code == 2
    assert ok("pause", postgres, "--name", "mail") == "paused: jobs called 'mail' of queue 'default'\n"
    assert json.loads(ok("why", postgres, "1", "--json"))["reasons"] == [
        "waiting",
        "task paused",
        "in line",
        "no runner",
    ]
    assert ok("resume", postgres, "--name", "mail").startswith("resumed")
    assert "has no schedules" in ok("schedules", postgres)
    assert ok("push", postgres, "mail", "1", "--after", "1h") == "3\n"
    assert ok("retry", postgres, "--status", "pending") == "retried 1\n"
    assert ok("cancel", postgres, "--text", "ada", "--yes") == "cancelled 1\n"


def test_bench_measures_a_database_and_leaves_nothing_there(postgres):
    ok("push", postgres, "n", "1")
    found = json.loads(ok("bench", postgres, "--seconds", "0.5", "--json"))
    assert found["flush_seconds"] is None and found["engine"]["name"] == "PostgreSQL"
    assert min(found[name] for name in ("pushes_per_second", "push_many_per_second", "drain_per_second")) > 0
    assert found["pick_up_seconds"]["other_process"]["count"] > 0
    said = ok("bench", postgres, "--seconds", "0.1")
    assert "a push takes" in said and "flush" not in said
    with psycopg.connect(postgres) as session:
        schemas = session.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'workqueue%'").fetchall()
    assert schemas == [("workqueue",)]
    assert len(json.loads(ok("jobs", postgres, "--json"))) == 1


def test_processes_run_the_jobs_of_a_database_until_a_signal(postgres, tmp_path: Path):
    (tmp_path / "app.py").write_text(APP)
    for name in ("events", "gate"):
        os.mkfifo(tmp_path / name)
    events, gate = (os.open(tmp_path / name, os.O_RDWR) for name in ("events", "gate"))
    with subprocess.Popen(
        [sys.executable, "-m", "workqueue", "run", "app:queue", "--processes", "2"],
        cwd=tmp_path,
        env=os.environ | {"URL": postgres},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as parent:
        try:
            heard, log = Lines(events), Lines(parent.stderr.fileno())
            for _ in range(2):
                log.until("runs 'default' of postgresql://")
            runners = json.loads(ok("status", postgres, "--json"))["runners"]
            assert [runner["alive"] for runner in runners] == [True, True]
            for n in range(2):
                ok("push", postgres, "hold", json.dumps({"n": n}))
                assert heard.until(r"holds (\d)")[1] == str(n)
                os.write(gate, b".")
            heard.until("tick")
            parent.send_signal(signal.SIGTERM)
            assert parent.wait(60) == 0
        finally:
            if parent.poll() is None:
                os.killpg(parent.pid, signal.SIGKILL)
            os.close(events)
            os.close(gate)
    with Queue(postgres) as queue:
        assert queue.jobs(name="hold") == []
        assert queue.check() == []


def test_a_killed_runner_is_seen_to_be_dead_at_the_first_look(postgres, tmp_path: Path):
    (tmp_path / "app.py").write_text(APP)
    for name in ("events", "gate"):
        os.mkfifo(tmp_path / name)
    events = os.open(tmp_path / "events", os.O_RDWR)
    ok("push", postgres, "hold", '{"n": 1}')
    with subprocess.Popen(
        [sys.executable, "-m", "workqueue", "run", "app:queue"],
        cwd=tmp_path,
        env=os.environ | {"URL": postgres},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            Lines(events).until("holds 1")
            assert json.loads(ok("why", postgres, "1", "--json"))["reasons"] == ["running"]
        finally:
            child.kill()
            os.close(events)
    assert json.loads(ok("why", postgres, "1", "--json"))["reasons"] == ["running", "runner ended", "loss"]
    assert [one["alive"] for one in json.loads(ok("status", postgres, "--json"))["runners"]] == [False]


HIDDEN = """
import sys
sys.modules["psycopg"] = None  # as if it were not installed
from workqueue.cli import main
sys.argv = ["workqueue", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "URL"],
        ["jobs", "URL"],
        ["show", "URL", "1"],
        ["check", "URL"],
        ["push", "URL", "n", "1"],
        ["cancel", "URL", "1"],
        ["restore", "URL"],
        ["clean", "URL", "--yes"],
        ["retry", "URL", "1"],
        ["why", "URL", "1"],
        ["pause", "URL"],
        ["resume", "URL"],
        ["schedules", "URL"],
        ["backup", "URL", "there.db"],
        ["copy", "URL", "jobs.db"],
        ["reopen", "URL"],
        ["migrate", "URL"],
        ["bench", "URL"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_without_the_driver_the_extra_is_named(arguments, tmp_path):
    url = f"postgresql://me:{SECRET}@127.0.0.1:1/jobs"
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN, *(url if a == "URL" else a for a in arguments)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "pip install '.[postgres]' in a clone of workqueue" in done.stderr
    assert "Traceback" not in done.stderr and SECRET not in done.stdout + done.stderr


def test_without_the_driver_a_file_is_as_ever(tmp_path):
    command = [sys.executable, "-c", HIDDEN, "push", "jobs.db", "n", "1"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout == "1\n"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:{}@127.0.0.1:1/jobs",
        "postgresql://127.0.0.1:1/jobs?user=me&password={}",
        "postgresql://me:{}@127.0.0.1:1/jobs?no_such_setting=1",
        "postgresql://me:{}/x@127.0.0.1:1/jobs",
        "postgresql://me:{}#x@127.0.0.1:1/jobs",
        "postgresql://me:{}?x@127.0.0.1:1/jobs",
        "postgresql://me:[{}@127.0.0.1:1/jobs",
        "postgresql://me:%{}@127.0.0.1:1/jobs",
        "postgresql://me:{}@127.0.0.1:port/jobs",
        "postgresql://me:{}@127.0.0.1:1/jobs?schema=no-name",
        "postgres://me:{}@127.0.0.1:1/jobs",
        "mysql://me:{}@127.0.0.1:1/jobs",
        "POSTGRESQL://me:{}@127.0.0.1:1/jobs",
    ],
)
@pytest.mark.parametrize("command", ["status", "push", "migrate", "copy", "bench"])
def test_a_password_is_in_no_output(url, command, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    more = {"push": ["n", "1"], "copy": [tmp_path / "jobs.db"]}.get(command, [])
    result = run(command, url.format(SECRET), *more)
    assert result.exit_code in (2, 3), result.exception
    assert SECRET not in result.output + caplog.text
    assert not isinstance(result.exception, StoreError)


def test_a_password_that_works_is_in_no_output_and_no_row(postgres, tmp_path):
    with psycopg.connect(postgres) as session:
        user = session.info.user
    parts = postgres.partition("://")[2]
    url = f"postgresql://{user}:{SECRET}@{parts.partition('@')[2]}"
    file = tmp_path / "jobs.db"
    said = ok("push", url, "n", "1") + ok("status", url) + ok("check", url) + ok("jobs", url) + ok("migrate", url)
    said += ok("copy", url, file, "--verify") + ok("status", url) + run("push", url, "n", "1").output
    said += ok("reopen", url) + ok("copy", file, f"{url}&schema=other") + ok("status", file)
    with Queue(url) as queue:
        said += repr(queue) + repr(queue.path) + repr(queue._store._address)
    with psycopg.connect(postgres) as session:
        said += repr(session.execute("SELECT * FROM other.copies").fetchall())
        said += repr(session.execute("SELECT * FROM workqueue.moves").fetchall())
    assert SECRET not in said
    assert SECRET.encode() not in file.read_bytes()

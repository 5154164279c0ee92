"""The command line: what it prints, what it exits with, and that data never steer the terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import sqlite3
import subprocess
import sys
import unicodedata
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from workqueue import Backoff, Queue, RecoverableWorkerError
from workqueue.cli import group
from workqueue.duration import span
from workqueue.words import pretty, printable, shortened

NASTY = "a\x1b[31mred\x9bz\u202eevil\u200b\x7f\U000e0041\u2028"
READERS = [["status"], ["jobs"], ["show", "1"], ["check"]]


class Failing:
    def id(self):
        return "failing"

    def do_work(self, ctx, job):
        if job.name == "again":
            raise RecoverableWorkerError("later", delay=timedelta(hours=1))
        raise ValueError(job.decode())


def run(*arguments, **options):
    return CliRunner().invoke(group, [str(a) for a in arguments], prog_name="workqueue", **options)


def on(path, command, *more, **options):
    """Call `command` with the file in its place."""
    return run(command[0], path, *command[1:], *more, **options)


def process(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "workqueue", *map(str, arguments)], capture_output=True, timeout=60, **options
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def failed(path):
    """A file with one job that failed, and whose name, error and data are nasty."""
    with Queue(path, Failing()) as queue:
        queue.push(NASTY, NASTY)
        assert queue.wait_idle(10)
    return path


# push


def test_push_prints_the_id_and_stores_what_was_said(path):
    result = run("push", path, "mail", '{"to": "ada", "price": 1.10}', "--priority", "7", "--queue", "other")
    assert (result.exit_code, result.output) == (0, "1\n")
    with Queue(path) as queue:
        job = queue.get(1)
    assert (job.name, job.queue, job.priority) == ("mail", "other", 7)
    assert job.data == b'{"to": "ada", "price": 1.10}'


def test_push_takes_the_json_from_stdin(path):
    assert run("push", path, "n", "-", input='["é"]\n').exit_code == 0
    with Queue(path) as queue:
        assert queue.get(1).decode() == ["é"]


def test_push_later(path):
    assert run("push", path, "n", "1", "--after", "1h30m").exit_code == 0
    assert run("push", path, "n", "1", "--at", "2100-01-31T12:00+01:00", "--timing").exit_code == 0
    with Queue(path) as queue:
        assert queue.get(1).run_at - queue.get(1).pushed_at == timedelta(minutes=90)
        assert queue.get(2).run_at == datetime(2100, 1, 31, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    "arguments",
    [
        ["n", "{bad"],
        ["n", "NaN"],
        ["n", ""],
        ["n", b"\xff".decode(errors="surrogateescape")],
        ["n", "1", "--after", "10"],
        ["n", "1", "--at", "2030-01-01"],
        ["n", "1", "--at", "soon"],
        ["n", "1", "--at", "2030-01-01T00:00Z", "--after", "1s"],
        ["n", "1", "--priority", "high"],
        ["n", "1", "--priority", str(2**70)],
        ["n", "1", "--queue", ""],
        ["", "1"],
        ["n", '"' + "x" * 1024 * 1024 + '"'],
        ["n"],
    ],
)
def test_push_refuses_what_is_wrong(path, arguments):
    result = run("push", path, *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert not path.exists() or on(path, ["jobs"]).stdout == ""


def test_a_queue_in_memory_is_refused():
    for command in (["push", ":memory:", "n", "1"], ["status", ":memory:"]):
        result = run(*command)
        assert result.exit_code == 2
        assert "no other process can see" in result.stderr


# look


def test_status_counts_by_queue_and_status(path):
    with Queue(path, Failing(), id="a") as queue:
        queue.push("fails", "x")
        queue.push("again", "x")
        queue.push_after("n", 1, 3600)
        while queue.jobs(status="retrying") == [] or queue.jobs(status="failed") == []:
            queue.wait_idle(0.05)
        queue.stop()
        queue.push("n", 1)
        queue.cancel(queue.push("n", 1))
    with Queue(path, id="b") as queue:
        queue.push("n", 1)
    found = json.loads(on(path, ["status"], "--json").stdout)
    a, b = found["queues"]
    assert found["path"] == str(path)
    assert found["runners"] == []
    oldest = a.pop("oldest_due")
    assert datetime.fromisoformat(oldest) <= datetime.fromisoformat(found["now"])
    assert a == {
        "queue": "a",
        "pending": 2,
        "retrying": 1,
        "running": 0,
        "completed": 0,
        "failed": 1,
        "cancelled": 1,
        "later": 2,
    }
    assert (b["queue"], b["pending"], b["later"]) == ("b", 1, 0)
    assert found["engine"]["settings"]["journal_mode"] == "wal"
    lines = on(path, ["status"]).stdout.splitlines()
    assert lines[0] == str(path)
    assert lines[1].split()[:6] == ["QUEUE", "PENDING", "RETRYING", "RUNNING", "FAILED", "CANCELLED"]
    assert lines[2].split()[:7] == ["a", "2", "1", "0", "1", "1", "2"]
    assert lines[3].split()[:2] == ["b", "1"]
    only_b = json.loads(on(path, ["status"], "--queue", "b", "--json").stdout)
    assert [standing["queue"] for standing in only_b["queues"]] == ["b"]
    assert on(path, ["status"], "--queue", "none").stdout.splitlines()[2].split()[:2] == ["none", "0"]


def test_status_lists_runners(path):
    with Queue(path, Failing()) as queue:
        [runner] = json.loads(on(path, ["status"], "--json").stdout)["runners"]
        assert (runner["queue"], runner["alive"], runner["running"]) == ("default", True, 0)
        assert runner["label"].endswith(f":{os.getpid()}")
        assert "alive" in on(path, ["status"]).stdout
        queue.stop()
        assert "no runners" in on(path, ["status"]).stdout


def test_jobs_filters_and_pages(path):
    with Queue(path) as queue:
        queue.push_many("n", range(5))
    with Queue(path, id="other") as queue:
        queue.push("m", 5)
        queue.cancel(6)

    def ids(*options):
        return [job["id"] for job in json.loads(on(path, ["jobs"], "--json", *options).stdout)]

    assert ids() == [1, 2, 3, 4, 5, 6]
    assert ids("--limit", 2) == [1, 2]
    assert ids("--limit", 2, "--after", 2) == [3, 4]
    assert ids("--queue", "other") == ids("--name", "m") == ids("--status", "cancelled") == [6]
    assert ids("--status", "running") == []
    page = on(path, ["jobs"], "--limit", 2)
    assert len(page.stdout.splitlines()) == 3
    assert "--after 2" in page.stderr


def test_show_tells_everything(failed):
    text = on(failed, ["show", "1"]).stdout
    for part in ("failed", "handler failed 1 time", "backoff", "attempt 1 at", "Traceback (most recent call last):"):
        assert part in text
    found = json.loads(on(failed, ["show", "1"], "--json").stdout)
    assert (found["name"], found["data"], found["status"]) == (NASTY, NASTY, "failed")
    assert found["history"][0]["outcome"] == "raised"
    assert "ValueError" in found["history"][0]["traceback"]


def test_data_that_is_not_json(path):
    with Queue(path) as queue:
        queue.push_bytes("n", b"\x1b[2J\xff")
    assert r"b'\x1b[2J\xff'" in on(path, ["show", "1"]).stdout
    found = json.loads(on(path, ["show", "1"], "--json").stdout)
    assert (found["data"], found["data_base64"]) == (None, "G1sySv8=")


def test_json_data_are_indented_for_people(path):
    run("push", path, "n", '{"to":"ada","of":[1,2]}')
    assert '    "to": "ada",' in on(path, ["show", "1"]).stdout


@pytest.mark.parametrize("command", READERS, ids=lambda c: c[0])
@pytest.mark.parametrize("json_too", [False, True])
def test_data_never_steer_the_terminal(failed, command, json_too):
    with Queue(failed, id=NASTY) as queue:
        queue.push("n", 1)
    result = on(failed, command, *["--json"] * json_too)
    assert result.exit_code == 0
    assert {c for c in result.output if not c.isprintable()} == {"\n"}
    if command[0] in ("jobs", "show") and not json_too:
        assert r"a\x1b[31mred\x9bz\u202eevil\u200b\x7f\U000e0041\u2028" in result.stdout


def test_no_character_there_is_steers_a_terminal_or_hides():
    """Row 99 of the threats we know of: controls (C0, C1), what turns text round or joins it, halves, separators."""
    shown = printable("".join(map(chr, [*range(0x20000), *range(0xE0000, 0xE1000)])))  # the other planes have none
    assert {unicodedata.category(c) for c in set(shown)}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert all(printable(c) == c for c in "\u00a0\u3000\ue000")


def test_what_shows_nothing_though_it_is_a_letter_or_a_mark_is_an_escape():
    unseen = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u2065\u2800\u3164\ufe00\ufe0f\uffa0\ufff0\U000e0100\U000e0fff"
    told = "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}" for c in unseen)
    assert printable(f"a{unseen}b") == f"a{told}b"
    assert pretty(json.dumps(f"{unseen}ä", ensure_ascii=False).encode()) == [f'{json.dumps(unseen)[:-1]}ä"']


def test_printable_leaves_letters_alone():
    assert printable("Zoë 漢字 🙂 a\\b\u00a0c") == "Zoë 漢字 🙂 a\\b\u00a0c"
    assert printable("\n\t\x00\x85\ufeff\ud800\u2066") == r"\x0a\x09\x00\x85\ufeff\ud800\u2066"


def test_wide_letters_keep_the_table_aligned(path):
    run("push", path, "漢字", "1")
    run("push", path, "n", "1")
    head, wide, narrow = on(path, ["jobs"]).stdout.splitlines()
    assert head.index("NAME") == narrow.index("n  ") == wide.index("漢")
    assert wide.index("0") + 2 == narrow.index("0")


def test_short_forms():
    assert shortened("x" * 100) == "x" * 59 + "…"
    assert [span(timedelta(seconds=s)) for s in (0, 0.25, 1, 61, 3600, 90061)] == [
        "0ms",
        "250ms",
        "1s",
        "1m 1s",
        "1h",
        "1d 1h",
    ]


def test_check_says_what_the_file_stands_on(path):
    run("push", path, "n", "1")
    result = on(path, ["check"])
    assert result.exit_code == 0
    for part in ("found nothing wrong", "WAL-reset bug", "synchronous", "file system", sqlite3.sqlite_version):
        assert part in result.stdout
    found = json.loads(on(path, ["check"], "--json").stdout)
    assert found["problems"] == []
    assert found["engine"]["settings"]["synchronous"] == "full"
    assert found["files"]["jobs.db"] > 0


def test_check_finds_a_row_edited_by_hand(path):
    run("push", path, "n", "1")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA ignore_check_constraints = 1")
    connection.execute("UPDATE jobs SET runner = 5")
    connection.commit()
    connection.close()
    result = on(path, ["check"])
    assert result.exit_code == 1
    assert "wrong: 1 jobs have columns that do not fit their status" in result.stdout
    assert json.loads(on(path, ["check"], "--json").stdout)["problems"]


def test_looking_leaves_the_journal_mode_alone(path):
    Queue(path, durability="conservative").close()
    run("push", path.parent / "other.db", "n", "1")
    assert json.loads(on(path, ["check"], "--json").stdout)["engine"]["settings"]["journal_mode"] == "delete"
    assert journal(path) == "delete"


def journal(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


# change


def test_a_push_leaves_the_journal_mode_alone(path):
    Queue(path, durability="conservative").close()
    assert run("push", path, "n", "1").stdout == "1\n"
    assert journal(path) == "delete"
    path.with_name("empty.db").touch()
    for made in ("new.db", "empty.db"):
        assert run("push", path.with_name(made), "n", "1").stdout == "1\n"
        assert journal(path.with_name(made)) == "wal"


def test_cancel(path):
    run("push", path, "n", "1")
    assert on(path, ["cancel", "1"]).stdout == "1: cancelled\n"
    again = on(path, ["cancel", "1"])
    assert (again.exit_code, again.stdout) == (1, "1: was settled already\n")
    unknown = on(path, ["cancel", "1", "99"])
    assert unknown.exit_code == 2
    assert (
        unknown.stderr == "workqueue: expected the id of a job in this file, got: 99; completed jobs leave the file\n"
    )


def test_restore_all_or_some(path):
    for queue in ("a", "b"):
        run("push", path, "n", "1", "--queue", queue)
        run("push", path, "n", "1", "--queue", queue)
    on(path, ["cancel", "1", "2", "3", "4"])
    assert on(path, ["restore"]).exit_code == 1, "cancelled jobs come back by name only"
    assert on(path, ["restore", "1", "4"]).stdout == "restored 2\n"
    assert on(path, ["restore", "1"]).exit_code == 1, "it waits already"
    assert on(path, ["restore", "99"]).exit_code == 2
    assert on(path, ["restore", "2", "--queue", "b"]).exit_code == 2
    assert [job["id"] for job in json.loads(on(path, ["jobs"], "--json", "--status", "pending").stdout)] == [1, 4]


def test_restore_failed(failed):
    assert on(failed, ["restore", "--queue", "other"]).exit_code == 1
    assert on(failed, ["restore"]).stdout == "restored 1\n"


def test_clean_needs_yes_without_a_terminal(failed):
    refused = on(failed, ["clean"])
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert on(failed, ["clean", "--status", "cancelled"]).stdout == "deleted 0\n"
    assert on(failed, ["clean", "--queue", "other", "--yes"]).stdout == "deleted 0\n"
    assert on(failed, ["clean", "--yes"]).stdout == "deleted 1\n"
    assert on(failed, ["clean"]).stdout == "deleted 0\n", "nothing to ask about"


@pytest.mark.parametrize(("answer", "code", "left"), [(b"n\n", 1, 1), (b"y\n", 0, 0)])
def test_clean_asks_on_a_terminal(failed, answer, code, left):
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "workqueue", "clean", str(failed)], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    try:
        while b"[y/N]" not in seen:
            assert select.select([ours], [], [], 30)[0], seen
            seen += os.read(ours, 4096)
        os.write(ours, answer)
        assert child.wait(30) == code
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    assert b"Delete 1 job of " in seen and b"(failed) for good?" in seen
    with Queue(failed) as queue:
        assert queue.size().failed == left


def test_a_terminal_that_does_not_know_every_letter(path):
    run("push", path, "漢é", "1")
    result = process("jobs", path, env=os.environ | {"PYTHONIOENCODING": "iso-8859-1"})
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"\\u6f22\xe9" in result.stdout


def test_backoff_of_a_job_is_shown(path):
    with Queue(path, backoff=Backoff(limit=5, jitter=True, expiration=timedelta(days=1))) as queue:
        queue.push("n", 1)
    assert "jitter on, limit 5, expiration 1d" in on(path, ["show", "1"]).stdout

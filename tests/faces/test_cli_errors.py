"""What the command line says to files, options and pipes that are not as they should be; and its exit codes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest
from click.testing import CliRunner
from workqueue import Queue
from workqueue.cli import group

COMMANDS = [
    ["status"],
    ["jobs"],
    ["show", "1"],
    ["check"],
    ["cancel", "1"],
    ["restore"],
    ["clean", "--yes"],
]


def run(*arguments):
    return CliRunner().invoke(group, [str(a) for a in arguments], prog_name="workqueue")


def on(path, command):
    """Call `command` with the file in its place."""
    return run(command[0], path, *command[1:])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_a_missing_file_is_an_error_and_is_not_made(path, command):
    result = on(path, command)
    assert result.exit_code == 3
    assert (
        result.stderr
        == f"workqueue: expected the file of a queue at {str(path)!r}, but there is none; check the path\n"
    )
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_a_file_that_is_not_ours(tmp_path, command):
    foreign, folder, garbage = tmp_path / "foreign.db", tmp_path / "folder", tmp_path / "garbage"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    folder.mkdir()
    garbage.write_bytes(b"no database at all" * 1000)
    for path in (foreign, folder, garbage):
        before = path.read_bytes() if path.is_file() else None
        result = on(path, command)
        assert result.exit_code == 3, (path, result.output)
        assert result.stdout == ""
        assert result.stderr.startswith("workqueue: expected")
        assert result.stderr.count("\n") == 1
        assert before is None or path.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"foreign.db", "folder", "garbage"}


def test_push_to_a_file_that_is_not_ours(tmp_path):
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no database at all" * 1000)
    for path in (garbage, tmp_path, tmp_path / "no" / "folder.db"):
        result = subprocess.run(
            [sys.executable, "-m", "workqueue", "push", str(path), "n", "1"], capture_output=True, timeout=60
        )
        assert (result.returncode, result.stdout) == (3, b"")
        assert result.stderr.startswith(b"workqueue: expected")
        assert result.stderr.count(b"\n") == 1


def test_an_empty_file_is_no_queue(path):
    path.touch()
    assert on(path, ["status"]).exit_code == 3
    assert path.stat().st_size == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["unheard-of"],
        ["status"],
        ["jobs", "f", "--limit", "0"],
        ["jobs", "f", "--after", "-1"],
        ["jobs", "f", "--status", "done"],
        ["show", "f", "x"],
        ["show", "f", str(2**63)],
        ["cancel", "f"],
        ["clean", "f", "--status", "pending"],
        ["status", ""],
        ["status", "a\0b"],
    ],
)
def test_wrong_usage(arguments):
    assert run(*arguments).exit_code == 2


def test_an_unknown_job(path):
    run("push", path, "n", "1")
    result = on(path, ["show", "2"])
    assert result.exit_code == 2
    assert result.stderr.startswith("workqueue: expected the id of a job")


def test_help_names_every_exit_code():
    text = run("--help").stdout
    assert [line.split()[0] for line in text[text.index("Exit codes") :].splitlines()[1:] if line[4] != " "] == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "130",
        "141",
        "143",
    ]


def test_a_reader_that_goes_away_is_met_in_silence(path):
    with Queue(path) as queue:
        queue.push_many("n", range(1000))
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "workqueue", "jobs", str(path), "--limit", "1000"],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (141, b"")


def in_a_shell(words, *arguments):
    """Call the command from a shell. words: what stands behind it, such as >&-."""
    shell = ["sh", "-c", f'"$0" -m workqueue "$@" {words}', sys.executable, *map(str, arguments)]
    return subprocess.run(shell, capture_output=True, timeout=60)


@pytest.mark.parametrize("arguments", [["--help"], ["status", "missing.db"], ["jobs", "--no"], ["--version"], []])
def test_whoever_reads_help_or_errors_may_go_away_too(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "workqueue", *arguments], stdout=writing, stderr=writing, timeout=60
        )
    finally:
        os.close(writing)
    assert result.returncode == 141


def test_what_cannot_be_written_is_a_line_and_a_code():
    result = in_a_shell(">/dev/full", "--help")
    assert (result.returncode, result.stderr) == (3, b"workqueue: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_nobody_who_reads(path, closed):
    run("push", path, "n", "1")
    target = path.with_name("copy.db")
    result = in_a_shell(closed, "status", path)
    assert (result.returncode, result.stderr) == (0, b"")
    result = in_a_shell(closed, "copy", path, target)
    assert (result.returncode, result.stderr) == (0, b"")
    assert run("check", target).exit_code == 0
    result = in_a_shell(closed, "cancel", target, "--name", "n")
    assert result.returncode == 2, "there is no terminal to ask on"


def test_data_from_a_stream_that_is_closed_are_no_json(path):
    result = in_a_shell("<&-", "push", path, "n", "-")
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.startswith(b"workqueue: expected data that is JSON, got b''")
    assert not path.exists()

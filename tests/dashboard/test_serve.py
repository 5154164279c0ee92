"""workqueue serve: what it refuses to start with, what it prints, and that it ends when told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from workqueue import Queue
from workqueue.cli import group

USUAL = ("--port", "0")


@contextmanager
def serve(*arguments: str, cwd: object = None, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the address that it printed."""
    with subprocess.Popen(
        [sys.executable, "-m", "workqueue", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
    ) as process:
        try:
            first = process.stdout.readline()
            assert "the dashboard of" in first, process.stderr.read()
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def get(address: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as answer:
        return answer.read().decode()


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(group, ["serve", *arguments])
    assert done.exit_code in (2, 3), done
    return done.output


@pytest.fixture
def path(tmp_path) -> str:
    with Queue(tmp_path / "jobs.db", auto_start=False) as queue:
        queue.push("task")
    return str(tmp_path / "jobs.db")


def test_a_link_is_printed_and_the_next_when_it_was_opened(path):
    with serve(path, *USUAL) as (process, link):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/sign-in\?key=[\w-]+", link)
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert "read-only" in opener.open(link, timeout=20).read().decode()
        again = process.stdout.readline()
        assert again.startswith("for another browser: http://127.0.0.1:")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(link)
        assert "task" in opener.open(f"{link.partition('/sign-in')[0]}/jobs", timeout=20).read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


def test_ctrl_c_ends_it_though_a_stream_is_open(path, tmp_path):
    (tmp_path / "auth").write_text("0123456789abcdef0123")
    (tmp_path / "auth").chmod(0o600)
    with serve(path, *USUAL, "--auth", str(tmp_path / "auth"), "--allow-write") as (process, address):
        bearer = {"Authorization": "Bearer 0123456789abcdef0123"}
        assert "which may change it" not in get(f"{address}jobs", **bearer)
        stream = urllib.request.urlopen(urllib.request.Request(f"{address}live", headers=bearer), timeout=20)
        assert stream.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
        stream.close()


def test_the_queue_of_a_program_can_be_served(tmp_path):
    (tmp_path / "app.py").write_text(
        "from workqueue import Queue\n"
        f"queue = Queue({str(tmp_path / 'jobs.db')!r}, auto_start=False)\n"
        "queue.push('task')\n"
    )
    with serve("app:queue", *USUAL, "--auth", "ada:correct horse", cwd=tmp_path) as (_, address):
        assert "task" in get(f"{address}jobs", Authorization="Basic YWRhOmNvcnJlY3QgaG9yc2U=")


def test_others_are_let_in_only_with_auth(path):
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        assert "expected --auth" in refused(path, "--host", host)
    assert "expected --host to be an address" in refused(path, "--host", "jobs.example.org")
    with serve(path, *USUAL, "--host", "0.0.0.0", WORKQUEUE_AUTH="ada:correct horse") as (_, address):
        assert re.fullmatch(r"http://localhost:\d+/", address)
        with pytest.raises(urllib.error.HTTPError, match="421"):
            get(address, Host="evil.example")


def test_what_cannot_be_served_is_told(path, tmp_path):
    assert "there is none" in refused(str(tmp_path / "none.db"), *USUAL)
    assert "no such file" in refused(path, "--auth", "ada")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "expected to listen on port" in refused(path, "--port", str(taken.getsockname()[1]))

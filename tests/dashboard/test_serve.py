"""workqueue serve: what it refuses to start with, what it prints, and that it ends when told to."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from browsing import serving
from click.testing import CliRunner
from workqueue import Queue
from workqueue.cli import group
from workqueue.dashboard import app, server

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


def test_who_opens_a_link_is_let_in_though_nobody_reads_the_next_one(path):
    with serve(path, *USUAL) as (process, link):
        process.stdout.close()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert "read-only" in opener.open(link, timeout=20).read().decode()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(link)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        [said] = process.stderr.read().splitlines()
        assert "expected somebody to read the link for another browser, got:" in said


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
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "expected to listen on port" in refused(path, "--port", str(taken.getsockname()[1]))


@pytest.fixture
def dashboard(tmp_path) -> Iterator[app]:
    with Queue(tmp_path / "jobs.db", auto_start=False) as queue:
        made = app(queue)
        yield made
        made.close()


def connected(base: str) -> socket.socket:
    host, _, port = base.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def live(host: str) -> bytes:
    return f"GET /livez HTTP/1.1\r\nHost: {host.removeprefix('http://')}\r\n\r\n".encode()


@pytest.mark.parametrize("said", [b"", b"GET /livez HTTP/1.1\r\nHost: 127.0"])
@pytest.mark.parametrize("before", [False, True])
def test_a_connection_that_says_nothing_or_half_of_something_is_closed(dashboard, monkeypatch, said, before):
    monkeypatch.setattr(server, "_IDLE", 0.05)
    with serving(dashboard) as base, connected(base) as connection:
        if before:
            connection.sendall(live(base))
            assert b"200 OK" in connection.recv(4096)
        connection.sendall(said)
        while connection.recv(4096):
            pass


def test_where_there_are_too_many_connections_one_that_says_nothing_makes_room(dashboard, monkeypatch):
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 2)
    with serving(dashboard) as base, connected(base) as first, connected(base) as second:
        assert first.recv(4096) == b""
        second.sendall(live(base))
        assert b"200 OK" in second.recv(4096)


def test_a_connection_that_takes_nothing_of_its_answer_is_closed(dashboard, monkeypatch):
    async def much(scope, receive, send):
        length = 0 if scope["path"] == "/livez" else 2**26
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
        await send({"type": "http.response.body", "body": bytes(length)})

    monkeypatch.setattr(dashboard, "_app", much)
    monkeypatch.setattr(server, "_IDLE", 0.05)
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 2)
    with serving(dashboard) as base, connected(base) as connection:
        connection.sendall(live(base).replace(b"/livez", b"/"))
        assert b"200 OK" in connection.recv(64)
        answer = b"503"
        while b"503" in answer:  # until the server has let go of the one that takes nothing
            with connected(base) as other:
                other.sendall(live(base))
                answer = other.recv(4096)
        assert b"200 OK" in answer

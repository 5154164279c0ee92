"""The stream that tells pages to look again: bounded, shared, and gone when the server ends."""

from __future__ import annotations

import asyncio
import http.client
import json
from urllib.parse import urlsplit

import pytest
from browsing import serving
from workqueue import Queue
from workqueue.dashboard import app, live
from workqueue.errors import StoreUnavailable

TIMEOUT = 20


class Stream:
    """One that listens."""

    def __init__(self, base: str) -> None:
        where = urlsplit(base)
        self._connection = http.client.HTTPConnection(where.hostname, where.port, timeout=TIMEOUT)
        self._connection.request("GET", "/live")
        self.answer = self._connection.getresponse()

    def line(self, beginning: str) -> str:
        while line := self.answer.readline().decode():
            if line.startswith(beginning):
                return line.removeprefix(beginning).strip()
        return "the end"

    def mark(self) -> str:
        return json.loads(self.line("data: "))["mark"]

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


@pytest.fixture
def queue(tmp_path):
    with Queue(tmp_path / "jobs.db", auto_start=False) as made:
        yield made


def test_it_tells_of_changes_and_of_nothing_else(queue):
    dashboard = app(queue, period=0.02)
    with serving(dashboard) as base:
        stream = Stream(base)
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.answer.headers["cache-control"] == "no-store"
        assert stream.answer.headers["x-accel-buffering"] == "no"
        assert stream.line("retry: ") == "3000"
        before = stream.mark()
        queue.push("task")
        after = stream.mark()
        assert after != before
        queue.pause()
        assert stream.mark() not in (before, after)
        stream.close()
    dashboard.close()


def test_all_streams_share_their_looks(queue, monkeypatch):
    asked = []
    counting = queue._store.overview
    monkeypatch.setattr(queue._store, "overview", lambda: asked.append(1) or counting())
    dashboard = app(queue, period=60)
    with serving(dashboard) as base:
        streams = [Stream(base) for _ in range(8)]
        assert len({stream.mark() for stream in streams}) == 1
        for stream in streams:
            stream.close()
    dashboard.close()
    assert len(asked) == 1


def test_there_are_only_so_many_and_one_that_ends_makes_room(queue, monkeypatch):
    monkeypatch.setattr(live, "MOST_STREAMS", 3)
    dashboard = app(queue, period=0.02)
    with serving(dashboard) as base:
        streams = [Stream(base) for _ in range(3)]
        for stream in streams:
            stream.mark()
        refused = Stream(base)
        assert refused.answer.status == 503
        assert refused.answer.headers["retry-after"] == "30"
        refused.close()
        streams.pop().close()
        while (again := Stream(base)).answer.status == 503:  # until the server has seen it go
            again.close()
        for stream in [*streams, again]:
            stream.close()
    dashboard.close()


@pytest.mark.parametrize("version", ["2.3", "2.4"])
def test_one_that_takes_nothing_ends_and_makes_room(queue, monkeypatch, version):
    monkeypatch.setattr(live, "_PATIENCE", 0.01)
    dashboard = app(queue, period=0.02)
    scope = {
        "type": "http", "asgi": {"spec_version": version}, "method": "GET", "path": "/live", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1), "http_version": "1.1",
    }  # fmt: skip
    words = []

    async def take_one(message):
        words.append(message)
        if len(words) > 2:
            await asyncio.Event().wait()

    async def be_there():
        await asyncio.Event().wait()

    asyncio.run(asyncio.wait_for(dashboard(scope, be_there, take_one), TIMEOUT))
    assert dashboard.live._open == 0
    dashboard.close()


def test_it_says_that_it_is_still_there(queue, monkeypatch):
    monkeypatch.setattr(live, "_BEAT", 0.0)
    dashboard = app(queue, period=0.02)
    with serving(dashboard) as base:
        stream = Stream(base)
        stream.mark()
        assert stream.line(": ") == "still here"
        stream.close()
    dashboard.close()


def test_it_ends_after_a_while_so_that_a_browser_shows_again_that_it_may(queue, monkeypatch):
    monkeypatch.setattr(live, "_LONGEST", 0.05)
    dashboard = app(queue, period=0.02)
    with serving(dashboard) as base:
        stream = Stream(base)
        assert stream.line("nothing begins so") == "the end"
        stream.close()
    dashboard.close()


def test_it_says_when_the_store_is_away_and_when_it_is_back(queue, monkeypatch):
    dashboard = app(queue, period=0.02)
    counting, away = queue._store.overview, [True]

    def overview():
        if away:
            raise StoreUnavailable("away", path="x")
        return counting()

    monkeypatch.setattr(queue._store, "overview", overview)
    with serving(dashboard) as base:
        stream = Stream(base)
        assert stream.mark() == "unreachable"
        away.clear()
        assert stream.mark() != "unreachable"
        stream.close()
    dashboard.close()


def test_it_ends_with_the_server(queue):
    dashboard = app(queue, period=0.02)
    with serving(dashboard) as base:
        stream = Stream(base)
        stream.mark()
    assert stream.line("nothing begins so") == "the end"
    stream.close()
    dashboard.close()


def test_asking_only_for_its_head_opens_none(visitor):
    assert visitor.head("/live").status_code == 200

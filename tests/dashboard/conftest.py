"""Dashboards over small stores, and a client that stands for a browser on the same machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import Browser, found
from dashboard_support import Visitor
from workqueue import Queue
from workqueue.dashboard import access, app, guard

from postgres_fixtures import missing


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """A queue that nobody works for yet."""
    with Queue(tmp_path / "jobs.db", auto_start=False) as made:
        yield made


@pytest.fixture
def visit(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Visitor]]:
    """Make a dashboard of the queue, with these options, and a visitor of it."""
    monkeypatch.setattr(guard, "GUESS", 0.0)
    monkeypatch.setattr(access, "_COST", 2)
    dashboards: list[app] = []

    def make(**options: object) -> Visitor:
        dashboards.append(app(queue, **options))  # type: ignore[arg-type]
        return Visitor(dashboards[-1])

    yield make
    for dashboard in dashboards:
        dashboard.close()


@pytest.fixture
def visitor(visit: Callable[..., Visitor]) -> Visitor:
    """A visitor of a dashboard that may change the queue."""
    return visit(read_only=False)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Chromium, started once."""
    path = found()
    if path is None:
        missing("Chromium: apt-get install chromium, or `make programs` as root")
    browser = Browser(path)
    yield browser
    browser.close()

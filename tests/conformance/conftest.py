"""The store's contract, run on every engine: each test takes a `store`, and leaves it whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from prove.clock import FakeClock
from workqueue.store.contract import Store

from postgres_fixtures import VERSIONS, Servers
from support import open_engine

# The oldest server through a pooler, the newest without: so both are seen, and both ways to one.
ENGINES = ["memory", "sqlite", f"postgres {VERSIONS[-1]}", f"postgres {VERSIONS[0]} pooled"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def place(engine: str, postgres_servers: Servers) -> Iterator[str]:
    """What `open_engine` opens: the engine's name, or the URL of a database with its tables."""
    with postgres_servers.place(engine) as place:
        yield place


@pytest.fixture
def store(place: str, clock: FakeClock, tmp_path: Path) -> Iterator[Store]:
    store = open_engine(place, clock, tmp_path)
    try:
        yield store
        assert store.check() == []
    finally:
        store.close()

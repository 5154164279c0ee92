"""The store's contract, run on every engine: each test takes a `store`, and leaves it whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from prove.clock import FakeClock
from workqueue.store.contract import Store

from support import open_engine

ENGINES = ["memory", "sqlite"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store(engine: str, clock: FakeClock, tmp_path: Path) -> Iterator[Store]:
    store = open_engine(engine, clock, tmp_path)
    try:
        yield store
        assert store.check() == []
    finally:
        store.close()

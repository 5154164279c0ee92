"""What /metrics really says, of stores in which something of each kind has happened."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from held import Exposed, exposed
from prove.clock import FakeClock
from workqueue.store.contract import Store

from postgres_fixtures import VERSIONS, Servers, missing
from support import open_engine


@contextmanager
def made(engine: str, folder: Path, servers: Servers) -> Iterator[Store]:
    if engine == "postgres":
        with servers.database(VERSIONS[-1]) as url, closing(open_engine(url, FakeClock(), folder)) as store:
            yield store
    else:
        with closing(open_engine(engine, FakeClock(), folder)) as store:
            yield store


@pytest.fixture(scope="session")
def by_engine(tmp_path_factory, postgres_servers: Servers) -> dict[str, Exposed]:
    found: dict[str, Exposed] = {}
    for engine in ("sqlite", "postgres"):
        with made(engine, tmp_path_factory.mktemp(engine), postgres_servers) as store:
            found[engine] = exposed(store)
    return found


@pytest.fixture
def promtool() -> Callable[..., str]:
    """Run promtool; give what it said. It must have found nothing wrong."""
    program = shutil.which("promtool")
    if program is None:
        missing("promtool: apt-get install prometheus, or `make programs` as root")

    def run(*arguments: object) -> str:
        done = subprocess.run(
            [program, *map(str, arguments)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run

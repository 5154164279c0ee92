"""What /metrics really says, of stores in which something of each kind has happened."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prove.clock import FakeClock
from workqueue.cli.probing import Place, Several
from workqueue.figures import BOUNDS, Counted
from workqueue.metrics import exposition
from workqueue.store.contract import Store

from postgres_fixtures import VERSIONS, Servers, missing
from support import QUEUE, SECOND, open_engine, push

Exposed = dict[str, dict[str, set[str]]]
"""Of each sample its labels, and of each label the values seen."""


def exposed(store: Store) -> Exposed:
    """Give what a process of `run --processes` that works for this store exposes."""
    counted = Counted(completed=1, failed=1, run_sum=SECOND, run_max=SECOND, run_buckets=(1,) * len(BOUNDS))
    push(store)
    store.ledger.add(QUEUE, {"task": counted})
    found: Exposed = {}
    for family in text_string_to_metric_families(exposition(store) + Several([Place(1)]).metrics()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


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

"""Moving a whole file into a PostgreSQL server and back, every row compared: `workqueue copy --verify`, both ways."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from workqueue import Queue, RecoverableWorkerError

from bench.postgres import missing, server
from bench.samples import Effort
from bench.table import Finding, Section
from bench.work import objects

_JOBS = 1_000_000
_FAILED = 1_000
_TEXT = """\
The jobs of a file, {failed:,} of them with a failed attempt in their history, moved by `workqueue copy --verify`.
*Compared*: of so many rows of all tables the counts and checksums are alike on both sides."""
_HEAD = ("move", "jobs", "seconds", "jobs/s", "compared")


def both_ways(effort: Effort, folder: Path) -> list[Finding]:
    """Move a file into a database, and that into a file."""
    absent = missing("`workqueue copy`")
    if absent:
        return [*absent]
    first, last = folder / "first.db", folder / "last.db"
    failed = effort(_FAILED)
    _fill(first, effort(_JOBS), failed)
    with server() as databases, databases.lend() as url:
        lines = [*_moved("file → PostgreSQL", first, url), *_moved("PostgreSQL → file", url, last)]
    return [Section("`workqueue copy`", _TEXT.format(failed=failed), _HEAD, lines)]


class _Fails:
    def do_work(self, ctx, job) -> None:
        raise RecoverableWorkerError("not now", delay=3600)

    def id(self) -> str:
        return "fails"


def _fill(path: Path, jobs: int, failed: int) -> None:
    with Queue(path, _Fails(), auto_start=False) as queue:
        queue.push_many("no-op", objects(failed))
        queue.start()
        while queue.jobs(status="pending", limit=1):
            time.sleep(0.05)
        queue.stop()
        queue.push_many("no-op", objects(jobs - failed))


def _moved(what: str, source: Path | str, target: Path | str) -> Iterator[tuple[str, ...]]:
    began = time.monotonic()
    command = [sys.executable, "-m", "workqueue", "copy", str(source), str(target), "--verify", "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    if said.returncode:
        raise RuntimeError(f"expected {what} to be copied, got: {said.stderr or said.stdout}")
    found = json.loads(said.stdout)
    alike = sum(one["rows"] for one in found["sums"])
    yield (what, f"{found['jobs']:,}", f"{took:.1f}", f"{found['jobs'] / took:,.0f}", f"{alike:,} rows alike")

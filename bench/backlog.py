"""What a claim costs when very many jobs wait, are not due, or are in the archive."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from workqueue import Queue

from bench.raw_loop import BATCH
from bench.samples import Effort, ratio, spread
from bench.table import Row
from bench.work import NoOp, objects

FEW, MANY = 1_000, 1_000_000
_HIGHEST = 2**31


def waiting(effort: Effort, folder: Path) -> list[Row]:
    """Jobs that may all be claimed."""
    return [_compare(effort, folder, "waiting", _wait)]


def later(effort: Effort, folder: Path) -> list[Row]:
    """Jobs that are not due yet, at the highest priority."""
    return [_compare(effort, folder, "future jobs at the highest priority", _wait_for_tomorrow)]


def archived(effort: Effort, folder: Path) -> list[Row]:
    """Jobs that failed and are kept."""
    return [_compare(effort, folder, "failed jobs in the archive", _fail)]


def _compare(effort: Effort, folder: Path, what: str, fill: Callable[[Queue, int], None]) -> Row:
    count = effort(15_000)
    paths = {size: folder / f"{size}.db" for size in (MANY, FEW)}
    for size, path in paths.items():
        with Queue(path) as queue:
            fill(queue, effort(size))
    rates = effort.in_turn({"many": lambda: _rate(paths[MANY], count), "few": lambda: _rate(paths[FEW], count)})
    middle, lowest, highest = ratio(rates["many"], rates["few"])
    return Row(
        f"claim with {MANY:,} {what}",
        f"≥ 0.8 of the rate with {FEW:,}",
        f"{middle:.2f} × ({lowest:.2f} to {highest:.2f})",
        f"{spread(rates['many'])}; with {FEW:,}: {spread(rates['few'])}",
        reached=middle >= 0.8,
    )


def _rate(path: Path, count: int) -> float:
    """Push so many jobs more, and drain as many as that."""
    worker = NoOp(count)
    with Queue(path, worker, auto_start=False, batch_size=BATCH) as queue:
        queue.push_many("no-op", objects(count))
        began = time.perf_counter()
        queue.start()
        worker.enough.wait()
        return count / (time.perf_counter() - began)


def _wait(queue: Queue, count: int) -> None:
    queue.push_many("no-op", objects(count))


def _wait_for_tomorrow(queue: Queue, count: int) -> None:
    queue.push_many("no-op", objects(count), run_at=datetime.now(UTC) + timedelta(days=1), priority=_HIGHEST)


def _fail(queue: Queue, count: int) -> None:
    queue.push_many("no-op", objects(count))
    with queue.transaction() as database:  # by hand: a million failures would take minutes, and are not the matter here
        database.execute("UPDATE jobs SET status = 3, ready = NULL, attempt = 1, retry_count = 1, settled_at = run_at")
    assert queue.size().failed == count

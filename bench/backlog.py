"""What a claim costs when very many jobs wait, are not due, or are in the archive."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from workqueue import Queue

from bench.peers.raw_loop import BATCH
from bench.samples import Effort, Sample, costs, rates, ratio
from bench.table import Row
from bench.work import NoOp, objects

FEW, MANY = 1_000, 1_000_000
_HIGHEST = 2**31
_AT_ONCE = 50_000  # rows of a transaction


def waiting(effort: Effort, folder: Path) -> list[Row]:
    """Jobs that may all be claimed."""
    return [_compare(effort, folder, "waiting", wait)]


def later(effort: Effort, folder: Path) -> list[Row]:
    """Jobs that are not due yet, at the highest priority."""
    return [_compare(effort, folder, "future jobs at the highest priority", _wait_for_tomorrow)]


def archived(effort: Effort, folder: Path) -> list[Row]:
    """Jobs that failed and are kept."""
    return [_compare(effort, folder, "failed jobs in the archive", _fail)]


def _compare(effort: Effort, folder: Path, what: str, start: Callable[[Queue, int], None]) -> Row:
    count = effort(15_000)
    paths = {size: folder / f"{size}.db" for size in (MANY, FEW)}
    for size, path in paths.items():
        with Queue(path) as queue:
            fill(queue, effort(size), start)
    found = effort.in_turn(
        {"many": lambda: drain_more(paths[MANY], count), "few": lambda: drain_more(paths[FEW], count)}, rounds=5
    )
    held = ratio(rates(found["many"]), rates(found["few"]))
    return Row(
        f"claim with {MANY:,} {what}",
        f"≥ 0.8 of the rate with {FEW:,}",
        held.said("×"),
        f"{costs(found['many'])}; with {FEW:,}: {costs(found['few'])}",
        reached=held.middle >= 0.8,
    )


def drain_more(path: Path, count: int) -> Sample:
    """Push so many jobs more, and drain as many as that."""
    worker = NoOp(count)
    with Queue(path, worker, auto_start=False, batch_size=BATCH) as queue:
        queue.push_many("no-op", objects(count))
        began, cpu = time.perf_counter(), time.process_time()
        queue.start()
        worker.enough.wait()
        return Sample(count / (time.perf_counter() - began), (time.process_time() - cpu) / count)


def fill(queue: Queue, count: int, start: Callable[[Queue, int], None]) -> None:
    """Bring an empty queue to `count` jobs: the first by `start`, the rest as copies of those.

    By hand, because to push or to fail a million takes most of a minute, and is not the matter here.
    """
    first = min(count, FEW)
    start(queue, first)
    done = first
    while done < count:
        more = min(_AT_ONCE, count - done)
        with queue.transaction() as database:
            columns = ", ".join(
                str(name) for _, name, *_ in database.execute("PRAGMA table_info(jobs)").fetchall() if name != "id"
            )
            database.execute(
                f"INSERT INTO jobs ({columns}) SELECT {columns} FROM jobs AS first, json_each(:rounds)"
                " WHERE first.id <= :first ORDER BY key, first.id LIMIT :more",
                {"rounds": f"[{'0,' * (more // first)}0]", "first": first, "more": more},
            )
        done += more
    size = queue.size()
    assert size.waiting + size.failed == count


def wait(queue: Queue, count: int) -> None:
    queue.push_many("no-op", objects(count))


def _wait_for_tomorrow(queue: Queue, count: int) -> None:
    queue.push_many("no-op", objects(count), run_at=datetime.now(UTC) + timedelta(days=1), priority=_HIGHEST)


def _fail(queue: Queue, count: int) -> None:
    queue.push_many("no-op", objects(count))
    with queue.transaction() as database:
        database.execute("UPDATE jobs SET status = 3, ready = NULL, attempt = 1, retry_count = 1, settled_at = run_at")

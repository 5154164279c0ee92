"""What it costs to count what became of jobs, and to keep them; and the room that a million jobs leave behind."""

import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from workqueue import Queue

from bench import backlog
from bench.drain import drain
from bench.peers.raw_loop import BATCH
from bench.postgres import missing, server
from bench.samples import Effort, costs, rates, ratio
from bench.table import Row
from bench.work import NoOp, objects

JOBS = 1_000_000
_MIB = 1024 * 1024
_LITTLE = 8 * _MIB
_PATIENCE = 120.0  # seconds
_LOOK = 0.5


def completed(effort: Effort, folder: Path) -> list[Row]:
    """Drain with each job kept once it has completed, and with none."""
    found = effort.in_turn(
        {
            "kept": lambda: drain("ours", folder, effort(40_000), memory="keeps"),
            "gone": lambda: drain("ours", folder, effort(40_000)),
        },
        rounds=7,
    )
    held = ratio(rates(found["kept"]), rates(found["gone"]))
    return [
        Row(
            "drain no-op jobs and keep them (`keep_completed=`), one process",
            "",
            held.said("× those that leave"),
            f"{costs(found['kept'])}; that leave {costs(found['gone'])}",
            reached=None,
        )
    ]


def figures(effort: Effort, folder: Path) -> list[Row]:
    """Drain and note what became of the jobs, as usual, and without."""
    found = effort.in_turn(
        {
            "counted": lambda: drain("ours", folder, effort(40_000)),
            "uncounted": lambda: drain("ours", folder, effort(40_000), memory="uncounted"),
        },
        rounds=7,
    )
    held = ratio(rates(found["counted"]), rates(found["uncounted"]))
    return [
        Row(
            "drain no-op jobs, with the figures that charts are drawn from, one process",
            "",
            held.said("× without (`figures=False`)"),
            f"{costs(found['counted'])}; without {costs(found['uncounted'])}",
            reached=None,
        )
    ]


def room(effort: Effort, folder: Path) -> list[Row]:
    """The size of a file when all of its jobs have left, and once a worker was idle for a while."""
    count = effort(JOBS)
    path = folder / "ours.db"
    with Queue(path) as queue:
        backlog.fill(queue, count, backlog.wait)
    full = path.stat().st_size
    with Queue(path, NoOp(), auto_start=False, batch_size=BATCH) as queue:
        queue.start()
        queue.wait_idle()
        empty, began = path.stat().st_size, time.monotonic()
        least = settled(lambda: path.stat().st_size, most=empty // 2)
        took = time.monotonic() - began
    last = path.stat().st_size
    return [
        Row(
            f"file after {JOBS:,} jobs have come and gone, beside an idle worker",
            "≤ 8 MiB",
            f"{_mib(last)} of {_mib(full)}",
            f"{_mib(full)} with all of them; {_mib(empty)} when they had left; {_mib(least)} {took:.0f} s later; "
            f"{_mib(last)} closed",
            reached=last <= _LITTLE,
        )
    ]


def postgres_room(effort: Effort, folder: Path) -> list[Row]:
    """The same of the tables in a server, which autovacuum sees to."""
    del folder
    what = f"PostgreSQL: table of jobs, with indexes, after {JOBS:,} have come and gone"
    absent = missing(what)
    if absent:
        return absent
    count = effort(JOBS)
    with server() as databases, databases.lend() as url, psycopg.connect(url, autocommit=True) as session:

        def size() -> int:
            row = session.execute("SELECT pg_total_relation_size('workqueue.jobs')").fetchone()
            return 0 if row is None else int(row[0])

        with Queue(url) as queue:
            queue.push_many("no-op", objects(count))
        full = size()
        with Queue(url, NoOp(), auto_start=False, batch_size=BATCH) as queue:
            queue.start()
            queue.wait_idle()
            empty = size()
            least = settled(size, most=empty // 2)
    return [
        Row(
            what,
            "",
            f"{_mib(least)} of {_mib(full)}",
            f"{_mib(full)} with all of them; {_mib(empty)} when they had left; {_mib(least)} after autovacuum",
            reached=None,
        )
    ]


def settled(size: Callable[[], int], *, most: int) -> int:
    """Wait until a size is no more than `most` and does not change any more; give it. Not for ever, nor for little."""
    last = size()
    until = time.monotonic() + (_PATIENCE if last > _LITTLE else 0)
    while time.monotonic() < until:
        time.sleep(10 * _LOOK if last <= most else _LOOK)
        now = size()
        if now == last <= most:
            break
        last = now
    return last


def _mib(size: int) -> str:
    return f"{size / _MIB:,.1f} MiB"

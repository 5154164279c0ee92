"""Pushing: one by one, from many threads at once, and in bulk."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from workqueue import Queue

from bench.huey_peer import HueyPeer
from bench.raw_loop import RawLoop
from bench.samples import Effort, ratio, spread
from bench.table import Row
from bench.work import objects

THREADS = 32


def one_by_one(effort: Effort, folder: Path) -> list[Row]:
    """Each push is a commit of its own, on one thread."""
    jobs = list(objects(effort(1500)))

    def pushing(push: Callable[[object], object]) -> Callable[[], float]:
        def run() -> float:
            began = time.perf_counter()
            for job in jobs:
                push(job)
            return len(jobs) / (time.perf_counter() - began)

        return run

    loop, huey = RawLoop(folder / "raw.db"), HueyPeer(folder / "huey.db", fsync=True)
    with Queue(folder / "ours.db") as queue:
        rates = effort.in_turn(
            {
                "ours": pushing(lambda job: queue.push("no-op", job)),
                "R": pushing(loop.push),
                "huey": pushing(huey.push),
            }
        )
    loop.close()
    huey.close()
    middle, lowest, highest = ratio(rates["ours"], rates["R"])
    return [
        Row(
            "push one at a time, one thread, fsync",
            "≥ 0.8 R",
            f"{middle:.2f} R ({lowest:.2f} to {highest:.2f})",
            f"{spread(rates['ours'])}; R {spread(rates['R'])}; huey, fsync=True: {spread(rates['huey'])}",
            reached=middle >= 0.8,
        )
    ]


def threads(effort: Effort, folder: Path) -> list[Row]:
    """32 threads push one at a time, against one thread that does."""
    each = effort(100)

    with Queue(folder / "ours.db") as queue:

        def push_each() -> None:
            for job in objects(each):
                queue.push("no-op", job)

        def pushing(count: int) -> float:
            pushers = [threading.Thread(target=push_each) for _ in range(count)]
            began = time.perf_counter()
            for pusher in pushers:
                pusher.start()
            for pusher in pushers:
                pusher.join()
            return count * each / (time.perf_counter() - began)

        rates = effort.in_turn({"many": lambda: pushing(THREADS), "one": lambda: pushing(1)})
    middle, lowest, highest = ratio(rates["many"], rates["one"])
    return [
        Row(
            f"push one at a time, {THREADS} threads",
            "≥ 4 × one thread",
            f"{middle:.2f} × ({lowest:.2f} to {highest:.2f})",
            f"{spread(rates['many'])}; one thread {spread(rates['one'])}",
            reached=middle >= 4,
        )
    ]


def many(effort: Effort, folder: Path) -> list[Row]:
    """Push in bulk: ours in its transactions of 1,000, R all in one."""
    jobs = list(objects(effort(100_000)))

    def timed(push: Callable[[], object]) -> float:
        began = time.perf_counter()
        push()
        return len(jobs) / (time.perf_counter() - began)

    loop = RawLoop(folder / "raw.db")
    with Queue(folder / "ours.db") as queue:
        rates = effort.in_turn(
            {
                "ours": lambda: timed(lambda: queue.push_many("no-op", jobs)),
                "R": lambda: timed(lambda: loop.push_many(jobs)),
            }
        )
    loop.close()
    middle, lowest, highest = ratio(rates["ours"], rates["R"])
    return [
        Row(
            "`push_many`",
            "≥ 0.6 R's executemany",
            f"{middle:.2f} R ({lowest:.2f} to {highest:.2f})",
            f"{spread(rates['ours'])}; R {spread(rates['R'])}",
            reached=middle >= 0.6,
        )
    ]

"""Pushing: one by one, from many threads at once, and in bulk."""

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from workqueue import Queue

from bench import peers
from bench.peers.raw_loop import RawLoop
from bench.samples import Effort, Sample, costs, rates, ratio, timed
from bench.table import Row
from bench.work import objects

THREADS = 32


def one_by_one(effort: Effort, folder: Path) -> list[Row]:
    """Each push is a commit of its own, on one thread."""
    jobs = list(objects(effort(300)))

    def pushing(push: Callable[[object], object]) -> Callable[[], Sample]:
        def all_of_them() -> None:
            for job in jobs:
                push(job)

        return lambda: timed(all_of_them, len(jobs))

    with ExitStack() as stack:
        queue = stack.enter_context(Queue(folder / "ours.db"))
        loop = stack.enter_context(closing(RawLoop(folder / "raw.db")))
        contenders = {"ours": pushing(lambda job: queue.push("no-op", job)), "R": pushing(loop.push)}
        for peer in peers.here():
            opened = stack.enter_context(closing(peer.open(folder / f"{peer.key}.db")))
            contenders[peer.name] = pushing(opened.push)
        found = effort.in_turn(contenders, rounds=9)
    ours, raw = found.pop("ours"), found.pop("R")
    held = ratio(rates(ours), rates(raw))
    return [
        Row(
            "push one at a time, one thread, flushed",
            "≥ 0.8 R",
            held.said("R"),
            "; ".join(
                [costs(ours), f"R {costs(raw)}", *(f"{name}: {costs(theirs)}" for name, theirs in found.items())]
            ),
            reached=held.middle >= 0.8,
        )
    ]


def threads(effort: Effort, folder: Path) -> list[Row]:
    """32 threads push one at a time, against one thread that does."""
    with Queue(folder / "ours.db") as queue:

        def pushing(count: int, each: int) -> Sample:
            def push_each() -> None:
                for job in objects(each):
                    queue.push("no-op", job)

            def at_once() -> None:
                pushers = [threading.Thread(target=push_each) for _ in range(count)]
                for pusher in pushers:
                    pusher.start()
                for pusher in pushers:
                    pusher.join()

            return timed(at_once, count * each)

        found = effort.in_turn(
            {"many": lambda: pushing(THREADS, effort(100)), "one": lambda: pushing(1, effort(700))}, rounds=7
        )
    held = ratio(rates(found["many"]), rates(found["one"]))
    return [
        Row(
            f"push one at a time, {THREADS} threads",
            "≥ 4 × one thread",
            held.said("×"),
            f"{costs(found['many'])}; one thread {costs(found['one'])}",
            reached=held.middle >= 4,
        )
    ]


def many(effort: Effort, folder: Path) -> list[Row]:
    """Push in bulk: ours in its transactions of 1,000, R all in one."""
    jobs = list(objects(effort(50_000)))
    with Queue(folder / "ours.db") as queue, closing(RawLoop(folder / "raw.db")) as loop:
        found = effort.in_turn(
            {
                "ours": lambda: timed(lambda: queue.push_many("no-op", jobs), len(jobs)),
                "R": lambda: timed(lambda: loop.push_many(jobs), len(jobs)),
            },
            rounds=7,
        )
    held = ratio(rates(found["ours"]), rates(found["R"]))
    return [
        Row(
            "`push_many`",
            "≥ 0.6 R's executemany",
            held.said("R"),
            f"{costs(found['ours'])}; R {costs(found['R'])}",
            reached=held.middle >= 0.6,
        )
    ]

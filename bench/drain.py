"""Draining jobs that do nothing: one process, two, and the others. As a program: one draining process."""

import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from workqueue import Queue

from bench.child import Child, ready, say
from bench.huey_peer import HueyPeer
from bench.raw_loop import BATCH, RawLoop
from bench.samples import Effort, ratio, spread
from bench.table import Row
from bench.work import NoOp, objects


def rate(kind: str, folder: Path, count: int, *, processes: int = 1, busy: bool = False) -> float:
    """Give the jobs per second that so many processes of a kind drain, from their start to the last job's end."""
    with TemporaryDirectory(dir=folder) as inside, ExitStack() as stack:
        path = Path(inside) / f"{kind}.db"
        _fill(kind, path, count)
        company = "busy" if busy else "quiet"
        children = [stack.enter_context(Child("bench.drain", kind, path, company)) for _ in range(processes)]
        for child in children:
            child.read()
        began = time.monotonic()
        for child in children:
            child.tell()
        ends = [child.read() for child in children]
    assert sum(end["count"] for end in ends) == count, f"{kind}: expected {count} jobs to run, got: {ends}"
    return count / (max(end["last"] for end in ends if end["count"]) - began)


def _fill(kind: str, path: Path, count: int) -> None:
    if kind == "ours":
        with Queue(path) as queue:
            queue.push_many("no-op", objects(count))
    elif kind == "raw":
        loop = RawLoop(path)
        loop.push_many(objects(count))
        loop.close()
    else:
        huey = HueyPeer(path, fsync=False)
        for obj in objects(count):
            huey.push(obj)
        huey.close()


def one_process(effort: Effort, folder: Path) -> list[Row]:
    """Ours, R, and huey with and without its fsync, each in one process."""
    rates = effort.in_turn(
        {
            "ours": lambda: rate("ours", folder, effort(60_000)),
            "R": lambda: rate("raw", folder, effort(60_000)),
            "huey": lambda: rate("huey", folder, effort(6_000)),
            "huey-fsync": lambda: rate("huey-fsync", folder, effort(2_000)),
        }
    )
    middle, lowest, highest = ratio(rates["ours"], rates["R"])
    peer, peer_lowest, peer_highest = ratio(rates["ours"], rates["huey"])
    return [
        Row(
            "drain no-op jobs, one process",
            "≥ 0.65 R",
            f"{middle:.2f} R ({lowest:.2f} to {highest:.2f})",
            f"{spread(rates['ours'])}; R {spread(rates['R'])}",
            reached=middle >= 0.65,
        ),
        Row(
            "the same, against the fastest embedded peer without its fsync",
            "≥ 8 × huey",
            f"{peer:.1f} × ({peer_lowest:.1f} to {peer_highest:.1f})",
            f"huey {spread(rates['huey'])}; with fsync=True {spread(rates['huey-fsync'])}",
            reached=peer >= 8,
        ),
    ]


def two_processes(effort: Effort, folder: Path) -> list[Row]:
    """Two processes on one file, against one."""
    rates = effort.in_turn(
        {
            "two": lambda: rate("ours", folder, effort(60_000), processes=2),
            "one": lambda: rate("ours", folder, effort(60_000)),
            "R": lambda: rate("raw", folder, effort(60_000), processes=2),
        }
    )
    middle, lowest, highest = ratio(rates["two"], rates["one"])
    return [
        Row(
            "drain, two processes",
            "≥ one process",
            f"{middle:.2f} × ({lowest:.2f} to {highest:.2f})",
            f"{spread(rates['two'])}; one {spread(rates['one'])}; R, two: {spread(rates['R'])}",
            reached=middle >= 1,
        )
    ]


def main(kind: str, path: Path, company: str) -> None:
    if company == "busy":
        threading.Thread(target=_spin, daemon=True).start()
    if kind == "ours":
        worker = NoOp()
        with Queue(path, worker, auto_start=False, batch_size=BATCH) as queue:
            ready()
            queue.start()
            queue.wait_idle()
        say({"count": worker.count, "last": worker.last})
    else:
        peer = RawLoop(path) if kind == "raw" else HueyPeer(path, fsync=kind == "huey-fsync")
        ready()
        say({"count": peer.drain(), "last": time.monotonic()})


def _spin() -> None:
    while True:
        pass


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])

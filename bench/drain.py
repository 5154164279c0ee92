"""Draining jobs that do nothing: one process, two, and the others. As a program: one draining process."""

import statistics
import sys
import threading
import time
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias, cast

from workqueue import Queue

from bench import peers
from bench.child import Child, ready, say
from bench.peers.raw_loop import BATCH, RawLoop
from bench.samples import Effort, Sample, costs, rates, ratio
from bench.table import Row
from bench.work import NoOp, objects

Memory: TypeAlias = Literal["forgets", "keeps", "uncounted"]


def drain(
    kind: str,
    folder: Path,
    count: int,
    *,
    processes: int = 1,
    busy: bool = False,
    interval: float = 0.005,
    memory: Memory = "forgets",
) -> Sample:
    """Let so many processes of a kind drain a new file, from their start until the last job is settled.

    busy: beside a thread that computes. interval: for which Python lets a thread compute before another gets its turn.
    memory: of ours, what is left of a job that completed: its figures; the job itself, too; not even figures.
    """
    with TemporaryDirectory(dir=folder) as inside, ExitStack() as stack:
        path = Path(inside) / "jobs.db"
        _fill(kind, path, count)
        company = "busy" if busy else "quiet"
        words = "bench.drain", kind, path, company, interval, memory
        children = [stack.enter_context(Child(*words)) for _ in range(processes)]
        for child in children:
            child.read()
        began = time.monotonic()
        for child in children:
            child.tell()
        ends = [child.read() for child in children]
    assert sum(end["count"] for end in ends) == count, f"{kind}: expected {count} jobs to run, got: {ends}"
    # One of ours ends when the whole file is idle, as it sees at once for itself and at a poll for others: the first
    # to see it is right. The others end when they find nothing more.
    ended = (min if kind == "ours" else max)(end["ended"] for end in ends)
    return Sample(count / (ended - began), sum(end["cpu"] for end in ends) / count)


def _fill(kind: str, path: Path, count: int) -> None:
    if kind == "ours":
        with Queue(path) as queue:
            queue.push_many("no-op", objects(count))
    elif kind == "raw":
        with closing(RawLoop(path)) as loop:
            loop.push_many(objects(count))
    else:
        peers.find(kind).fill(path, count)


def one_process(effort: Effort, folder: Path) -> list[Row]:
    """Ours, R, and each peer with and without its flush, each in one process."""
    contenders = {
        "ours": lambda: drain("ours", folder, effort(40_000)),
        "R": lambda: drain("raw", folder, effort(40_000)),
    }
    unflushed = [peer.name for peer in peers.here() if not peer.flushed]
    for peer in peers.here():
        contenders[peer.name] = lambda peer=peer: drain(peer.key, folder, effort(1000 if peer.flushed else 2000))
    found = effort.in_turn(contenders, rounds=5)
    ours, raw = found.pop("ours"), found.pop("R")
    held = ratio(rates(ours), rates(raw))
    rows = [
        Row(
            "drain no-op jobs, one process",
            "≥ 0.65 R",
            held.said("R"),
            f"{costs(ours)}; R {costs(raw)}",
            reached=held.middle >= 0.65,
        )
    ]
    what = "the same, against the fastest embedded peer even without its flush"
    said = "; ".join(f"{name}: {costs(theirs)}" for name, theirs in found.items())
    said = "; ".join([said, *(f"**missing** {peer}" for peer in peers.missing())])
    if not unflushed:
        return [*rows, Row(what, "≥ 8 ×", "not measured", said, reached=False)]
    fastest = max(unflushed, key=lambda name: statistics.median(rates(found[name])))
    beside = ratio(rates(ours), rates(found[fastest]))
    return [
        *rows,
        Row(what, "≥ 8 ×", beside.said(f"× {fastest.partition(',')[0]}", digits=1), said, reached=beside.middle >= 8),
    ]


def two_processes(effort: Effort, folder: Path) -> list[Row]:
    """Two processes on one file, against one."""
    found = effort.in_turn(
        {
            "two": lambda: drain("ours", folder, effort(40_000), processes=2),
            "one": lambda: drain("ours", folder, effort(40_000)),
            "R": lambda: drain("raw", folder, effort(40_000), processes=2),
        },
        rounds=5,
    )
    held = ratio(rates(found["two"]), rates(found["one"]))
    return [
        Row(
            "drain, two processes",
            "≥ one process",
            held.said("×"),
            f"{costs(found['two'])}; one {costs(found['one'])}; R, two: {costs(found['R'])}",
            reached=held.middle >= 1,
        )
    ]


def main(kind: str, path: Path, company: str, interval: float, memory: Memory) -> None:
    sys.setswitchinterval(interval)
    if company == "busy":
        compute_in_a_thread()
    with ExitStack() as stack:
        if kind == "ours":
            worker = NoOp()
            keep = timedelta(hours=1) if memory == "keeps" else None
            figures = memory != "uncounted"
            queue = Queue(path, worker, auto_start=False, batch_size=BATCH, keep_completed=keep, figures=figures)
            stack.enter_context(queue)
            ready()
            cpu = time.process_time()
            queue.start()
            queue.wait_idle()
            cpu, ended = time.process_time() - cpu, time.monotonic()
            queue.stop()
            count = worker.count
        else:
            peer = RawLoop(path) if kind == "raw" else peers.find(kind).open(path)
            stack.enter_context(closing(peer))
            ready()
            cpu = time.process_time()
            count = peer.drain()
            cpu, ended = time.process_time() - cpu, time.monotonic()
        say({"count": count, "ended": ended, "cpu": cpu})


def compute_in_a_thread() -> None:
    """Compute without a pause, in a thread that dies with the process."""
    threading.Thread(target=_spin, daemon=True).start()


def _spin() -> None:
    while True:
        pass


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), cast("Memory", sys.argv[5]))

"""An idle worker in another process: how soon it starts a new job, and what it costs. As a program: that worker."""

import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from workqueue import Context, Job, Queue

from bench.child import Child, ready, say
from bench.peers.raw_loop import RawLoop
from bench.samples import Effort, percentile, spread
from bench.table import Row

POLL_RATE = 0.5  # seconds, the default
_ROUNDS = 5
_LONG = 3.0  # seconds of idling in each round, so that a tenth of a per cent can be seen


def pick_up(effort: Effort, folder: Path) -> list[Row]:
    """Push to an idle worker of another process, again and again; then leave it alone."""
    count = effort(100)
    found = effort.in_turn(
        {"ours": lambda: _watch("ours", folder, count, effort), "R": lambda: _watch("raw", folder, count, effort)},
        rounds=_ROUNDS,
    )
    ours, raw = found["ours"], found["R"]
    delays = [delay for watched in ours for delay in watched.delays]
    polled = [delay for watched in raw for delay in watched.delays]
    p50, p99 = percentile(delays, 50), percentile(delays, 99)
    cpu, wakes = [watched.cpu for watched in ours], [watched.wakes for watched in ours]
    return [
        Row(
            "pick-up on an idle worker in another process",
            "p99 ≤ 5 ms",
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
            f"p50 of {len(ours)} rounds {spread([percentile(w.delays, 50) for w in ours], ' ms')}, the longest of all "
            f"{max(delays):.1f} ms, {len(delays)} pushes; R, polling each 1 ms: p50 {percentile(polled, 50):.1f} ms, "
            f"p99 {percentile(polled, 99):.1f} ms, the longest {max(polled):.1f} ms",
            reached=p99 <= 5,
        ),
        Row(
            "idle CPU of that worker",
            f"≤ 0.1 % of a core, no more wake-ups than one per poll_rate ({POLL_RATE} s)",
            f"{statistics.mean(cpu):.3f} %, {statistics.mean(wakes):.1f} wake-ups/s",
            f"{spread(cpu, ' %', 3)}, {spread(wakes, ' wake-ups/s', 1)}; R, polling each 1 ms: "
            f"{spread([watched.cpu for watched in raw], ' %', 1)}",
            reached=statistics.mean(cpu) <= 0.1 and statistics.mean(wakes) <= 1.2 / POLL_RATE,
        ),
    ]


class Watched(NamedTuple):
    """delays: milliseconds from push to begin; cpu: per cent of a core while idle; wakes: per second."""

    delays: list[float]
    cpu: float
    wakes: float


def _watch(kind: str, folder: Path, count: int, effort: Effort) -> Watched:
    """Start a process of that kind, push to it, and then look what it does with nothing to do."""
    with TemporaryDirectory(dir=folder) as inside, ExitStack() as stack:
        path = Path(inside) / "jobs.db"
        if kind == "ours":
            queue = stack.enter_context(Queue(path))
            push = lambda: queue.push("stamp", time.monotonic())  # noqa: E731
        else:
            loop = stack.enter_context(closing(RawLoop(path)))
            push = lambda: loop.push(time.monotonic())  # noqa: E731
        child = stack.enter_context(Child("bench.idle", kind, path))
        child.read()
        child.tell()
        delays = _delays(child, push, count)
        long = {"ours": _LONG, "raw": 0.5}[kind]
        return Watched(delays, *_idling(child.pid, long if effort.share == 1 else 0.2))


def _delays(child: Child, push: Callable[[], object], count: int) -> list[float]:
    """Give the milliseconds from before each push until its job has begun."""
    delays = []
    for _ in range(count):
        time.sleep(random.uniform(0.002, 0.02))  # it shall be asleep again, and not in step with its polls
        push()
        delays.append(child.read() * 1000)
    return delays


def _idling(pid: int, seconds: float) -> tuple[float, float]:
    """Give the CPU (per cent of a core) and the wake-ups per second of all threads of a process that has no work."""
    time.sleep(0.1)
    cpu, wakes = _used(pid)
    began = time.monotonic()
    time.sleep(seconds)
    cpu_later, wakes_later = _used(pid)
    took = time.monotonic() - began
    return (cpu_later - cpu) / took * 100, (wakes_later - wakes) / took


def _used(pid: int) -> tuple[float, int]:
    """Give the seconds of CPU, and how often threads went to sleep; nothing where the system does not say."""
    cpu, wakes = 0.0, 0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        cpu += int((task / "schedstat").read_text().split()[0]) / 1e9
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                wakes += int(line.split()[1])
    return cpu, wakes


class Stamped:
    """Says how long ago each job was pushed."""

    def id(self) -> str:
        return "stamped"

    def do_work(self, ctx: Context, job: Job) -> None:
        now = time.monotonic()
        del ctx
        say(now - job.decode(float))


def main(kind: str, path: Path) -> None:
    if kind == "ours":
        with Queue(path, Stamped(), poll_rate=POLL_RATE):
            ready()
            sys.stdin.readline()  # until the parent is gone
        return
    ready()
    threading.Thread(target=_poll, args=(path,), daemon=True).start()
    sys.stdin.readline()


def _poll(path: Path) -> None:
    loop = RawLoop(path)
    while True:
        pushed_at = loop.take()
        if isinstance(pushed_at, float):
            say(time.monotonic() - pushed_at)
        time.sleep(0.001)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

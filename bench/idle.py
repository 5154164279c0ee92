"""An idle worker in another process: how soon it starts a new job, and what it costs. As a program: that worker."""

import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from workqueue import Context, Job, Queue

from bench.child import Child, ready, say
from bench.raw_loop import RawLoop
from bench.samples import Effort, percentile
from bench.table import Row

POLL_RATE = 0.5  # seconds, the default
_LEAST = 10.0  # seconds of idling, so that a tenth of a per cent can be seen


def pick_up(effort: Effort, folder: Path) -> list[Row]:
    """Push to an idle worker of another process, again and again; then leave it alone."""
    count = effort(400)
    with Queue(folder / "ours.db") as queue, Child("bench.idle", "ours", folder / "ours.db") as child:
        child.read()
        child.tell()
        delays = _delays(child, lambda: queue.push("stamp", time.monotonic()), count)
        cpu, wakes = _idling(child.pid, _LEAST if effort.share == 1 else 0.2)
    loop = RawLoop(folder / "raw.db")
    with Child("bench.idle", "raw", folder / "raw.db") as child:
        child.read()
        child.tell()
        polled = _delays(child, lambda: loop.push(time.monotonic()), count)
        raw_cpu, _ = _idling(child.pid, 1.0 if effort.share == 1 else 0.2)
    loop.close()
    p50, p99 = percentile(delays, 50), percentile(delays, 99)
    return [
        Row(
            "pick-up on an idle worker in another process",
            "p99 ≤ 5 ms",
            f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms",
            f"{count} pushes; R, polling each 1 ms: {percentile(polled, 50) * 1000:.1f} ms, "
            f"{percentile(polled, 99) * 1000:.1f} ms",
            reached=p99 <= 0.005,
        ),
        Row(
            "idle CPU of that worker",
            f"≤ 0.1 % of a core, no more wake-ups than one per poll_rate ({POLL_RATE} s)",
            f"{cpu:.3f} %, {wakes:.1f} wake-ups/s",
            f"R, polling each 1 ms: {raw_cpu:.1f} %",
            reached=cpu <= 0.1 and wakes <= 1.2 / POLL_RATE,
        ),
    ]


def _delays(child: Child, push: Callable[[], object], count: int) -> list[float]:
    delays = []
    for _ in range(count):
        time.sleep(random.uniform(0.002, 0.02))  # it shall be asleep again, and not in step with its polls
        push()
        delays.append(child.read())
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

"""Very many async jobs at once, each asleep for a second."""

import asyncio
import time
from pathlib import Path

from workqueue import Context, Job, Queue

from bench.samples import Effort, ratio, spread
from bench.table import Row

JOBS = 10_000


class Sleeper:
    """Sleeps as long as the job says."""

    def id(self) -> str:
        return "sleeper"

    async def do_work(self, ctx: Context, job: Job) -> None:
        del ctx
        await asyncio.sleep(job.decode(float))


def at_once(effort: Effort, folder: Path) -> list[Row]:
    """10,000 jobs of one process that sleep 1 s, against `asyncio.gather` of the same sleeps."""
    count = effort(JOBS)
    nap = 1.0 if effort.share == 1 else 0.01

    def jobs() -> float:
        with Queue(folder / "ours.db", Sleeper(), auto_start=False, concurrency=JOBS, batch_size=1000) as queue:
            queue.push_many("sleep", [nap] * count)
            began = time.perf_counter()
            queue.start()
            queue.wait_idle()
            return time.perf_counter() - began

    def gather() -> float:
        async def naps() -> None:
            await asyncio.gather(*(asyncio.sleep(nap) for _ in range(count)))

        began = time.perf_counter()
        asyncio.run(naps())
        return time.perf_counter() - began

    took = effort.in_turn({"ours": jobs, "gather": gather}, rounds=3)
    held = ratio(took["ours"], took["gather"])
    return [
        Row(
            f"{JOBS:,} async jobs that sleep 1 s each, one process, all at once",
            "≤ 3 × asyncio.gather",
            held.said("×"),
            f"{spread(took['ours'], ' s')}; gather {spread(took['gather'], ' s')}",
            reached=held.middle <= 3,
        )
    ]

"""Memory while a large queue is drained. As a program: the process that drains it."""

import os
import sys
from pathlib import Path

from workqueue import Context, Job, Queue

from bench import backlog
from bench.child import Child, ready, say
from bench.peers.raw_loop import BATCH
from bench.samples import Effort, spread
from bench.table import Row
from bench.work import NoOp

JOBS = 1_000_000
_MIB = 1024 * 1024


def flat(effort: Effort, folder: Path) -> list[Row]:
    """The resident memory after a tenth of the jobs, and after each further tenth."""
    count = effort(JOBS)
    with Queue(folder / "ours.db") as queue:
        backlog.fill(queue, count, backlog.wait)
    with Child("bench.memory", folder / "ours.db", count) as child:
        child.read()
        child.tell()
        early, *later = (child.read() / _MIB for _ in range(9))
    return [
        Row(
            f"memory while draining {JOBS:,} jobs",
            "flat",
            f"{max(later) / early:.2f} × at most",
            f"{early:.1f} MiB after 10 %; then {spread(later, ' MiB', 1)}",
            reached=max(later) <= early * 1.1,
        )
    ]


class Weighed(NoOp):
    """Says the resident memory at each tenth but the last."""

    def __init__(self, jobs: int) -> None:
        super().__init__()
        self._marks = {jobs * tenth // 10 for tenth in range(1, 10)}

    def do_work(self, ctx: Context, job: Job) -> None:
        super().do_work(ctx, job)
        if self.count in self._marks:
            say(_resident())


def _resident() -> int:
    """Give the bytes of memory in use; 1 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 1


def main(path: Path, jobs: int) -> None:
    with Queue(path, Weighed(jobs), auto_start=False, batch_size=BATCH) as queue:
        ready()
        queue.start()
        queue.wait_idle()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

"""The auditor: what pushers and workers logged, against what the file says. The logs are never written by the store."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from workqueue import JobStatus, Queue


@dataclass
class Verdict:
    acknowledged: int
    ran_again: int
    lost: list[int]
    doubled: list[int]
    stuck: list[int]
    failed_by_losses: list[int]
    broken: list[str]

    def __str__(self) -> str:
        return (
            f"{self.acknowledged:,} jobs acknowledged, lost {len(self.lost)}, effects doubled {len(self.doubled)}, "
            f"stuck {len(self.stuck)}, run more than once {self.ran_again:,}, failed after three losses "
            f"{len(self.failed_by_losses)}"
        )


def audit(queue: Queue, log: Path) -> Verdict:
    """Judge a file on which nothing runs any more."""
    acknowledged: set[int] = set()
    runs: Counter[int] = Counter()
    for line in log.read_text().splitlines():
        word, *ids = line.split()
        if word == "pushed":
            acknowledged.update(map(int, ids))
        else:
            runs[int(ids[0])] += 1
    with queue.transaction() as database:
        effects = Counter(job for (job,) in database.execute("SELECT job FROM effects").fetchall())
        ordered = {job for (job,) in database.execute("SELECT job FROM orders").fetchall()}
        names = dict(database.execute("SELECT id, name FROM jobs").fetchall())
    left = {job.id: job for job in queue.jobs(limit=1_000_000)}
    by_losses = [
        job.id
        for job in left.values()
        if job.status is JobStatus.FAILED
        and [attempt.outcome for attempt in queue.history(job.id)][-3:] == ["lost"] * 3
    ]
    # An order commits with its job: the row is an acknowledgement too. A job that is gone must have run, and an
    # `effect` must have left its one row; the logs do not tell names, the effects do.
    acknowledged |= ordered
    lost = [job for job in acknowledged if job not in left and not runs[job]]
    lost += [job for job in ordered if job not in left and not effects[job]]
    return Verdict(
        acknowledged=len(acknowledged),
        ran_again=sum(count > 1 for count in runs.values()),
        lost=sorted(set(lost)),
        doubled=[job for job, count in effects.items() if count > 1] + [job for job in effects if job in names],
        stuck=[job.id for job in left.values() if job.id not in by_losses],
        failed_by_losses=by_losses,
        broken=queue.check() + integrity(queue.path),
    )


def integrity(path: str) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [line for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
    finally:
        connection.close()

"""A worker process of the machine: `python -m prove.time_faults.program FOLDER SLOT EVENTS OPTIONS`.

It tells of its life by lines: `runs ID`, `began JOB ATTEMPT`, `looked` at the bytes of the dead, `judged` leases too.
In the folder it writes the journal, `rescued` (job, victim) and `early` (a claim before its run_at).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from workqueue import Context, Job, RecoverableWorkerError
from workqueue.job import Claim
from workqueue.lifecycle import FINAL, Settlement
from workqueue.store.clock import micros
from workqueue.store.contract import Turn, Want
from workqueue.store.sqlite.engine import SqliteStore

from prove.journal import Claimed, Ended, Journal, Settled, Started
from prove.time_faults.machine import WallClock, open_queue, since_boot

_FOLDER = Path(sys.argv[1])
_EVENTS = int(sys.argv[3])
_journal = Journal(_FOLDER / "journal")
_files = {name: os.open(_FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) for name in ("rescued", "early")}
_told = threading.Lock()


def tell(text: str) -> None:
    with _told:
        try:
            os.write(_EVENTS, f"{text}\n".encode())
        except BrokenPipeError:  # whoever started it is gone
            os._exit(1)


class WatchedStore(SqliteStore):
    """Writes down what each turn gave and took."""

    turns = 0

    def turn(self, settlements: Sequence[Settlement], want: Want | None) -> Turn:
        turn = super().turn(settlements, want)
        refused = {id(claim) for claim in turn.refused}
        for settlement in settlements:
            job = settlement.claim.job
            if id(settlement.claim) in refused:
                continue
            if settlement.losses:
                os.write(_files["rescued"], f"{job.id} {settlement.claim.runner}\n".encode())
            if settlement.to in FINAL:  # of the others, the next claim may be noted before this
                _journal.note(Settled(at=since_boot(), job=job.id, attempt=job.attempt, to=str(settlement.to)))
        if turn.claims and want is not None:
            self.turns += 1
            for claim in turn.claims:
                self._note(claim, want)
        return turn

    def _note(self, claim: Claim, want: Want) -> None:
        job, now = claim.job, claim.lease_until - micros(want.lease)
        if micros(job.run_at) > max(now, clock.furthest()):
            os.write(_files["early"], f"{job.id} {micros(job.run_at) - now}\n".encode())
        place = micros(job.run_at) if options["timing"] else 0
        fence = {"job": job.id, "attempt": job.attempt, "by": str(claim.runner)}
        _journal.note(Claimed(at=since_boot(), turn=self.turns, priority=job.priority, place=place, **fence))

    def orphans(self, *, expired: bool, limit: int) -> list[Claim]:
        found = super().orphans(expired=expired, limit=limit)
        tell("judged" if expired else "looked")
        return found


class Worker:
    def id(self) -> str:
        return "time"

    def do_work(self, ctx: Context, job: Job) -> None:
        """held: until the machine lets go. again: asks for so many more tries, each so many seconds later."""
        fence = {"job": job.id, "attempt": job.attempt, "by": str(ctx.claim.runner)}
        _journal.note(Started(at=since_boot(), **fence))
        tell(f"began {job.id} {job.attempt}")
        if job.name == "held":
            while not (_FOLDER / "release").exists() and not ctx.cancelled:
                ctx.wait(0.01)
        if job.name == "again":
            times, delay = json.loads(job.data)
            if job.retry_count < times:
                _journal.note(Ended(at=since_boot(), how="again", **fence))
                raise RecoverableWorkerError("once more", delay=delay)
        _journal.note(Ended(at=since_boot(), **fence))


options = json.loads(sys.argv[4])
clock = WallClock(_FOLDER / "clock", int(sys.argv[2]))


def main() -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    queue = open_queue(
        _FOLDER / "jobs.db", clock, WatchedStore, worker=Worker(), poll_rate=0.05, grace=20, **options, auto_start=False
    )

    def freeze(*_: object) -> None:
        with queue._store._database._turn():  # type: ignore[attr-defined]
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    signal.signal(signal.SIGUSR1, freeze)
    queue.start()
    assert queue._runner is not None
    tell(f"runs {queue._runner._id}")
    ended.wait()
    queue.close()


if __name__ == "__main__":
    main()

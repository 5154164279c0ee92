"""The matrix: hostile handlers × executors × states × signals, played in real worker processes and judged.

States. *idle*: the deed was done, and nothing runs. *running*: the handler waits at a gate, and does its deed after the
signal. *draining*: the same, but the process was told to end before. Rows that cannot disturb each other share one.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from workqueue import Job, JobStatus

from prove.audit import Ending, audit
from prove.handlers.stage import PATIENCE, Stage, Worker, until
from prove.handlers.table import CHILD, EXECUTORS, ROWS, THREAD, Row

IDLE: Final = "idle"
RUNNING: Final = "running"
DRAINING: Final = "draining"
STATES: Final = (IDLE, RUNNING, DRAINING)

NONE: Final = "none"
FREEZE: Final = "STOP+CONT"
KILL: Final = "KILL"
SIGNALS: Final = (NONE, "TERM", "TERM+TERM", "INT", FREEZE, KILL)
_NUMBERS: Final = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, KILL: signal.SIGKILL}
_SHARE: Final = 8  # rows that wait at the gate of one process
_SHORT: Final = 4.0  # seconds until an open bug is said to show

_WAITING: Final = (JobStatus.PENDING, JobStatus.RETRYING)


class Group(msgspec.Struct, frozen=True):
    """The cases that are played in one process. executor, state, signal: by their names above."""

    executor: str
    state: str
    signal: str
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        return f"{', '.join(row.name for row in self.rows)} × {self.executor} × {self.state} × {self.signal}"

    @property
    def asked(self) -> int:
        """How often its process is asked to end: the third time, it does so at once."""
        return (self.state == DRAINING) + (0 if self.signal in (NONE, FREEZE, KILL) else self.signal.count("+") + 1)

    @property
    def is_known(self) -> bool:
        """Say whether open bugs are expected to show."""
        return any(row.known for row in self.rows)

    @property
    def patience(self) -> float:
        return _SHORT if self.is_known else PATIENCE

    def codes(self) -> set[int]:
        """Give the exit codes that its process may end with."""
        ends = {130} if self.asked >= 3 else {-9} if self.signal == KILL else {0}
        fatal = {row.code for row in self.rows if row.code is not None}
        if self.state == RUNNING and not self.asked and self.signal != KILL:
            return fatal or ends  # nothing else ends it
        return ends | fatal


def groups(executor: str, state: str, how: str, rows: Sequence[Row] = ROWS) -> Iterator[Group]:
    """Give all the cases there are of these, in as few groups as can be."""
    fit = [row for row in rows if executor in row.executors]
    if state == IDLE:  # what never ends, or takes its process along, leaves nothing idle
        fit = [row for row in fit if row.code is None and not (row.stays or (row.quits and how != NONE))]
    shared = [row for row in fit if not (row.alone or row.stays or row.quits or row.known)]
    share = len(shared) if state == IDLE else os.cpu_count() or 1 if executor == CHILD else _SHARE
    for start in range(0, len(shared), max(1, share)):
        yield Group(executor, state, how, tuple(shared[start : start + share]))
    for row in fit:
        if row not in shared:
            yield Group(executor, state, how, (row,))


def play(group: Group) -> list[str]:
    """Play the group; give what went wrong, as sentences. Where several rows share it, each is then played alone."""
    found = list(_Play(group).run())
    if found and len(group.rows) > 1:
        one_by_one = [play(msgspec.structs.replace(group, rows=(row,))) for row in group.rows]
        found = [text for texts in one_by_one for text in texts] or found
    elif found:
        again = f"python -m prove repeat handlers {group.executor} {group.state} {group.signal} '{group.rows[0].name}'"
        found = [f"{group}: {text}; {again}" for text in found]
    return found


class _Play:
    """One group in one stage."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.stage = Stage(group.executor)
        self.jobs: dict[str, int] = {}
        self.found: list[str] = []
        self.reached = True  # whether the deeds were all come to

    def run(self) -> list[str]:
        try:
            worker = self._start()
            if self.group.state == IDLE:
                self._one_after_another(worker)
            else:
                self._at_the_gate(worker)
            if self.reached:
                self._ask_to_end(worker)
            self._bury(worker)
            self._judge_jobs()
            self._mend()
            self._audit()
        finally:
            self.stage.close()
        return self.found

    def _start(self) -> Worker:
        group = self.group
        stays = any(row.stays for row in group.rows)
        lease = min(row.lease for row in group.rows)
        if group.state != IDLE:
            concurrency = len(group.rows) + 1
        else:
            concurrency = 1 if group.executor == THREAD else 4
        gated = group.state != IDLE
        return self.stage.start(gated=gated, concurrency=concurrency, lease=lease, grace=0.2 if stays else 20)

    def _one_after_another(self, worker: Worker) -> None:
        for row in self.group.rows:
            ids = self.stage.push(row, None, None, None)
            self.jobs[row.name] = ids[0]
            if row.quits:
                self.reached = False
                if worker.code(self.group.patience) is None:
                    self.found.append("its queue has stopped, but the worker process stays, and does nothing")
                return
            if not self._all_settled(worker, ids):
                return
        if not self._all_settled(worker, self.stage.push(None)):
            return
        self._signal(worker)

    def _all_settled(self, worker: Worker, ids: Sequence[int]) -> bool:
        stage = self.stage
        until(lambda: all(map(stage.is_settled, ids)) or not worker.is_alive(), self.group.patience)
        left = [f"{job.name} {job.status}" for job in map(stage.job, ids) if job and job.status is not JobStatus.FAILED]
        left = [text for text in left if not text.endswith("cancelled")]
        if not left:
            return True
        how = "goes on" if worker.is_alive() else f"ended with {worker.process.returncode}"
        self.found.append(
            f"the worker stopped working ({', '.join(left)}; its process {how}: {worker.log.tail()[-2:]})"
        )
        self.reached = False
        return False

    def _at_the_gate(self, worker: Worker) -> None:
        rows = self.group.rows
        self.jobs = dict(zip([row.name for row in rows], self.stage.push(*rows), strict=True))
        if not worker.events.wait("began", len(rows)):
            self.found.append(f"not all handlers began: {worker.log.tail()}")
            self.reached = False
            return
        if self.group.state == DRAINING:
            worker.send(signal.SIGTERM)
            worker.log.wait("draining")
        self._signal(worker)
        worker.open_gate(len(rows))

    def _signal(self, worker: Worker) -> None:
        group = self.group
        if group.signal == FREEZE:
            worker.freeze()
            return
        if group.signal == NONE:
            return
        heard = group.state == DRAINING
        for name in group.signal.split("+"):
            worker.send(_NUMBERS[name])
            if name != KILL and group.state != IDLE:  # else it may have ended, or its log may be in the dark
                worker.log.wait("handing back" if heard else "draining", patience=2)
                heard = True

    def _ask_to_end(self, worker: Worker) -> None:
        """Where nothing was to end the process: it works on, and then drains as anybody would."""
        group = self.group
        if group.asked or group.signal == KILL:
            return
        if any(row.code is not None for row in group.rows):
            return
        if any(row.quits for row in group.rows):
            if worker.code(group.patience) is None:
                self.found.append("its queue has stopped, but the worker process stays, and does nothing")
            return
        ids = [job_id for name, job_id in self.jobs.items() if not self._row(name).stays]
        if self._all_settled(worker, [*ids, *self.stage.push(None)]):
            worker.send(signal.SIGTERM)

    def _row(self, name: str) -> Row:
        return next(row for row in self.group.rows if row.name == name)

    def _bury(self, worker: Worker) -> None:
        """See the process end as it should, and nothing of it stay."""
        group = self.group
        if not self.reached:
            worker.send(signal.SIGKILL)
            self.stage.blame(worker, "stopped working")
            worker.code()
            worker.left_behind()
            return
        code = worker.code(group.patience)
        if code is None:
            self.found.append(f"its process did not end: {worker.log.tail()[-2:]}")
            worker.send(signal.SIGKILL)
            worker.code()
        elif code not in group.codes():
            self.found.append(f"its process ended with {code}, not {group.codes()}: {worker.log.tail()[-3:]}")
        if worker.left_behind():
            self.found.append("it left a process behind")
        if code != 0 or group.asked >= 2 or any(row.stays or row.quits for row in group.rows):
            self.stage.blame(worker, "ended with jobs in hand")

    def _judge_jobs(self) -> None:
        if not self.reached:
            return
        stage, group = self.stage, self.group
        orphans = {claim.job.id for claim in stage.queue._store.orphans(expired=False, limit=1000)}
        died = stage.workers[0].process.returncode != 0
        for job in stage.running():
            if not died:
                self.found.append(f"job {job.id} {job.name!r} was left running by a process that ended well")
            elif job.id not in orphans:
                self.found.append(f"job {job.id} {job.name!r} is running, though its process is dead")
        for name, job_id in self.jobs.items():
            self._judge(self._row(name), stage.job(job_id), may_wait=died or group.asked >= 2)

    def _judge(self, row: Row, job: Job | None, *, may_wait: bool) -> None:
        if job is None:
            ended = "gone" in row.ends or row.stays
        elif job.status in _WAITING:
            counted = job.lost + job.retry_count
            ended = not counted and (may_wait or row.stays or str(job.status) in row.ends)
        elif job.status is JobStatus.RUNNING:
            ended = may_wait  # an orphan: said above otherwise
        else:
            ended = str(job.status) in row.ends and re.search(row.says, job.message) is not None
            if len(job.message) > 1_000:
                self.found.append(f"its message has {len(job.message):,} characters")
        if not ended:
            shown = "completed" if job is None else f"{job.status}: {job.message!r:.300}"
            expected = "completed" if row.ends == ("gone",) else f"{' or '.join(row.ends)} with {row.says!r}"
            self.found.append(f"its job is {shown}, expected {expected}")

    def _mend(self) -> None:
        """Let a worker whose handlers do no harm finish whatever waits: each job, exactly once more."""
        stage = self.stage
        stage.push(None)
        worker = stage.start(tame=True, concurrency=4, lease=60, grace=20)
        if not until(lambda: stage.queue.size().waiting == 0):
            left = [(job.name, str(job.status), job.lost) for job in stage.queue.jobs() if job.settled_at is None]
            self.found.append(f"left undone by a worker after it: {left[:5]}; {worker.log.tail()[-2:]}")
        worker.send(signal.SIGTERM)
        if worker.code() != 0:
            self.found.append(f"the worker after it ended with {worker.process.returncode}")

    def _audit(self) -> None:
        stage = self.stage
        ending = Ending(jobs=stage.queue.jobs(limit=10_000), complaints=stage.queue.check())
        self.found += audit(stage.events(), ending).broken  # type: ignore[arg-type]
        blamed = [job for job in ending.jobs if job.name == "plain"]
        if blamed:
            self.found.append(f"{len(blamed)} neighbours were blamed: {blamed[0].message!r:.200}")


def everything() -> list[Group]:
    """Give the whole matrix."""
    return [g for executor in EXECUTORS for state in STATES for how in SIGNALS for g in groups(executor, state, how)]


def essentials() -> list[Group]:
    """Give each handler once with each executor, no signal in play."""
    found: list[Group] = []
    for executor in EXECUTORS:
        found += groups(executor, IDLE, NONE)
        seen = {row.name for group in found if group.executor == executor for row in group.rows}
        found += [g for g in groups(executor, RUNNING, NONE, [row for row in ROWS if row.name not in seen])]
    return found

"""Store: the verbs an engine must have, and what each promises. The height is that of jobs: no SQL shows here.

Each verb is one transaction, durable when it returns, and safe from any thread and process. Each verb raises
StoreUnavailable when the database cannot be reached just now (then nothing was changed), and QueueClosed after
`close`. The store owns the time: durations come in, its own clock makes instants of them.
`tests/conformance` is this page as tests, run on every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeAlias

import msgspec

from workqueue.job import Attempt, Claim, Job, JobStatus, NewJob, Size
from workqueue.lifecycle import Returned, Settlement
from workqueue.store.batching import Batches
from workqueue.store.ledger import Ledger
from workqueue.store.paging import Changed, Deed, Find, Page
from workqueue.store.situation import Enlisted, Situation
from workqueue.store.surplus import Surplus
from workqueue.store.timetable import Schedules

Durability: TypeAlias = Literal["full", "process", "conservative"]
"""full: survives a power cut. process: survives a crash of the program, but not of the machine. conservative: survives
a power cut by the older means of the engine, where it has one (SQLite: a rollback journal and no WAL); slower."""

Value: TypeAlias = None | int | float | str | bytes
Parameters: TypeAlias = Sequence[Value] | Mapping[str, Value]


class Rows(Protocol):
    """The answer to one statement; iterating gives its rows as tuples."""

    @property
    def rowcount(self) -> int: ...
    @property
    def lastrowid(self) -> int | None:
        """The id of the row that SQLite inserted last; None on PostgreSQL, whose statements say RETURNING."""
        ...

    def fetchone(self) -> tuple[Value, ...] | None: ...
    def fetchall(self) -> list[tuple[Value, ...]]: ...


class Transaction(Protocol):
    """A connection inside one open transaction of the queue's own database.

    `?` takes its value from a sequence, `:name` from a mapping, on every engine; a text is one statement. Raises
    UsageError for one that would end the transaction: that is the block's to do. An error of SQL is the driver's own;
    on PostgreSQL it also ends the transaction, and what follows it, the block's end too, raises UsageError, unless
    ROLLBACK TO a SAVEPOINT undid it.
    """

    def execute(self, sql: str, parameters: Parameters = ()) -> Rows: ...
    def executemany(self, sql: str, rows: Sequence[Parameters]) -> Rows: ...


class Bell(Protocol):
    """How one runner sleeps and is woken. `ring` is safe from any thread; `wait` belongs to the runner's own."""

    def wait(self, timeout: float) -> None:
        """Return when rung since the last `wait`, by us, a push or a cancel; at the latest after `timeout` seconds."""
        ...

    def ring(self) -> None: ...


class Want(msgspec.Struct, frozen=True):
    """What a runner asks for. alone: one job that was lost before, to run with nothing beside it."""

    queue: str
    runner: int
    lease: timedelta
    limit: int
    alone: bool = False


class Turn(msgspec.Struct, frozen=True):
    """What one turn gave: the claims in order, the claims whose settlement was refused, and what comes.

    suspects: a job that was lost before waits to run alone. next_due: until the earliest job that is not due yet.
    held_up: the claims that a transaction of others keeps from being settled; they are to be settled in a later turn.
    """

    claims: list[Claim]
    refused: list[Claim]
    suspects: bool
    next_due: timedelta | None
    held_up: list[Claim] = []


class Beat(msgspec.Struct, frozen=True):
    """What the store says of a runner's claims: attempt by job id, and the jobs that a person wants cancelled."""

    held: dict[int, int]
    cancelled: frozenset[int]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One queue in figures: its jobs by status.

    completed: those that are kept. later: those of the pending and retrying whose `run_at` is to come. oldest_due: the
    `run_at` of the job that, of those that wait and are due, was pushed first.
    """

    queue: str
    pending: int = 0
    retrying: int = 0
    running: int = 0
    failed: int = 0
    cancelled: int = 0
    completed: int = 0
    later: int = 0
    oldest_due: datetime | None = None

    @property
    def due(self) -> int:
        """Jobs that wait, and could start."""
        return self.pending + self.retrying - self.later

    @property
    def jobs(self) -> int:
        """All of them."""
        return self.pending + self.retrying + self.running + self.failed + self.cancelled + self.completed


class TaskStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of one name of a queue in figures. due: that wait, and could start; later: those that cannot yet."""

    queue: str
    name: str
    due: int = 0
    later: int = 0
    running: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def jobs(self) -> int:
        """All of them."""
        return self.due + self.later + self.running + self.failed + self.cancelled


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps the jobs. settings: read back from a connection of ours, by the engine's own names.

    notes: what people should know of this version in this place, known bugs first, as sentences.
    """

    name: str
    version: str = ""
    settings: dict[str, str] = {}
    file_system: str = ""
    notes: list[str] = []


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The whole store, as it is just now: queues that have jobs, runners or a pause, by name; runners, by id.

    moves: what `workqueue copy` has done with the store, or is doing, each as a sentence.
    """

    now: datetime
    queues: list[Standing]
    runners: list[Enlisted]
    engine: Engine
    moves: list[str] = []


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """How a job stands, for those who wait for it. status None: it left the store, and nothing of it was kept.

    result: what it gave, where that was kept, as JSON. progress: what its handler said last, as JSON.
    """

    status: JobStatus | None
    message: str = ""
    result: bytes | None = None
    progress: bytes | None = None


class Store(Protocol):
    """Where jobs are kept. What one more verb costs is a page in docs/decisions."""

    @property
    def path(self) -> str:
        """What it was opened as, for messages."""
        ...

    # push
    def push(self, jobs: Sequence[NewJob], *, within: object | None = None) -> list[int]:
        """Store all the jobs or none; give their ids, rising in the order given. Raises QueueFull.

        Inside this thread's open `transaction` it joins it: the jobs are there when that commits. A job whose key is
        taken is not stored; see NewJob.on_conflict: its place in the answer has the id of who holds it. Raises
        DuplicateJob, UsageError for a batch that is sealed; then nothing was stored.

        within: the application's own connection to this database, see `store.lender`: the jobs are written in the
        transaction that is open there, or begins there with any statement, and are there when it commits. Raises
        UsageError where it is none, or none can be written in. Whatever is raised, the transaction is as it was before.
        Runners hear of the jobs where the connection tells of its commit; else they poll.
        """
        ...

    # claim and settle
    def turn(self, settlements: Sequence[Settlement], want: Want | None) -> Turn:
        """Settle what is done and claim what is wanted, in one transaction.

        A settlement is applied only if its job still runs as that attempt (a Lost verdict: under the very lease that
        was seen); else its claim comes back in `refused`. So does what cannot be settled yet, in `held_up`. Claims: due
        jobs of the queue, higher priority first, then by turn (or `run_at`, as pushed), then id; each with its attempt
        raised by one and leased to the runner.
        Jobs that were lost before come only to `alone`, one at a time. Not claimed, and never in the way of others:
        what is paused, what its lanes do not let start, what follows jobs that have not ended. A job past its
        `expires_at` is cancelled instead. What ends lets those that wait for it come.
        """
        ...

    def transaction(
        self, claim: Claim | None = None, *, returned: Callable[[], Returned] = Returned, stays: bool = False
    ) -> AbstractContextManager[Transaction]:
        """Open a write transaction; it commits when the block ends and rolls back when it raises.

        With a claim, the job is settled as COMPLETED in the same commit, with what `returned` gives then (stays: and is
        kept); raises LeaseLost, rolled back, when the claim was taken back. It holds the only write lock of a SQLite
        file: no network calls inside. On PostgreSQL those of several threads and processes run side by side, as READ
        COMMITTED has it.
        """
        ...

    def is_joined(self) -> bool:
        """Say whether this code is inside an open `transaction`, which the other verbs would join.

        Raises UsageError on another thread that acts in its name.
        """
        ...

    # runners
    def enlist(self, queue: str, label: str) -> int:
        """Register a runner, alive until `retire` or this process's death; give its id, never used before."""
        ...

    def introduce(self, runner: int, lease: timedelta, knows: Collection[str] | None) -> None:
        """Say of a runner, for people, how long its leases are and which names it can run, None: any. May change.

        By their lease it is known since when its jobs run (`Job.claimed_at`), until a beat has kept that.
        """
        ...

    def retire(self, runner: int) -> None:
        """Take the runner off the list. It must hold no claims any more; those it holds are orphans."""
        ...

    def bell(self, runner: int) -> Bell:
        """Give the bell of a runner enlisted here. Pushes and cancels for its queue ring it, from any process."""
        ...

    def beat(self, runner: int, lease: timedelta) -> Beat:
        """Renew the leases of all that the runner holds, and say what that is."""
        ...

    def held(self, runner: int) -> Beat:
        """Say what the runner holds, without renewing anything; cheap enough for every wake-up."""
        ...

    def orphans(self, *, expired: bool, limit: int) -> list[Claim]:
        """Give running jobs whose runner is certainly dead; with `expired`, those whose lease has ended too."""
        ...

    # people
    def get(self, job_id: int) -> Job:
        """Give one job. Raises JobNotFound."""
        ...

    def find(self, which: Find) -> Page:
        """Give a page of the jobs that are meant, as they are now.

        It looks at no more than some 10,000 jobs, so there may be fewer than the limit, or none, and yet a `next`.
        """
        ...

    def change(self, which: Find, deed: Deed) -> Changed:
        """Do it to a page of the jobs that are meant, of those to which it can be done: a transaction for each page.

        A job that came to be otherwise since it was found is left alone.
        """
        ...

    def history(self, job_id: int) -> list[Attempt]:
        """Give the attempts of a job that did not complete, oldest first: the last 100."""
        ...

    def situation(self, job_id: int) -> Situation:
        """Give all that bears on when the job runs, as of one moment. Raises JobNotFound."""
        ...

    def cancel(self, job_id: int) -> bool:
        """Cancel a waiting job, or ask its runner to; False when it was settled already. Raises JobNotFound."""
        ...

    def restore(self, queue: str, job_ids: Collection[int] | None) -> int:
        """Make failed jobs wait again, due now, with fresh counters: all of the queue's, or these (cancelled too)."""
        ...

    def clean(self, queue: str, status: JobStatus) -> int:
        """Delete the queue's jobs of this status, FAILED, CANCELLED or COMPLETED; give how many."""
        ...

    def edit(self, job_id: int, data: bytes, *, was: bytes | None = None) -> bool:
        """Give a job that waits, failed or was cancelled other data; False for another one. Raises JobNotFound.

        was: only while its data are these; else False.
        """
        ...

    def pause(self, queue: str, name: str | None) -> None:
        """Let no more jobs of the queue (or only those of this name) be claimed. Safe to do twice."""
        ...

    def resume(self, queue: str, name: str | None) -> None:
        """Undo that `pause` of the same words."""
        ...

    def paused(self, queue: str) -> list[str | None]:
        """Give what is paused: names, and None for the whole queue, which comes first."""
        ...

    def outlook(self, job_ids: Collection[int]) -> dict[int, Outlook]:
        """Say how these jobs stand; ids that were never given out are left out."""
        ...

    def note_progress(self, runner: int, progress: Mapping[int, bytes]) -> None:
        """Keep what the handlers of these jobs said last, as JSON; of jobs that the runner does not hold, nothing."""
        ...

    def sweep(self, queue: str, limit: int) -> int:
        """End the queue's waiting jobs past their time, up to `limit`, and forget what was kept long enough.

        Gives how many jobs it ended. Safe to do twice.
        """
        ...

    @property
    def batches(self) -> Batches: ...

    @property
    def schedules(self) -> Schedules: ...

    @property
    def surplus(self) -> Surplus: ...

    @property
    def ledger(self) -> Ledger: ...

    def size(self, queue: str) -> Size: ...

    def idle(self, queue: str) -> bool:
        """Say whether nothing of the queue runs, is due, or waits for another try."""
        ...

    def overview(self) -> Overview:
        """Give the figures of every queue, its runners and the engine; for people, so it may take a moment."""
        ...

    def task_standings(self, most: int) -> list[TaskStanding]:
        """Count the newest `most` jobs, but for completed ones, by queue and name, in their order; for people.

        No index has names, so it reads that many rows: these are all where they count up to less.
        """
        ...

    # itself
    def now(self) -> datetime:
        """Give the store's own time."""
        ...

    def check(self) -> list[str]:
        """Give each broken invariant as a sentence; [] when all is well."""
        ...

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        ...

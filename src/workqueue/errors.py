"""Every exception of workqueue, in one tree.

WorkqueueError
├── UsageError                  the caller can mend it; nothing was written
│   ├── InvalidOption           (also ValueError) an argument outside its range
│   ├── InvalidPayload          (also ValueError) data that cannot be encoded, decoded, or is too large
│   ├── JobNotFound             (also LookupError)
│   ├── BatchNotFound           (also LookupError)
│   ├── ScheduleNotFound        (also LookupError)
│   ├── QueueClosed             a verb called after close()
│   ├── DuplicateJob            a job of this key waits or runs already
│   └── ResultNotKept           (also LookupError) nobody asked to keep what this task gives
├── StoreError                  the database said no; its own words are in __cause__
│   ├── StoreUnavailable        worth trying again; a runner does
│   │   └── QueueFull           the disk is full, or nearly: pushes are refused, settling goes on
│   ├── UnsuitableFile          this path cannot hold a queue: a folder, another program's database, damaged …
│   ├── QueueMoved              its jobs were moved to another store by `workqueue copy`, or are being moved
│   └── SchemaOutdated          the file was written by a newer workqueue
├── LeaseLost                   the job was given to another runner meanwhile; nothing was written
├── JobFailed                   asked for its result, a job that failed for good
├── JobCancelled                the same, of one that was cancelled
├── TimedOut                    (also TimeoutError) a job ran past its timeout
├── ChildDied                   the child process that ran a job ended under it
├── RaisedInChild               what an isolated handler raised, as observers see it: its words
└── RecoverableWorkerError, Snooze, Cancel   (control.py) raised by a worker to say how its job goes on

A message says what was expected, what came, and what to do; the values in it are attributes too.
"""

from __future__ import annotations

from typing import TypeVar

_E = TypeVar("_E", bound="WorkqueueError")


class WorkqueueError(Exception):
    """The root: catch it to catch everything this package raises on purpose. Each can be pickled, if its values can."""

    def __reduce__(self) -> tuple[object, ...]:
        return _remade, (type(self), self.args), vars(self)


class UsageError(WorkqueueError):
    """The caller can mend it. Raised before anything is written."""


class InvalidOption(UsageError, ValueError):
    """An argument is outside its range.

    name: the argument; value: what came.
    """

    def __init__(self, message: str, *, name: str, value: object) -> None:
        super().__init__(message)
        self.name = name
        self.value = value


class InvalidPayload(UsageError, ValueError):
    """A job's data cannot be encoded, cannot be decoded, or is over the size limit.

    path: where the bad value stands, as in `$.to[3]`; `$` is the whole.
    """

    def __init__(self, message: str, *, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class JobNotFound(UsageError, LookupError):
    """No such job: never pushed, settled and gone, or cleaned."""

    def __init__(self, job_id: int) -> None:
        super().__init__(f"expected the id of a job in this file, got: {job_id}; completed jobs leave the file")
        self.job_id = job_id


class BatchNotFound(UsageError, LookupError):
    """No such batch: never opened, or done and forgotten."""

    def __init__(self, batch: int) -> None:
        super().__init__(f"expected the id of a batch in this file, got: {batch}")
        self.batch = batch


class ScheduleNotFound(UsageError, LookupError):
    """No such schedule: never registered in this queue, or forgotten."""

    def __init__(self, queue: str, name: str) -> None:
        super().__init__(
            f"expected the name of a schedule of queue {queue!r}, got: {name!r}; it was forgotten, or never registered"
        )
        self.queue = queue
        self.name = name


class QueueClosed(UsageError):
    """The queue was closed; open a new `Queue` on the same path."""

    def __init__(self, path: str) -> None:
        super().__init__(f"expected an open queue, but {path!r} was closed; create a new Queue to go on")
        self.path = path


class DuplicateJob(UsageError):
    """A job of the same task and key waits or runs already; nothing was pushed.

    key: the one that is taken; job_id: who has it.
    """

    def __init__(self, key: str, job_id: int) -> None:
        super().__init__(f"expected no job of key {key!r} to wait or run, but job {job_id} does; nothing was pushed")
        self.key = key
        self.job_id = job_id


class ResultNotKept(UsageError, LookupError):
    """The result of this job is not to be had: it was not kept, or not for so long."""

    def __init__(self, job_id: int) -> None:
        super().__init__(
            f"expected a result of job {job_id}, but none was kept; say keep_results= at its task, and ask in that time"
        )
        self.job_id = job_id


class StoreError(WorkqueueError):
    """The database said no. Its own words are in `__cause__`; `path` names the file."""

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class StoreUnavailable(StoreError):
    """The database cannot be read or written just now; trying again later may work."""


class QueueFull(StoreUnavailable):
    """The disk is full, or nearly so: pushes are refused so that settling and cleaning can go on."""


class UnsuitableFile(StoreError):
    """This path cannot hold a queue; trying again will not help."""


class QueueMoved(StoreError):
    """`workqueue copy` has moved the jobs elsewhere, or is moving them: nothing new is taken here, and nothing run."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"expected {path!r} to be open, but `workqueue copy` has closed it; `workqueue status` says what was moved "
            "where. Point this program there; or finish the copy that was interrupted; or say `workqueue reopen` to "
            "give it up",
            path=path,
        )


class SchemaOutdated(StoreError):
    """The file was written by a newer workqueue than this one.

    found: the schema version in the file; known: the newest this program knows.
    """

    def __init__(self, *, path: str, found: int, known: int) -> None:
        super().__init__(
            f"expected {path!r} to have schema version {known} or older, got: {found}; "
            "it was opened by a newer workqueue: upgrade this program (nothing was changed)",
            path=path,
        )
        self.found = found
        self.known = known


class LeaseLost(WorkqueueError):
    """Another runner holds the job by now: this attempt's verdict was refused and its writes rolled back."""

    def __init__(self, job_id: int, attempt: int) -> None:
        super().__init__(
            f"expected job {job_id} to be running as attempt {attempt}, but it was taken back meanwhile "
            "(its lease ended, or its runner was thought dead); nothing of this attempt was written"
        )
        self.job_id = job_id
        self.attempt = attempt


class JobFailed(WorkqueueError):
    """The job failed for good: its result will never come.

    error: the last one, in one line.
    """

    def __init__(self, job_id: int, error: str) -> None:
        super().__init__(f"expected a result of job {job_id}, but it failed: {error}")
        self.job_id = job_id
        self.error = error


class JobCancelled(WorkqueueError):
    """The job was cancelled, or left the queue without a result: it will never give one."""

    def __init__(self, job_id: int, reason: str) -> None:
        super().__init__(f"expected a result of job {job_id}, but it was cancelled: {reason}")
        self.job_id = job_id
        self.reason = reason


class TimedOut(WorkqueueError, TimeoutError):
    """The job ran past its timeout."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"expected the job to end within {seconds:g} s, but it still ran")
        self.seconds = seconds


class ChildDied(WorkqueueError):
    """The child process that ran the job ended under it: killed, crashed, or out of memory.

    code: its exit code; a negative one is the signal that ended it.
    """

    def __init__(self, message: str, code: int | None) -> None:
        super().__init__(message)
        self.code = code


class RaisedInChild(WorkqueueError):
    """What an isolated handler raised, in the words of its child process. Only observers see it.

    kind: the name of its type; said: its message; traceback: as Python prints it.
    """

    def __init__(self, error: str, traceback: str) -> None:
        super().__init__(error)
        self.kind, _, self.said = error.partition(": ")
        self.traceback = traceback


def _remade(kind: type[_E], words: tuple[object, ...]) -> _E:
    """Make an error that has its words already, and is not to make them of its values once more."""
    error = kind.__new__(kind)
    error.args = words
    return error

"""workqueue: durable background jobs in one SQLite file.

General layout: `queue` is the front door, `job` and `lifecycle` say what a job is and how it may move, `store` keeps
it, `runner` and `executor` run it. docs/architecture.md is the map.
"""

from workqueue.backoff import Backoff
from workqueue.batch import Batch, Chain, chain
from workqueue.context import Context, injected
from workqueue.control import Cancel, RecoverableWorkerError, Snooze
from workqueue.errors import (
    BatchNotFound,
    ChildDied,
    DuplicateJob,
    InvalidOption,
    InvalidPayload,
    JobCancelled,
    JobFailed,
    JobNotFound,
    LeaseLost,
    QueueClosed,
    QueueFull,
    QueueMoved,
    RaisedInChild,
    ResultNotKept,
    ScheduleNotFound,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
    TimedOut,
    UnsuitableFile,
    UsageError,
    WorkqueueError,
)
from workqueue.handle import Handle
from workqueue.job import Attempt, Job, JobStatus, Size, Terms
from workqueue.observer import Observer
from workqueue.queue import Queue
from workqueue.retention import Keep
from workqueue.schedule import Schedule
from workqueue.task import AsyncTask, Call, Task
from workqueue.worker import Worker

__all__ = [
    "AsyncTask",
    "Attempt",
    "Backoff",
    "Batch",
    "BatchNotFound",
    "Call",
    "Cancel",
    "Chain",
    "ChildDied",
    "Context",
    "DuplicateJob",
    "Handle",
    "InvalidOption",
    "InvalidPayload",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobNotFound",
    "JobStatus",
    "Keep",
    "LeaseLost",
    "Observer",
    "Queue",
    "QueueClosed",
    "QueueFull",
    "QueueMoved",
    "RaisedInChild",
    "RecoverableWorkerError",
    "ResultNotKept",
    "Schedule",
    "ScheduleNotFound",
    "SchemaOutdated",
    "Size",
    "Snooze",
    "StoreError",
    "StoreUnavailable",
    "Task",
    "Terms",
    "TimedOut",
    "UnsuitableFile",
    "UsageError",
    "Worker",
    "WorkqueueError",
    "chain",
    "injected",
]

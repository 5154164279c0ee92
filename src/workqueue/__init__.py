"""workqueue: durable background jobs in one SQLite file.

General layout: `queue` is the front door, `job` and `lifecycle` say what a job is and how it may move, `store` keeps
it, `runner` and `executor` run it. docs/architecture.md is the map.
"""

from workqueue.backoff import Backoff
from workqueue.context import Context
from workqueue.control import RecoverableWorkerError
from workqueue.errors import (
    InvalidOption,
    InvalidPayload,
    JobNotFound,
    LeaseLost,
    QueueClosed,
    QueueFull,
    ScheduleNotFound,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
    UnsuitableFile,
    UsageError,
    WorkqueueError,
)
from workqueue.job import Attempt, Job, JobStatus, Size
from workqueue.queue import Queue
from workqueue.schedule import Schedule
from workqueue.worker import Worker

__all__ = [
    "Attempt",
    "Backoff",
    "Context",
    "InvalidOption",
    "InvalidPayload",
    "Job",
    "JobNotFound",
    "JobStatus",
    "LeaseLost",
    "Queue",
    "QueueClosed",
    "QueueFull",
    "RecoverableWorkerError",
    "Schedule",
    "ScheduleNotFound",
    "SchemaOutdated",
    "Size",
    "StoreError",
    "StoreUnavailable",
    "UnsuitableFile",
    "UsageError",
    "Worker",
    "WorkqueueError",
]

"""A program to try the containers with: its jobs take a second. Put yours in its place."""

import os

from workqueue import Context, Queue, injected

queue = Queue(os.environ.get("WORKQUEUE_URL", "/var/lib/workqueue/jobs.db"), concurrency=4)


@queue.task
def work(seconds: float = 1.0, *, ctx: Context = injected) -> None:
    """Take so long, or until the worker is told to end."""
    ctx.wait(seconds)

"""Logging to stderr, as lines for people or as JSON: by a worker process that was told how, and by its children."""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias

import msgspec

from workqueue.logs import JobFilter, JsonFormatter
from workqueue.words import printable

Format: TypeAlias = Literal["text", "json"]


class Logging(msgspec.Struct, frozen=True):
    """What `log_to_stderr` was told."""

    form: Format | None = None
    level: str | None = None


said: Logging | None = None
"""What it was told last in this process; None: nothing, and the program sees to its logs itself."""


class Lines(logging.Formatter):
    """A line for each line, whatever the jobs' data hold; what a job logs itself says which it is.

    All but the first of a record stand further in, so that none of them looks like a record of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        job = getattr(record, "job_id", None)
        if job is not None and not record.name.startswith("workqueue."):
            first, *more = text.split("\n")
            about = f"{first} [job {job} {getattr(record, 'task', '')!r}, attempt {getattr(record, 'attempt', '')}]"
            text = "\n".join([about, *more])
        return "\n    ".join(printable(line) for line in text.split("\n"))


def log_to_stderr(form: Format | None = None, level: str | None = None) -> None:
    """Log to stderr, unless the program has set its own logging up; where a format was asked for, in place of that.

    Children that run isolated jobs do the same, once they have imported what they run.
    """
    global said  # noqa: PLW0603 - there is one of it in each process
    said = Logging(form, level)
    root, ours = logging.getLogger(), logging.getLogger("workqueue")
    if level is not None:
        root.setLevel(level.upper())
        ours.setLevel(level.upper())
    elif form is not None or not root.handlers:
        ours.setLevel(logging.INFO)
    if root.handlers and form is None:
        return
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter() if form == "json" else Lines("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    handler.addFilter(JobFilter())
    root.addHandler(handler)

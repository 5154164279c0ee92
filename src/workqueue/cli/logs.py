"""What `run` logs, and how: to stderr, as lines for people or as JSON."""

from __future__ import annotations

import logging
from typing import Final, Literal, TypeAlias

import click

from workqueue.logs import JobFilter, JsonFormatter
from workqueue.words import printable

Format: TypeAlias = Literal["text", "json"]
_LEVELS: Final = ("debug", "info", "warning", "error")

format_option: Final = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Log so, whatever the program has set up.  [default: text]",
)
level_option: Final = click.option(
    "--log-level", type=click.Choice(_LEVELS), help="Log what is as bad as that.  [default: info, of workqueue alone]"
)


class _Lines(logging.Formatter):
    """A line for each line, whatever the jobs' data hold; what a job logs itself says which it is.

    All but the first of a record stand further in, so that none of them looks like a record of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        job = getattr(record, "job_id", None)
        if job is not None and not record.name.startswith("workqueue."):
            first, *more = text.split("\n")
            said = f"{first} [job {job} {getattr(record, 'task', '')!r}, attempt {getattr(record, 'attempt', '')}]"
            text = "\n".join([said, *more])
        return "\n    ".join(printable(line) for line in text.split("\n"))


def log_to_stderr(form: Format | None = None, level: str | None = None) -> None:
    """Log to stderr, unless the program has set its own logging up; where a format was asked for, in place of that."""
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
        JsonFormatter() if form == "json" else _Lines("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    handler.addFilter(JobFilter())
    root.addHandler(handler)

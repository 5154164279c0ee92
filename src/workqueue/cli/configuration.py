"""What a project says of its queue, so that commands need not be told: WORKQUEUE_URL, and pyproject.toml.

[tool.workqueue]
url = "jobs.db"             # a file, seen from the folder of this pyproject.toml; or postgresql://…
app = "app.tasks:queue"     # what `run` runs
queue = "mail"              # the queue that push, pause, resume and schedules mean; else: default
"""

from __future__ import annotations

import os
import tomllib
from typing import Final

import msgspec

from workqueue.errors import UsageError

VARIABLE: Final = "WORKQUEUE_URL"
_DEFAULT_QUEUE: Final = "default"


class Named(msgspec.Struct, frozen=True):
    """Something that was configured, and by what."""

    value: str
    by: str


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str | None = None
    app: str | None = None
    queue: str | None = None


class Project(msgspec.Struct, frozen=True):
    """The table of a pyproject.toml. folder: where that stands."""

    folder: str
    url: str | None
    app: str | None
    queue: str | None

    @property
    def by(self) -> str:
        return f"[tool.workqueue] of {os.path.join(self.folder, 'pyproject.toml')}"


def project() -> Project | None:
    """Give the table of the nearest pyproject.toml that has one, from the current folder upwards.

    Raises UsageError for one that cannot be read.
    """
    folder = os.getcwd()
    while True:
        found = _table(folder)
        if found is not None:
            return Project(folder, found.url, found.app, found.queue)
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def _table(folder: str) -> _Table | None:
    path = os.path.join(folder, "pyproject.toml")
    try:
        with open(path, "rb") as file:
            whole = tomllib.load(file)
    except FileNotFoundError:
        return None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"expected to read {path!r}, which may say where the jobs are, got: {error}") from error
    tools = whole.get("tool", {})
    if not isinstance(tools, dict) or "workqueue" not in tools:
        return None
    try:
        return msgspec.convert(tools["workqueue"], _Table)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"expected [tool.workqueue] of {path!r} to have no more than url, app and queue, each a text, got: {error}"
        ) from error


def store() -> Named | None:
    """Give the file or URL that a command uses when none is said: that of WORKQUEUE_URL, else the project's."""
    said = os.environ.get(VARIABLE)
    if said:
        return Named(_seen_from(os.getcwd(), said), VARIABLE)
    found = project()
    if found is None or not found.url:
        return None
    return Named(_seen_from(found.folder, found.url), found.by)


def _seen_from(folder: str, url: str) -> str:
    """Give the path of a file, seen from there. A URL, right or wrong, is left as it is, and so is what is refused."""
    return url if "://" in url or url == ":memory:" else os.path.join(folder, url)


def queue() -> str:
    """Give the queue that is meant when none is said."""
    found = project()
    return _DEFAULT_QUEUE if found is None or not found.queue else found.queue

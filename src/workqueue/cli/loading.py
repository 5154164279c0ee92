"""Importing the queue of a program: what `module:queue` means, said or configured."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from typing import NamedTuple

import click

from workqueue.cli import configuration
from workqueue.errors import UsageError, WorkqueueError
from workqueue.queue import Queue
from workqueue.words import printable


class App(NamedTuple):
    """Where a program has its queue. folder: is on the import path, beside the current one."""

    module: str
    attribute: str
    folder: str

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


def app_named(said: str | None) -> App:
    """Give the app that was said, or the one in pyproject.toml. Raises UsageError."""
    project = configuration.project() if said is None else None
    text = said if project is None else project.app
    if text is None:
        raise UsageError(
            "expected module:queue, such as app.tasks:queue, as an argument, or as app in [tool.workqueue] of a "
            "pyproject.toml here or above; got neither"
        )
    module, separator, attribute = text.partition(":")
    if not (module and separator and attribute):
        by = "" if project is None else f" in {project.by}"
        raise UsageError(f"expected module:queue, such as app.tasks:queue, got: {text!r}{by}")
    return App(module, attribute, os.getcwd() if project is None else project.folder)


def load(app: App) -> Queue:
    """Import the Queue object. Raises UsageError, after the traceback of the user's code where that raised."""
    sys.path[:0] = dict.fromkeys([os.getcwd(), app.folder])
    try:
        found: object = import_module(app.module)
    except WorkqueueError:
        raise
    except Exception as error:
        if not _is_missing(error, app.module):
            for line in traceback.format_exc().rstrip().split("\n"):
                click.echo(printable(line), err=True)
        raise UsageError(
            f"expected to import {app.module!r} from {app.folder!r} or the Python path, got: {type(error).__name__}: "
            f"{error}; start in the folder that holds it"
        ) from error
    for name in app.attribute.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, Queue):
        raise UsageError(
            f"expected {app} to be a workqueue.Queue, got: "
            f"{'nothing of that name' if found is None else type(found).__name__}"
        )
    return found


def _is_missing(error: Exception, module: str) -> bool:
    return isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")

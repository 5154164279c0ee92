"""Whether a child process imports the program of its jobs just now: nothing is pushed then, or each child would."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

from workqueue.errors import UsageError

_thread: int | None = None
"""The one that imports; others may run on from an earlier job."""


@contextmanager
def importing() -> Generator[None]:
    """Let this thread push nothing inside the block."""
    global _thread  # noqa: PLW0603 - a child runs one job at a time
    _thread = threading.get_ident()
    try:
        yield
    finally:
        _thread = None


def check_not_importing() -> None:
    """Raise UsageError inside the block."""
    if _thread is not None and _thread == threading.get_ident():
        raise UsageError(
            "expected no push while a child process imports the module of its task, for each child would push again; "
            'what a script does when it is run belongs under `if __name__ == "__main__":`'
        )

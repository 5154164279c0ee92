"""The end of a child that a handler forked and let run on, out of the handler."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

depth: int = 0
"""How many forks lie between this process and the one that imported this; to ask the system for the pid costs more."""


def end_child(error: BaseException | None) -> NoReturn:
    """End this process as the handler's last word says; never as a worker, which it is not."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = 0 if error.code is None else error.code if isinstance(error.code, int) else 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or nobody reads it
            stream.flush()
    os._exit(code & 0xFF)


def _count() -> None:
    global depth  # noqa: PLW0603 - there is one of it in each process
    depth += 1


os.register_at_fork(after_in_child=_count)

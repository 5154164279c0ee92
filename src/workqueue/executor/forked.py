"""The end of a child that a handler forked and let run on, out of the handler."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn


def end_child(error: BaseException | None) -> NoReturn:
    """End this process as the handler's last word says; never as a worker, which it is not."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = 0 if error.code is None else error.code if isinstance(error.code, int) else 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or nobody reads it
            stream.flush()
    os._exit(code & 0xFF)

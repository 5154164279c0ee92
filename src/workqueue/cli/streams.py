"""The standard streams: one that was closed before we began, and one that takes nothing any more."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

from workqueue.cli.codes import Code


def stand_in() -> None:
    """Open the null device where a standard stream is closed (`>&-`): Python has None there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It gets the number of the stream. Else the next file would, with all that a library prints.
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - it stays open
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


@contextmanager
def speaking() -> Generator[None]:
    """Inside, what cannot be written ends the command with its code; in silence where its reader went away."""
    try:
        yield
    except BrokenPipeError:
        # The interpreter's own flush at exit must not find that out again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        raise SystemExit(Code.UNREAD) from None
    except OSError as error:
        from workqueue.cli.output import complain

        with suppress(OSError):
            complain(str(error))
        raise SystemExit(Code.STORE) from None

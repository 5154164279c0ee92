"""A bar on a terminal for what takes long; on anything else, nothing."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

from workqueue.cli.codes import Code
from workqueue.cli.inbox import unwound_by_sigterm

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar


class Progress:
    """Call it with what is done, how much of it, and of how much: each kind of work has a bar of its own."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._what = ""
        self._bar: ProgressBar[int] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bar is None or what != self._what:
            self._stack.close()
            self._what = what
            bar: ProgressBar[int] = click.progressbar(
                length=total, label=what, file=sys.stderr, hidden=not sys.stderr.isatty(), show_pos=True
            )
            self._bar = self._stack.enter_context(bar)
        self._bar.update(done - self._bar.pos)


@contextmanager
def progress() -> Generator[Progress]:
    """Show bars inside the block."""
    # A bar hides the cursor, and a process that is ended where it stands would leave it so.
    ending = unwound_by_sigterm(Code.TERMINATED) if sys.stderr.isatty() else nullcontext()
    with ending, ExitStack() as stack:
        yield Progress(stack)

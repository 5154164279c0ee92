"""The command `workqueue`. Each command's module is imported when it is called; errors become one line and a code."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Final

import click

from workqueue.errors import StoreError, UsageError, WorkqueueError

_COMMANDS: Final = {
    "run": "run",
    "status": "look",
    "jobs": "look",
    "show": "look",
    "push": "change",
    "cancel": "change",
    "restore": "change",
    "clean": "change",
    "check": "look",
    "serve": "serve",
    "bench": "bench",
    "copy": "moving",
    "reopen": "moving",
    "migrate": "moving",
}
_EXIT_CODES: Final = """\b
Exit codes:
  0    all is well
  1    the answer is no: check or copy --verify found something wrong, cancel,
       restore or reopen found nothing to do, clean was not confirmed
  2    wrong usage: an option, the JSON, the id of a job, a module:queue
  3    the file is missing, or cannot be used or reached
  4    run: its worker processes kept dying
  130  run: ended by a third signal; bench: by Ctrl-C
  141  whoever read the output went away
"""


class _Commands(click.Group):
    """The commands by name; turns what they raise into one line on stderr and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command: object = getattr(import_module(f"workqueue.cli.{_COMMANDS[cmd_name]}"), cmd_name)
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> object:
        try:
            result: object = super().invoke(ctx)
        except BrokenPipeError:
            # Nobody reads any more; the interpreter's own flush at exit must not find that out again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(141)
        except (StoreError, OSError) as error:
            _complain(error)
            ctx.exit(3)
        except UsageError as error:
            _complain(error)
            ctx.exit(2)
        except WorkqueueError as error:
            _complain(error)
            ctx.exit(1)
        return result


def _complain(error: Exception) -> None:
    from workqueue.cli.output import complain

    complain(str(error))


@click.group(cls=_Commands, epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--allow-network", is_flag=True, help="Use a FILE on a network file system; safe for one host alone.")
def group(*, allow_network: bool) -> None:
    """Durable background jobs in one SQLite file, or in PostgreSQL: run them, look at them, change them.

    Where a command takes a FILE, it takes the URL of a database as well: postgresql://user@host/name?schema=workqueue.
    """
    del allow_network  # `options.existing` and `push` ask the context for it


def main() -> None:
    """Run the command line, and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a terminal that cannot show a character gets its escape, and not a traceback
            reconfigure(errors="backslashreplace")
    group(prog_name="workqueue")

"""The command `workqueue`. Each command's module is imported when it is called; errors become one line and a code."""

from __future__ import annotations

import difflib
import sys
import textwrap
from importlib import import_module
from typing import Final

import click
from click.exceptions import NoArgsIsHelpError

from workqueue.cli.codes import MEANINGS, Code
from workqueue.cli.command import NAMED_BY
from workqueue.cli.streams import speaking, stand_in
from workqueue.errors import StoreError, UsageError, WorkqueueError

# By section of the help: the commands, and the module of each.
_SECTIONS: Final = {
    "Work": {"run": "run"},
    "Look": {
        "status": "look",
        "jobs": "look",
        "show": "look",
        "why": "look",
        "schedules": "schedules",
        "batches": "batches",
        "serve": "serve",
        "top": "top",
    },
    "Change": {
        "push": "change",
        "cancel": "change",
        "retry": "change",
        "restore": "change",
        "clean": "change",
        "pause": "pausing",
        "resume": "pausing",
    },
    "Files and databases": {
        "check": "look",
        "bench": "bench",
        "backup": "backup",
        "copy": "moving",
        "reopen": "moving",
        "migrate": "moving",
    },
    "Shell": {"completion": "completion"},
}
_COMMANDS: Final = {name: module for section in _SECTIONS.values() for name, module in section.items()}


def _exit_codes() -> str:
    lines: list[str] = []
    for code, meaning in MEANINGS.items():
        first, *more = textwrap.wrap(meaning, 70)
        lines += [f"  {code:<4} {first}", *(f"       {line}" for line in more)]
    return "\n".join(["\b", "Exit codes:", *lines])


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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            _explain(error)
            ctx.exit(Code.USAGE)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS:
            near = difflib.get_close_matches(args[0], _COMMANDS)
            meant = f"; did you mean {' or '.join(near)}?" if near else f"; there are: {', '.join(_COMMANDS)}"
            raise click.UsageError(f"expected a command, got: {args[0]!r}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, names in _SECTIONS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(section):
                formatter.write_dl([(name, command.get_short_help_str(80)) for name, command in commands if command])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        with speaking():  # help is printed on the way
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        with speaking():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> object:
        try:
            result: object = super().invoke(ctx)
        except click.UsageError as error:
            _explain(error)
            ctx.exit(Code.USAGE)
        except click.Abort:
            _complain("nothing was changed")
            ctx.exit(Code.NO)
        except BrokenPipeError:
            raise
        except KeyboardInterrupt:
            _complain("interrupted")
            ctx.exit(Code.INTERRUPTED)
        except (StoreError, OSError) as error:
            _complain(f"{error}{_named(ctx)}")
            ctx.exit(Code.STORE)
        except UsageError as error:
            _complain(f"{error}{_named(ctx) if isinstance(error, LookupError) else ''}")
            ctx.exit(Code.USAGE)
        except WorkqueueError as error:
            _complain(str(error))
            ctx.exit(Code.NO)
        return result


def _named(ctx: click.Context) -> str:
    """Say what named the store, where that was no argument: it may be what is wrong."""
    by = ctx.meta.get(NAMED_BY)
    return "" if by is None else f" (the store was named by {by})"


def _explain(error: click.UsageError) -> None:
    """Say what is wrong with the words of a command, and where there are better ones."""
    _complain(error.format_message())
    if error.ctx is not None:
        click.echo(f"{error.ctx.get_usage()}\n`{error.ctx.command_path} --help` says more.", err=True)


def _complain(line: str) -> None:
    from workqueue.cli.output import complain

    complain(line)


@click.group(cls=_Commands, epilog=_exit_codes(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "--version", package_name="durable-workqueue", message="workqueue %(version)s")
@click.option("--allow-network", is_flag=True, help="Use a FILE on a network file system; safe for one host alone.")
def group(*, allow_network: bool) -> None:
    """Durable background jobs in one SQLite file, or in PostgreSQL: run them, look at them, change them.

    Where a command takes a FILE, it takes the URL of a database as well: postgresql://user@host/name?schema=workqueue.
    It may be left out where the environment has WORKQUEUE_URL, or a pyproject.toml here or above has it as url in
    [tool.workqueue].
    """
    del allow_network  # `options.existing` and `push` ask the context for it


def main() -> None:
    """Run the command line, and exit with its code."""
    stand_in()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a terminal that cannot show a character gets its escape, and not a traceback
            reconfigure(errors="backslashreplace")
    with speaking():
        group(prog_name="workqueue")

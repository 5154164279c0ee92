"""Command: one whose store may be left out, with examples in its help; Listing: several, of which one lists."""

from __future__ import annotations

from typing import Final, cast

import click

from workqueue.cli import configuration
from workqueue.cli.configuration import VARIABLE
from workqueue.errors import UsageError

LIST: Final = "list"
NAMED_BY: Final = "workqueue: what named the store"  # in the context's meta, where no argument did


def examples(*lines: str) -> str:
    """Give what stands below a command's options."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


class StoreArgument(click.Argument):
    """The first argument of a command: a file or a URL, or nothing, where the configuration names it."""


class Command(click.Command):
    """A command whose first argument may be a StoreArgument.

    It was left out when there are fewer arguments than the command takes, or, where any number of ids follows, when the
    first is a number: a file that is called so is `./17`. What should be a number and is none is the store.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        places = [param for param in self.params if isinstance(param, click.Argument)]
        if places and isinstance(places[0], StoreArgument) and not ctx.resilient_parsing:
            said, beyond, _ = self.make_parser(ctx).parse_args(args=list(args))
            given = [word for place in places for word in _words(said.get(place.name or ""))] + beyond
            help_option = self.get_help_option(ctx)
            asks_for_help = help_option is not None and bool(said.get(help_option.name or ""))
            if not asks_for_help and _is_left_out(places, given):
                args = [self._configured(ctx, places), *args]
        return super().parse_args(ctx, args)

    def _configured(self, ctx: click.Context, places: list[click.Argument]) -> str:
        found = configuration.store()
        if found is None:
            what = places[0].make_metavar(ctx).strip("[]")
            raise UsageError(
                f"expected {what} as an argument, or in {VARIABLE}, or as url in [tool.workqueue] of a pyproject.toml "
                f"here or above; got none of the three. Say `{ctx.command_path} {what} …`; "
                f"`{ctx.command_path} --help` has examples"
            )
        ctx.meta[NAMED_BY] = found.by
        return found.value


class Listing(click.Group):
    """A group that lists when no command is said."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_said = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if is_said or ctx.resilient_parsing else [LIST, *args])


def _words(value: object) -> list[str]:
    """Give what was said for an argument; there may be nothing, which click writes in more than one way."""
    several = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
    return [word for word in several if isinstance(word, str)]


def _is_left_out(places: list[click.Argument], given: list[str]) -> bool:
    if any(place.nargs < 0 for place in places):
        return not given or given[0].isdecimal()
    if len(given) >= len(places):
        return False
    return not (given and isinstance(places[1].type, click.IntRange) and not given[0].isdecimal())

"""completion: what the shell offers after Tab. It looks at a page of jobs at most, and never says what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from typing import Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from workqueue.cli import configuration
from workqueue.cli.command import Command, examples
from workqueue.errors import UsageError, WorkqueueError
from workqueue.job import Job
from workqueue.store import is_url, open_existing
from workqueue.store.paging import Find

_LOOKED_AT: Final = 200  # jobs
_VARIABLE: Final = "_WORKQUEUE_COMPLETE"  # as click calls it
_SHELLS: Final = ("bash", "zsh", "fish")


@click.command(
    cls=Command,
    short_help="Print what makes a shell complete words.",
    epilog=examples(
        'eval "$(workqueue completion bash)"                    # in ~/.bashrc',
        'eval "$(workqueue completion zsh)"                     # in ~/.zshrc',
        "workqueue completion fish > ~/.config/fish/completions/workqueue.fish",
    ),
)
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options, statuses, and the names and queues of a store."""
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"expected a shell that click knows ({', '.join(_SHELLS)}), got: {shell!r}")
    root = click.get_current_context().find_root()
    click.echo(kind(root.command, {}, "workqueue", _VARIABLE).source())


def complete_paths(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell offer files."""
    del ctx, param
    return [CompletionItem(incomplete, type="file")]


def complete_queues(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the queues that jobs of the store are in."""
    del param
    return _offered(ctx, incomplete, lambda job: job.queue)


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names that jobs of the store have."""
    del param
    return _offered(ctx, incomplete, lambda job: job.name)


def _offered(ctx: click.Context, incomplete: str, word: Callable[[Job], str]) -> list[CompletionItem]:
    # An option without its value so far leaves the arguments unread.
    said: object = ctx.params.get("file") or next(iter(ctx.args), None)
    try:
        named = configuration.store()
        is_store = isinstance(said, str) and (is_url(said) or os.path.exists(said))  # else it may be a name, or an id
        path = said if is_store else None if named is None else named.value
        if not isinstance(path, str):
            return []
        with closing(open_existing(path)) as store:
            found = {word(job) for job in store.find(Find(newest_first=True, limit=_LOOKED_AT)).jobs}
    except (WorkqueueError, OSError):  # whoever presses Tab asked no question that this would answer
        return []
    return [CompletionItem(one) for one in sorted(found) if one.startswith(incomplete) and one.isprintable()]

"""pause, resume: whether jobs of a queue are started."""

from __future__ import annotations

import click

from workqueue.arguments import checked_name
from workqueue.cli.codes import Code
from workqueue.cli.command import Command, examples
from workqueue.cli.completion import complete_names
from workqueue.cli.options import existing, file_argument, its_queue_option
from workqueue.cli.output import complain, say
from workqueue.store.contract import Store

_names = click.option("--name", "names", multiple=True, shell_complete=complete_names, help="Only jobs of this name.")


@click.command(
    cls=Command,
    short_help="Let no more jobs be started.",
    epilog=examples(
        "workqueue pause jobs.db                    # queue default, whole",
        "workqueue pause jobs.db --queue mail --name app.send --name app.remind",
    ),
)
@file_argument
@its_queue_option
@_names
def pause(file: str, *, queue: str, names: tuple[str, ...]) -> None:
    """Let no more jobs of a queue be started, or only none of some names. What runs goes on.

    It holds, for every process, until `workqueue resume` with the same words.
    """
    with existing(file) as store:
        for where, name in _meant(store, queue, names):
            store.pause(where, name)
            say(f"paused: {pause_said(where, name)}")


@click.command(
    cls=Command,
    short_help="Undo a pause.",
    epilog=examples("workqueue resume jobs.db", "workqueue resume jobs.db --queue mail --name app.send"),
)
@file_argument
@its_queue_option
@_names
@click.pass_context
def resume(ctx: click.Context, file: str, *, queue: str, names: tuple[str, ...]) -> None:
    """Undo a pause: of a queue, or of the names that were paused in it."""
    undone = 0
    with existing(file) as store:
        for where, name in _meant(store, queue, names):
            if name not in store.paused(where):
                complain(f"{pause_said(where, name)} was not paused")
                continue
            store.resume(where, name)
            undone += 1
            say(f"resumed: {pause_said(where, name)}")
        left = store.paused(queue)
    for name in left:
        complain(f"still paused: {pause_said(queue, name)}")
    if not undone:
        ctx.exit(Code.NO)


def _meant(store: Store, queue: str, names: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """Give the pauses that are meant, each by its queue and name."""
    checked_name(queue, "queue")
    known = {standing.queue for standing in store.overview().queues}
    if queue not in known:
        complain(
            f"note: nothing is known of queue {queue!r} so far; known: {', '.join(map(repr, sorted(known))) or 'none'}"
        )
    return [(queue, checked_name(name, "name")) for name in names] or [(queue, None)]


def pause_said(queue: str, name: str | None) -> str:
    """Give a pause in words: of a queue, or of the jobs of one name in it."""
    return f"queue {queue!r}" if name is None else f"jobs called {name!r} of queue {queue!r}"

"""backup: a copy of a file as of one moment, while others work on it."""

from __future__ import annotations

import time

import click

from workqueue.cli.codes import Code
from workqueue.cli.command import Command, examples
from workqueue.cli.completion import complete_paths
from workqueue.cli.inbox import unwound_by_sigterm
from workqueue.cli.options import as_path, existing, json_option, store_argument
from workqueue.cli.output import say, say_json
from workqueue.cli.progress import progress
from workqueue.duration import times
from workqueue.errors import UsageError
from workqueue.store import back_up, is_url
from workqueue.words import printable


@click.command(
    cls=Command,
    short_help="Copy a file while workers go on.",
    epilog=examples(
        "workqueue backup jobs.db /backups/jobs-monday.db",
        "workqueue backup jobs.db /backups/jobs.db --force       # every night, in place of the last one",
        "cp /backups/jobs.db elsewhere.db                        # back again; docs/cli.md says what to mind",
    ),
)
@store_argument("source", "SOURCE")
@click.argument("target", callback=as_path, shell_complete=complete_paths)
@click.option("--force", is_flag=True, help="Replace TARGET if it is there.")
@json_option
def backup(source: str, target: str, *, force: bool, as_json: bool) -> None:
    """Copy the file SOURCE to TARGET as it is at one moment, while workers go on.

    The copy is examined, and put in its place whole. Jobs that ran at that moment wait again in it. A database has its
    own means: for a URL, the words for pg_dump are said.
    """
    if is_url(target):
        raise UsageError("expected the path of a file to put the backup in, got a URL; `workqueue copy` goes there")
    began = time.monotonic()
    with existing(source) as store, unwound_by_sigterm(Code.TERMINATED), progress() as tell:
        made = back_up(store, target, force=force, tell=tell)
        path = store.path
    seconds = time.monotonic() - began
    if as_json:
        say_json(
            {
                "source": printable(path),
                "target": printable(made.path),
                "jobs": made.jobs,
                "handed_back": made.handed_back,
                "bytes": made.size,
                "seconds": round(seconds, 3),
            }
        )
        return
    jobs = times(made.jobs, "job")
    say(f"backed up {jobs} of {path} to {made.path}: {made.size:,} bytes in {seconds:.1f} s, nothing wrong")
    if made.handed_back:
        say(f"{times(made.handed_back, 'job')} that ran wait{'s' if made.handed_back == 1 else ''} again there")

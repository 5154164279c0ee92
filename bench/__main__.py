"""`python -m bench` prints the speed table; `--write` keeps it in docs/performance.md."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench import (
    backlog,
    capacity,
    drain,
    idle,
    keeping,
    limits,
    memory,
    moving,
    neighbour,
    pages,
    payloads,
    postgres,
    profile,
    push,
    rescue,
    sleepers,
    wal,
    within,
)
from bench.child import ROOT
from bench.samples import FULL, QUICK
from bench.table import Finding, describe_machine, report, write_page

SCENARIOS = {
    "push": push.one_by_one,
    "push-threads": push.threads,
    "push-many": push.many,
    "push-within": within.in_a_file,
    "drain": drain.one_process,
    "drain-two": drain.two_processes,
    "idle": idle.pick_up,
    "waiting": backlog.waiting,
    "future": backlog.later,
    "archive": backlog.archived,
    "unlimited": limits.unlimited,
    "limited": limits.limited,
    "neighbour": neighbour.cpu_bound,
    "rescue": rescue.killed,
    "memory": memory.flat,
    "figures": keeping.figures,
    "kept": keeping.completed,
    "room": keeping.room,
    "sleepers": sleepers.at_once,
    "pages": pages.of_a_file,
    "postgres-push": postgres.push,
    "postgres-within": within.in_a_server,
    "postgres-drain": postgres.drain,
    "postgres-waiting": postgres.waiting,
    "postgres-room": keeping.postgres_room,
    "postgres-pages": pages.of_a_server,
    "payloads": payloads.sizes,
    "postgres-wal": wal.sizes,
    "postgres-snapshot": wal.snapshot,
    "postgres-capacity": capacity.costs,
    "copy": moving.both_ways,
    "profile": profile.parts,
}


@click.command()
@click.option("--only", type=click.Choice(list(SCENARIOS)), multiple=True, help="Run this scenario; may be repeated.")
@click.option("--quick", is_flag=True, help="Tiny sizes, one round: to see that it works. The figures mean nothing.")
@click.option("--write", is_flag=True, help="Keep the table in docs/performance.md.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path(),
              help="Put the files of the run there, on the file system to be measured.  [default: here]")  # fmt: skip
def main(only: tuple[str, ...], folder: Path, *, quick: bool, write: bool) -> None:
    """Measure the speed of workqueue beside a hand-written loop and a peer, and print one table."""
    if write and (quick or only):
        raise click.UsageError("expected --write to be alone: the page holds the whole table at its full size")
    machine = describe_machine(folder)
    found: list[Finding] = []
    for name in only or SCENARIOS:
        began = time.monotonic()
        click.echo(f"{name} …", err=True, nl=False)
        with TemporaryDirectory(dir=folder, prefix=".bench-") as inside:
            found += SCENARIOS[name](QUICK if quick else FULL, Path(inside).resolve())
        click.echo(f" {time.monotonic() - began:.1f} s", err=True)
    click.echo(report(found, machine))
    if write:
        write_page(ROOT / "docs" / "performance.md", found, machine)


if __name__ == "__main__":
    sys.exit(main())

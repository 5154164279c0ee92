"""bench: what the disk under a folder lets a queue do, in ten seconds."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, get_args

import click

from workqueue.cli import configuration
from workqueue.cli.codes import Code
from workqueue.cli.command import examples
from workqueue.cli.completion import complete_paths
from workqueue.cli.inbox import unwound_by_sigterm
from workqueue.cli.options import existing, json_option, network_allowed
from workqueue.cli.output import complain, facts, say, say_json
from workqueue.cli.trial import PUSHERS, Times, Trial, measure, place
from workqueue.store import is_url
from workqueue.store.contract import Durability, Engine
from workqueue.words import printable

_FASTEST_DISK: Final = 20e-6  # seconds a flush; memory answers sooner


def _as_folder(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """Give the folder that the path of a file is in, or that it is; without one, that of the store that is meant."""
    if value is None:
        found = configuration.store()
        value = "." if found is None else found.value
    scheme, separator, _ = value.partition("://")
    if is_url(value):
        return value
    if separator:  # of what follows nothing is said: it may hold a password
        raise click.BadParameter(f"expected a file, a folder or a postgresql:// URL, got: {scheme}://…", ctx, param)
    if not value or "\0" in value or value == ":memory:":
        raise click.BadParameter(f"expected a file or a folder on the disk to measure, got: {value!r}", ctx, param)
    path = os.path.realpath(value)
    return path if os.path.isdir(path) else os.path.dirname(path)


@click.command(
    short_help="Measure what a disk or a server lets a queue do.",
    epilog=examples(
        "workqueue bench", "workqueue bench /srv/jobs --seconds 5", "workqueue bench postgresql://me@host/jobs"
    ),
)
@click.argument("folder", metavar="[FILE|FOLDER]", required=False, callback=_as_folder, shell_complete=complete_paths)
@click.option(
    "--durability", type=click.Choice(get_args(Durability)), default="full", show_default=True, help="As that of Queue."
)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 600), default=10.0, show_default=True, help="Measure for about so long."
)
@json_option
@click.pass_context
def bench(ctx: click.Context, folder: str, *, durability: Durability, seconds: float, as_json: bool) -> None:
    """Measure what the disk under FILE, or the database of a URL, lets a queue do.

    It makes a queue of its own beside FILE and removes it at the end, also after Ctrl-C; FILE itself is not touched,
    and need not exist. Without one it means the store that the configuration names, else the current folder.
    """
    load = os.getloadavg()[0]
    try:
        with unwound_by_sigterm(Code.TERMINATED), _progress() as tell, place(folder) as path:
            found = measure(path, durability=durability, seconds=seconds, allow_network=network_allowed(), tell=tell)
            with existing(path) as store:
                engine = store.overview().engine
                folder = store.path if is_url(folder) else folder
    except KeyboardInterrupt:
        complain("stopped; what it had made is removed")
        ctx.exit(Code.INTERRUPTED)
    if as_json:
        _say_as_json(folder, durability, load, engine, found)
    else:
        _say_for_people(folder, durability, load, engine, found)


class _Progress:
    """One line on a terminal that says what is being measured."""

    def __init__(self) -> None:
        self._width = 0
        self._shown = sys.stderr.isatty()

    def __call__(self, what: str) -> None:
        if self._shown:
            self._write(f"measuring: {what} …")

    def clear(self) -> None:
        if self._width:
            self._write("")

    def _write(self, line: str) -> None:
        click.echo(f"\r{printable(line):<{self._width}}\r{printable(line)}", nl=False, err=True)
        self._width = len(line)


@contextmanager
def _progress() -> Generator[_Progress]:
    progress = _Progress()
    try:
        yield progress
    finally:
        progress.clear()


def _machine() -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {cores} cores",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _say_as_json(folder: str, durability: Durability, load: float, engine: Engine, found: Trial) -> None:
    say_json(
        {
            "folder": printable(folder),
            **_machine(),
            "load": load,
            "engine": engine,
            "durability": durability,
            "flush_seconds": found.flush,
            "commit_seconds": found.commit,
            "pushes_per_second": found.push,
            f"pushes_per_second_{PUSHERS}_threads": found.push_threads,
            "push_many_per_second": found.push_many,
            "drain_per_second": found.drain,
            "pick_up_seconds": {"same_process": found.pick_up_thread, "other_process": found.pick_up_process},
            "conclusion": _conclusion(durability, engine, found),
        }
    )


def _say_for_people(folder: str, durability: Durability, load: float, engine: Engine, found: Trial) -> None:
    machine = _machine()
    facts(
        [
            ("database" if is_url(folder) else "folder", folder),
            ("file system", "" if is_url(folder) else engine.file_system or "unknown"),
            ("machine", f"{machine['system']}, load before {load:.1f}"),
            ("versions", f"{machine['python']}, {engine.name} {engine.version}"),
            ("durability", durability),
        ]
    )
    say()
    facts(
        [
            ("flush of 4 KiB", "" if found.flush is None else _milliseconds(found.flush)),
            ("commit of one job", _milliseconds(found.commit)),
            ("push, one thread", f"{_rounded(found.push)} jobs/s"),
            (f"push, {PUSHERS} threads", f"{_rounded(found.push_threads)} jobs/s"),
            ("push_many", f"{_rounded(found.push_many)} jobs/s"),
            ("run jobs that do nothing", f"{_rounded(found.drain)} jobs/s"),
            ("pick-up, same process", _milliseconds(found.pick_up_thread)),
            ("pick-up, another process", _milliseconds(found.pick_up_process)),
        ]
    )
    say()
    say(_conclusion(durability, engine, found))
    for note in engine.notes:
        say(f"note: {note}")


def _conclusion(durability: Durability, engine: Engine, found: Trial) -> str:
    """Say what the disk allows."""
    if found.flush is None:
        return (
            f"a push takes {found.commit.median * 1000:.2g} ms from here, the way to the server and its commit: at "
            f"most about {_rounded(1 / found.commit.median)} pushes/s by one thread; push_many shares the way"
        )
    flush = found.flush.median
    takes = f"a flush takes {flush * 1000:.2g} ms here"
    if flush < _FASTEST_DISK:
        return (
            f"{takes}, which is faster than disks are: {engine.file_system or 'this file system'} keeps it in memory, "
            "and a power cut would lose it"
        )
    most = f"{_rounded(1 / flush)} durable pushes/s by one thread"
    match durability:
        case "full":
            return f"{takes}: at most about {most}; threads that push at once share flushes, and so does push_many"
        case "process":
            return (
                f"{takes}, and durability=process pushes without: a power cut may lose the last jobs; "
                f"durability=full would allow at most about {most}"
            )
        case "conservative":
            return f"{takes}, and each push without a write-ahead log needs several: far fewer than {most}"


def _milliseconds(times: Times) -> str:
    return f"median {times.median * 1000:.2f} ms, p99 {times.p99 * 1000:.2f} ms ({times.count:,} times)"


def _rounded(rate: float) -> str:
    """Give two digits of a rate: a trial of seconds knows no more.

    >>> _rounded(4873.2), _rounded(86.4)
    ('4,900', '86')
    """
    return f"{float(f'{rate:.2g}'):,.0f}"

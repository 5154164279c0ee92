"""`python -m prove run quick|DURATION` breaks what is around us, `planted` breaks us, `repeat` does one again."""

from __future__ import annotations

import os
import secrets
import sys
from datetime import timedelta
from typing import Final

import click
from workqueue.duration import parse_duration

from prove import crash, planted, reliability
from prove.harnesses import HARNESSES, REPEAT, hush, play
from prove.verdict import Verdict

_QUICK: Final = timedelta(seconds=40)
_PEERS_SHARE: Final = 0.05


class _Size(click.ParamType[timedelta]):
    name = "quick|DURATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return _QUICK if value == "quick" else parse_duration(str(value))
        except ValueError as error:
            self.fail(f"expected quick, or a duration such as 30m or 8h: {error}", param, ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Break things on purpose, and print one line for each harness. Exit code 1 when a promise is broken."""
    hush()


@main.command()
@click.argument("size", type=_Size())
@click.option("--seed", type=click.IntRange(0), help="What to draw from.  [default: 1 when quick, else drawn]")
@click.option("--only", type=click.Choice([*HARNESSES, "peers"]), multiple=True, help="May be repeated.")
@click.option("--at-once", type=click.IntRange(1), default=1, show_default=True, help="Harnesses, each in a process.")
@click.option("--write", is_flag=True, help="Keep it in RELIABILITY.json, and its table in docs/guarantees.md.")
def run(size: timedelta, seed: int | None, only: tuple[str, ...], at_once: int, *, write: bool) -> None:
    """Run the harnesses: `quick` in less than three minutes, else for about as long as told.

    Several at once share the time told as one by one they would, and are done sooner.
    """
    if write and only:
        raise click.UsageError("expected --write without --only: the table tells of all harnesses")
    if seed is None:
        seed = 1 if size == _QUICK else secrets.randbelow(10**6)
    seconds = size.total_seconds()
    chosen = {name: share for name, (_, share) in HARNESSES.items() if not only or name in only}
    whole = sum(chosen.values())
    shares = {name: seconds * share / whole for name, share in chosen.items()}
    verdicts = [_show(verdict) for verdict in play(shares, seed, at_once)]
    peers: list[Verdict] = []
    if "peers" in only or (not only and size != _QUICK):
        peers = [_show(verdict) for verdict in crash.run_peers(seconds * (1 if only else _PEERS_SHARE), seed)]
    if write:
        size_told = "quick" if size == _QUICK else f"{seconds:.0f}s"
        command = f"python -m prove run {size_told} --seed {seed}" + (f" --at-once {at_once}" if at_once > 1 else "")
        reliability.save(reliability.of_this_tree(command, verdicts, peers))
    _leave([*verdicts, *peers])


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("harness", type=click.Choice(list(REPEAT)))
@click.argument("words", nargs=-1)
def repeat(harness: str, words: tuple[str, ...]) -> None:
    """Play one failure again: the words that it ended with."""
    try:
        verdict = REPEAT[harness](list(words))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _leave([_show(verdict)])


@main.command("planted")
@click.option("--only", multiple=True, help="Those with this text in their name. May be repeated.")
@click.option("--at-once", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
@click.option("--again", is_flag=True, help="Those alone that survived or are new, by the score that is kept.")
@click.option("--write", is_flag=True, help="Keep the score in RELIABILITY.json and docs/guarantees.md.")
def plant(only: tuple[str, ...], at_once: int, *, again: bool, write: bool) -> None:
    """Plant each known mistake of this field in a copy of the package, and see which suite notices."""
    if write and only and not again:
        raise click.UsageError("expected --write without --only: the score tells of all")
    kept = reliability.load()
    if write and kept is None:
        raise click.UsageError("expected RELIABILITY.json, to which the score is added: say `make prove` first")
    if again:
        if kept is None or kept.planted is None:
            raise click.UsageError("expected a score in RELIABILITY.json, whose survivors are meant: leave out --again")
        scores = planted.again(kept.planted, only, at_once, click.echo)
    else:
        scores = planted.run(only, at_once, click.echo)
    score = next(scores)
    for score in scores:
        if write and kept is not None:  # each time, so that --again goes on with a run that was broken off
            reliability.save(reliability.with_score(kept, score))
    verdict = planted.verdict(score)
    _leave([_show(verdict)])


def _show(verdict: Verdict) -> Verdict:
    click.echo(str(verdict))
    for text in verdict.failures:
        click.secho(f"  BROKEN {text}", fg="red")
    for text in verdict.remarks:
        click.echo(f"  ({text})")
    sys.stdout.flush()
    return verdict


def _leave(verdicts: list[Verdict]) -> None:
    sys.exit(1 if any(verdict.failures for verdict in verdicts) else 0)


if __name__ == "__main__":
    main()

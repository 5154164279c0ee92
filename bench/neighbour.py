"""Draining beside a thread of the same process that computes without a pause. As a program: the turns of one drain."""

import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from workqueue import Queue
from workqueue.cli.run import OUR_SWITCH as RUN_SWITCHES
from workqueue.store import open_store
from workqueue.store.contract import Want
from workqueue.store.sqlite.schema import SQL

from bench import layers, stopwatch
from bench.child import Child, ready, say
from bench.drain import compute_in_a_thread, drain
from bench.peers import raw_loop
from bench.peers.raw_loop import BATCH, RawLoop
from bench.samples import Effort, rates, ratio, spread
from bench.table import Finding, Row, Section
from bench.work import objects

_SWITCH = 0.005  # seconds; Python's own, for which a thread that computes keeps the lock while another waits
_TRANSACTION = ("BEGIN", "COMMIT")  # whatever follows
_STEPS: Mapping[str, str] = {
    "PRAGMA user_version": "is the schema the one we know?",
    SQL["complete"]: "settle",
    raw_loop.DELETE: "settle",
    SQL["claim"]: "claim: look at the front (R: UPDATE … RETURNING)",
    raw_loop.CLAIM: "claim: look at the front (R: UPDATE … RETURNING)",
    SQL["claimed"]: "claim: mark as running",
}
_OTHER = "checkpoint, is the log in place?, and Python"
_WHOLE = "**the whole turn**"
_TEXT = f"""\
Milliseconds a turn of {BATCH} jobs, without their handlers, in a program of which another thread computes. Whoever lets
go of the interpreter's lock waits {_SWITCH * 1000:.0f} ms for it, however short what it did meanwhile; the *waits* are
the milliseconds, divided by that."""


def cpu_bound(effort: Effort, folder: Path) -> list[Finding]:
    """With such a thread, against without; and R's with one, which shows what Python leaves to be had.

    Once as in any program, and once as `workqueue run` has it, which owns the process.
    """
    found = effort.in_turn(
        {
            "beside": lambda: drain("ours", folder, effort(40_000), busy=True),
            "alone": lambda: drain("ours", folder, effort(40_000)),
            "run": lambda: drain("ours", folder, effort(40_000), busy=True, interval=RUN_SWITCHES),
            "run alone": lambda: drain("ours", folder, effort(40_000), interval=RUN_SWITCHES),
            "R": lambda: drain("raw", folder, effort(12_000), busy=True),
        },
        rounds=5,
    )
    held = ratio(rates(found["beside"]), rates(found["alone"]))
    run = ratio(rates(found["run"]), rates(found["run alone"]))
    return [
        Row(
            "drain beside a CPU-bound thread in the same process, as in any program",
            "≥ 0.2 of the rate without it",
            held.said("×"),
            f"{spread(rates(found['beside']))}; without {spread(rates(found['alone']))}; "
            f"R beside one {spread(rates(found['R']))}",
            reached=held.middle >= 0.2,
        ),
        Row(
            "the same in a process of `workqueue run`, where threads that compute give way after 0.5 ms",
            "≥ 0.2 of the rate without it",
            run.said("×"),
            f"{spread(rates(found['run']))}; without {spread(rates(found['run alone']))}",
            reached=run.middle >= 0.2,
        ),
        _turns(effort, folder),
    ]


def _turns(effort: Effort, folder: Path) -> Section:
    found: dict[str, list[dict[str, float]]] = {"ours": [], "raw": []}
    for _ in range(effort.rounds(3)):
        for kind, each in found.items():
            with (
                TemporaryDirectory(dir=folder) as inside,
                Child("bench.neighbour", kind, inside, effort(5_000)) as child,
            ):
                child.read()
                child.tell()
                each.append(child.read())
    steps = [_TRANSACTION[0], *dict.fromkeys(_STEPS.values()), _TRANSACTION[1], _OTHER, _WHOLE]
    lines = [(step, *_said(step, found["ours"]), *_said(step, found["raw"])) for step in steps]
    return Section(
        "Where a turn waits: a drain beside a thread that computes",
        _TEXT,
        ("step", "ours", "waits", "R", "waits"),
        lines,
    )


def _said(step: str, each: list[dict[str, float]]) -> tuple[str, str]:
    if not any(step in seconds for seconds in each):
        return "–", "–"
    seconds = [turn.get(step, 0.0) for turn in each]
    return spread([second * 1e3 for second in seconds], "", 1), f"{statistics.median(seconds) / _SWITCH:.0f}"


def _ours(folder: Path, count: int) -> tuple[float, int]:
    path = folder / "jobs.db"
    with Queue(path) as queue:
        queue.push_many("no-op", objects(count))
    with stopwatch.running(), closing(open_store(path)) as store:
        want = Want("default", store.enlist("default", "bench"), layers.LEASE, BATCH)
        compute_in_a_thread()
        ready()
        stopwatch.taken.clear()
        seconds, claims = layers.drain_store(store, want)
        return seconds, len(claims)


def _raw(folder: Path, count: int) -> tuple[float, int]:
    path = folder / "jobs.db"
    with closing(RawLoop(path)) as loop:
        loop.push_many(objects(count))
    with stopwatch.running(), closing(RawLoop(path)) as loop:
        compute_in_a_thread()
        ready()
        stopwatch.taken.clear()
        return layers.seconds(lambda: loop.drain(lambda _: None)), count


def main(kind: str, folder: Path, count: int) -> None:
    sys.setswitchinterval(_SWITCH)
    whole, drained = (_ours if kind == "ours" else _raw)(folder, count)
    turns = drained / BATCH + 1  # the first settles nothing, the last finds nothing
    found: defaultdict[str, float] = defaultdict(float, {_WHOLE: whole / turns})
    for sql, seconds in stopwatch.taken.items():
        word = sql.split(" ", 1)[0]
        found[word if word in _TRANSACTION else _STEPS.get(sql, _OTHER)] += seconds / turns
    found[_OTHER] += found[_WHOLE] - sum(stopwatch.taken.values()) / turns
    say(found)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

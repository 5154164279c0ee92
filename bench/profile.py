"""Where the time goes: a push and a drain, ours and R's, taken apart. As a program: one round, in its own process.

Each part is measured by itself: the layers by leaving out those above (the whole, the store alone, the runner over a
store that costs nothing, the executor alone, the handler alone), the statements by a stopwatch on the connection, the
flush as the difference of a COMMIT that flushes and one that does not. So the parts need not add up to the whole: what
runs at the same time makes the sum larger, what waits for a thread makes it smaller; a line says by how much.
"""

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from workqueue import Backoff, Queue
from workqueue.job import Claim, NewJob
from workqueue.payload import encode
from workqueue.store import open_store
from workqueue.store.contract import Store, Want
from workqueue.store.sqlite.schema import SQL

from bench import layers, stopwatch
from bench.child import Child, ready, say
from bench.peers import raw_loop
from bench.peers.raw_loop import BATCH, RawLoop
from bench.samples import Effort, Sample, spread, timed
from bench.table import Finding, Section
from bench.work import NoOp, objects

_SLICES = 6
_PUSHES, _DRAINED = 50, 15_000  # in a slice; in all
_NAMES: Mapping[str, str] = {text: name for name, text in SQL.items()} | {
    raw_loop.INSERT: "push_one",
    raw_loop.CLAIM: "claim",
    raw_loop.DELETE: "complete",
}
_CLAIM = ("claim", "claimed", "claim_alone", "large", "large_sizes", "backoff_rules")
_PARTS = {
    "push": ("queue", "python", "insert", "other", "commit", "flush", "checkpoint"),
    "drain": ("handler", "hand-over", "runner", "python", "claim", "settle", "other", "commit", "flush", "checkpoint"),
}
_SAID = {
    "queue": "checks, JSON, gathering: `Queue` above its store",
    "python": "Python of the store (R: of the loop)",
    "insert": "SQL: INSERT",
    "handler": "handler: JSON decoded, counted",
    "hand-over": "to the job's thread and back",
    "runner": "runner: contexts, outcomes, settlements",
    "claim": "SQL: claim",
    "settle": "SQL: settle",
    "other": "SQL: the rest (begin, whom to wake, what is due, schema version)",
    "commit": "COMMIT but its flush",
    "flush": "the flush",
    "checkpoint": "checkpoint (R: within its COMMIT)",
}
_TEXT = """\
Microseconds of wall time a job, {rounds} rounds; made by `python -m bench --only profile`. Each part is measured by
itself (`bench/profile.py` says how), so the whole less the sum is what the parts save by running at the same time, or
lose by waiting for each other."""


def parts(effort: Effort, folder: Path) -> list[Finding]:
    """Take a push and a drain apart."""
    rounds = effort.rounds(3)
    pushes, drained = effort(_PUSHES), effort(_DRAINED)
    found: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds):
        for what, count in (("push", pushes), ("drain", drained)):
            for kind in ("ours", "raw"):
                inside = folder / f"{number}-{what}-{kind}"
                inside.mkdir()
                with Child("bench.profile", what, kind, inside, count) as child:
                    child.read()
                    child.tell()
                    found.setdefault(f"{what} {kind}", []).append(child.read())
    return [
        Section(
            f"Where the time goes: {title}",
            _TEXT.format(rounds=rounds),
            ("part", "ours", "R"),
            _lines(what, found[f"{what} ours"], found[f"{what} raw"]),
        )
        for what, title in (("push", "a push by one thread"), ("drain", f"a drain, {BATCH} jobs a transaction"))
    ]


def _lines(what: str, ours: list[dict[str, float]], raw: list[dict[str, float]]) -> list[tuple[str, ...]]:
    for each in (*ours, *raw):
        each["sum"] = sum(each.get(part, 0.0) for part in _PARTS[what])
        each["rest"] = each["whole"] - each["sum"]
    lasts = {
        "sum": "sum of the parts",
        "rest": "the whole less the sum",
        "whole": "**the whole**",
        "cpu": "CPU of the whole",
    }
    return [
        (said, _said(part, ours), _said(part, raw))
        for part, said in ({part: _SAID[part] for part in _PARTS[what]} | lasts).items()
    ]


def _said(part: str, each: list[dict[str, float]]) -> str:
    if not any(part in seconds for seconds in each):
        return "–"
    return spread([seconds.get(part, 0.0) * 1e6 for seconds in each], "", 1 if each[0]["whole"] > 1e-4 else 2)


# push


def push_ours(folder: Path, count: int) -> dict[str, float]:
    """Python is measured without the flush, whose length varies by more than all Python takes."""
    job, *_ = objects(1)
    new = [NewJob(queue="default", name="no-op", data=encode(job), backoff=Backoff())]
    with ExitStack() as stack:
        queue, quick = (
            stack.enter_context(Queue(folder / f"{durability}.db", durability=durability))
            for durability in ("full", "process")
        )
        store = stack.enter_context(closing(open_store(folder / "store.db", durability="process")))
        with stopwatch.running():
            watched, quickly_watched = (
                stack.enter_context(closing(open_store(folder / f"watched-{durability}.db", durability=durability)))
                for durability in ("full", "process")
            )

        def watching(store: Store) -> None:
            with stopwatch.running():  # a checkpoint opens a connection of its own
                store.push(new)

        return _push_parts(
            count,
            whole=lambda: queue.push("no-op", job),
            above=lambda: quick.push("no-op", job),
            store=lambda: store.push(new),
            flushed=lambda: watching(watched),
            unflushed=lambda: watching(quickly_watched),
        )


def push_raw(folder: Path, count: int) -> dict[str, float]:
    job, *_ = objects(1)
    with ExitStack() as stack:
        loop, quick = (stack.enter_context(closing(RawLoop(folder / f"{on}.db", flushed=on))) for on in (True, False))
        with stopwatch.running():
            watched, quickly_watched = (
                stack.enter_context(closing(RawLoop(folder / f"watched-{on}.db", flushed=on))) for on in (True, False)
            )
        found = _push_parts(
            count,
            whole=lambda: loop.push(job),
            above=lambda: quick.push(job),
            store=lambda: quick.push(job),
            flushed=lambda: watched.push(job),
            unflushed=lambda: quickly_watched.push(job),
        )
    del found["queue"]
    return found


def _push_parts(count: int, **pushes: Callable[[], object]) -> dict[str, float]:
    """Push in short slices in turn, each way; give the parts."""
    slices: dict[str, list[Sample]] = {name: [] for name in pushes}
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in pushes}
    for _ in range(_SLICES):
        for name, push in pushes.items():
            push()
            stopwatch.taken.clear()
            slices[name].append(timed(lambda: [push() for _ in range(count)], count))
            steps[name].append(_by_step(count))
    seconds = {name: statistics.median(1 / sample.rate for sample in samples) for name, samples in slices.items()}
    by_step = {
        name: {
            step: statistics.mean(each.get(step, 0.0) for each in steps[name])
            for step in {step for each in steps[name] for step in each}
        }
        for name in ("flushed", "unflushed")
    }
    return _with_flush(by_step["flushed"], by_step["unflushed"]) | {
        "whole": seconds["whole"],
        "cpu": statistics.median(sample.cpu for sample in slices["whole"]),
        "queue": seconds["above"] - seconds["store"],
        "python": seconds["store"] - sum(by_step["unflushed"].values()),
    }


# drain


def drain_ours(folder: Path, count: int) -> dict[str, float]:
    worker = NoOp()
    with Queue(folder / "whole.db", worker, auto_start=False, batch_size=BATCH) as queue:
        queue.push_many("no-op", objects(count))
        whole = timed(lambda: queue.start() and queue.wait_idle(), count)
    statements: dict[str, dict[str, float]] = {}
    alone: dict[str, float] = {}
    claims: list[Claim] = []
    for durability in ("full", "process"):
        path = folder / f"{durability}.db"
        with Queue(path, durability=durability) as queue:
            queue.push_many("no-op", objects(count))
        with stopwatch.running(), closing(open_store(path, durability=durability)) as store:
            runner = store.enlist("default", "bench")
            stopwatch.taken.clear()
            alone[durability], claims = layers.drain_store(store, Want("default", runner, layers.LEASE, BATCH))
            statements[durability] = _by_step(count)
    by_step = _with_flush(statements["full"], statements["process"])
    handler = layers.seconds(lambda: [worker.do_work(None, claim.job) for claim in claims]) / count
    executor = layers.run_executor(claims) / count
    runner_and_all = layers.run_runner(worker, claims) / count
    return by_step | {
        "whole": 1 / whole.rate,
        "cpu": whole.cpu,
        "handler": handler,
        "hand-over": executor - handler,
        "runner": runner_and_all - executor,
        "python": alone["full"] / count - sum(by_step.values()),
    }


def drain_raw(folder: Path, count: int) -> dict[str, float]:
    def filled(name: str, *, flushed: bool = True) -> RawLoop:
        loop = RawLoop(folder / name, flushed=flushed)
        loop.push_many(objects(count))
        return loop

    with closing(filled("whole.db")) as loop:
        whole = timed(loop.drain, count)
    statements: dict[bool, dict[str, float]] = {}
    idle: dict[bool, float] = {}  # seconds a job of the loop without a handler
    for flushed in (True, False):
        with stopwatch.running(), closing(filled(f"{flushed}.db", flushed=flushed)) as loop:
            stopwatch.taken.clear()
            idle[flushed] = layers.seconds(lambda: loop.drain(lambda _: None)) / count
            statements[flushed] = _by_step(count)
    texts = [json.dumps(job) for job in objects(count)]
    return _with_flush(statements[True], statements[False]) | {
        "whole": 1 / whole.rate,
        "cpu": whole.cpu,
        "handler": layers.seconds(lambda: [json.loads(text) for text in texts]) / count,
        "python": idle[True] - sum(statements[True].values()),
    }


# both


def _by_step(count: int) -> dict[str, float]:
    """Give the seconds a job of what the stopwatch saw."""
    found: dict[str, float] = {}
    for sql, seconds in stopwatch.taken.items():
        step = _step(sql)
        found[step] = found.get(step, 0.0) + seconds / count
    return found


def _step(sql: str) -> str:
    name = _NAMES.get(sql, sql)
    if name in _CLAIM:
        return "claim"
    if name in ("complete", "settle"):
        return "settle"
    if name.startswith("push"):
        return "insert"
    if "wal_checkpoint" in sql:
        return "checkpoint"
    return "commit" if sql.startswith("COMMIT") else "other"


def _with_flush(flushed: Mapping[str, float], unflushed: Mapping[str, float]) -> dict[str, float]:
    """Take the flush out of the COMMIT."""
    step = "commit" if "commit" in flushed else "insert"  # R pushes without BEGIN: the INSERT commits
    return {**flushed, step: unflushed[step], "flush": flushed[step] - unflushed[step]}


_ROUNDS = {"push ours": push_ours, "push raw": push_raw, "drain ours": drain_ours, "drain raw": drain_raw}


def main(what: str, kind: str, folder: Path, count: int) -> None:
    ready()
    say(_ROUNDS[f"{what} {kind}"](folder, count))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))

"""What limits cost: the jobs that have none, beside very many that wait in closed lanes; and those that have one."""

from contextlib import closing
from datetime import timedelta
from pathlib import Path

from workqueue import Queue
from workqueue.job import Lane, NewJob, Terms
from workqueue.lifecycle import Returned, settle
from workqueue.payload import encode
from workqueue.store.contract import Want
from workqueue.store.sqlite.engine import SqliteStore

from bench.backlog import drain_more
from bench.peers.raw_loop import BATCH
from bench.samples import Effort, Sample, costs, rates, ratio, timed
from bench.table import Row
from bench.work import NoOp, objects

_WAITING = 100_000
_LANES = 100
_DAY = timedelta(days=1)
_AT_ONCE = 5_000  # jobs of a push


def unlimited(effort: Effort, folder: Path) -> list[Row]:
    """Jobs without limits: beside 100,000 that lanes keep back, and in a file where no job has ever had one."""
    beside, alone = folder / "beside.db", folder / "alone.db"
    _close_lanes(beside, effort(_WAITING))
    with Queue(alone):
        pass
    count = effort(15_000)
    found = effort.in_turn(
        {"beside": lambda: drain_more(beside, count), "alone": lambda: drain_more(alone, count)}, rounds=7
    )
    held = ratio(rates(found["beside"]), rates(found["alone"]))
    return [
        Row(
            f"drain jobs without limits, beside {_WAITING:,} that wait in closed lanes",
            "≥ 0.95 of the rate with none",
            held.said("×"),
            f"{costs(found['beside'])}; with none: {costs(found['alone'])}",
            reached=held.middle >= 0.95,
        )
    ]


def limited(effort: Effort, folder: Path) -> list[Row]:
    """Jobs of which at most 100 run at once: what each of them pays."""
    found = effort.in_turn(
        {
            "limited": lambda: _drain(folder, effort(10_000), Terms(limit=Lane("lane", most=100))),
            "plain": lambda: _drain(folder, effort(10_000), None),
        },
        rounds=5,
    )
    held = ratio(rates(found["limited"]), rates(found["plain"]))
    return [
        Row(
            "drain jobs of which at most 100 run at once, one process",
            "",
            held.said("× those without a limit"),
            f"{costs(found['limited'])}; without: {costs(found['plain'])}",
            reached=None,
        )
    ]


def _close_lanes(path: Path, count: int) -> None:
    """Leave so many jobs in lanes whose next start is tomorrow."""
    with closing(SqliteStore(path)) as store:
        for lane in range(min(_LANES, count)):
            terms = Terms(rate=Lane(f"lane {lane}", starts=1, per=_DAY))
            _push(store, count // min(_LANES, count) + 1, terms)
        runner = store.enlist("default", "bench")
        while claims := store.turn([], Want("default", runner, _DAY, BATCH, alone=False)).claims:
            store.turn([settle(claim, Returned(), age=claim.age, archive=True) for claim in claims], None)
        store.retire(runner)
        waiting = store.size("default").waiting
        assert waiting >= count, f"expected {count} jobs to be kept back, got: {waiting}"


def _push(store: SqliteStore, count: int, terms: Terms | None) -> None:
    jobs = [NewJob(queue="default", name="no-op", data=encode(one), terms=terms) for one in objects(count)]
    for first in range(0, count, _AT_ONCE):
        store.push(jobs[first : first + _AT_ONCE])


def _drain(folder: Path, count: int, terms: Terms | None) -> Sample:
    path = folder / f"{'plain' if terms is None else 'limited'}.db"
    with closing(SqliteStore(path)) as store:
        _push(store, count, terms)
    worker = NoOp(count)
    with Queue(path, worker, auto_start=False, batch_size=BATCH) as queue:
        return timed(lambda: (queue.start(), worker.enough.wait()), count)

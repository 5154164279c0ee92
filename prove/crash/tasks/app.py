"""The program that is killed: a queue and its tasks, imported by pushers, workers, `workqueue run` and their children.

Each run notes that it began before it does anything, and that it ended after. What runs in a child process is known by
the name of the runner above it and the child's own process id: "RUNNER+PID".
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from workqueue import Backoff, Context, LeaseLost, Queue, StoreUnavailable, injected
from workqueue.executor.child import in_child

from prove.crash.part import SERVICE, decode, now
from prove.crash.programs import open_witness, patiently, plant
from prove.crash.tasks.terms import APART, LIMIT, LIMIT_APART, LIMIT_ASYNC, RATE, ROOMS
from prove.crash.witness import Witness
from prove.journal import Ended, Journal, Refused, Settled, Started

_RUNNER: Final = "PROVE_CRASH_RUNNER"  # the variable that tells a child the name of the runner above it
_TRY_AGAIN: Final = Backoff(min=0, max=0.01, limit=50)
_LOOK_SECONDS: Final = 0.01

_part = decode(os.environ[SERVICE])
_draw = random.Random(_part.seed)
if in_child():
    name = f"{os.environ[_RUNNER]}{APART}{os.getpid()}"
    witness = Witness(Journal(Path(_part.journal)), name, on_server=_part.on_server)
else:
    witness = open_witness(_part)
    os.environ[_RUNNER] = witness.name

_batch_size = _draw.choice([1, 5, 40])
queue = patiently(
    _part,
    lambda: Queue(
        _part.path,
        durability=_part.durability,
        timing=_part.timing,
        batch_size=_batch_size,
        concurrency=_part.concurrency,
        processes=LIMIT_APART,
        poll_rate=0.1,
        lease=_part.lease,
    ),
)
if not in_child():
    plant(_part, queue, witness)


@contextmanager
def _noted(ctx: Context, about: str = "", got: str = "") -> Generator[None]:
    job, by = ctx.job, witness.name
    witness.note(
        Started(at=now(), job=job.id, attempt=job.attempt, by=by, task=job.name, about=about, got=got),
    )
    try:
        yield
    except (_NotYet, StoreUnavailable) as error:
        if isinstance(error, _NotYet) or _part.on_server:
            witness.note(Ended(at=now(), job=job.id, attempt=job.attempt, by=by, how="again"))
        raise
    witness.note(Ended(at=now(), job=job.id, attempt=job.attempt, by=by))


class _NotYet(Exception):
    """What a job raises that is to be tried again."""


def _enter(ctx: Context, room: str) -> Callable[[], bool]:
    """Go into a room; give what says whether all who are to meet there have come."""
    name, _, count = room.partition("/")
    folder = _part.folder / ROOMS / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(ctx.job.id)).touch()
    return lambda: ctx.cancelled or len(list(folder.iterdir())) >= int(count)


def _stay(ctx: Context, pause: float, room: str) -> None:
    ctx.wait(pause)
    if room:
        all_are_here = _enter(ctx, room)
        while not all_are_here():
            ctx.wait(_LOOK_SECONDS)


@queue.task(name="visit", limit=LIMIT, limit_by="host")
def visit(host: str, pause: float = 0, room: str = "", *, ctx: Context = injected) -> None:
    with _noted(ctx, host):
        _stay(ctx, pause, room)


@queue.task(name="fetch", limit=LIMIT_ASYNC)
async def fetch(pause: float = 0, room: str = "", *, ctx: Context = injected) -> None:
    with _noted(ctx):
        await ctx.sleep(pause)
        if room:
            all_are_here = _enter(ctx, room)
            while not all_are_here():
                await asyncio.sleep(_LOOK_SECONDS)


@queue.task(name="apart", limit=LIMIT_APART, isolated=True, retry=_TRY_AGAIN)
def apart(pause: float = 0, room: str = "", *, ctx: Context = injected) -> None:
    with _noted(ctx):
        _stay(ctx, pause, room)


@queue.task(name="call", rate=f"{RATE[0]}/{RATE[1]}ms", rate_by="host")
def call(host: str, *, ctx: Context = injected) -> None:
    with _noted(ctx, host):
        pass


@queue.task(name="book", ordered_by="account", retry=_TRY_AGAIN)
def book(account: str, pause: float = 0, tries: int = 0, *, ctx: Context = injected) -> None:
    with _noted(ctx, account):
        ctx.wait(pause)
        if ctx.job.retry_count < tries:
            raise _NotYet


@queue.task(name="mail", key_by="address")
def mail(address: str, pause: float = 0, *, ctx: Context = injected) -> None:
    with _noted(ctx, address):
        ctx.wait(pause)


@queue.task(name="part")
def part(batch: str, pause: float = 0, *, ctx: Context = injected) -> None:
    with _noted(ctx, batch):
        ctx.wait(pause)


@queue.task(name="part_apart", isolated=True, retry=_TRY_AGAIN)
def part_apart(batch: str, pause: float = 0, *, ctx: Context = injected) -> None:
    with _noted(ctx, batch):
        ctx.wait(pause)


@queue.task(name="callback")
def callback(batch: str, *, ctx: Context = injected) -> None:
    """Write the batch's one row, in the commit that completes this job."""
    with _noted(ctx, batch):
        job, by = ctx.job, witness.name
        try:
            with ctx.transaction() as database:
                database.execute("INSERT INTO effects VALUES (?, ?, ?)", (job.id, job.attempt, batch))
        except LeaseLost:
            witness.note(Refused(at=now(), job=job.id, attempt=job.attempt, by=by))
            raise
        at = witness.committed_at()
        witness.note(Settled(at=at, job=job.id, attempt=job.attempt, to="completed", by=by))


@queue.task(name="link")
def link(chain: str, got: str, *, ctx: Context = injected) -> str:
    """Give the very attempt that this is; a link gets that of the one before."""
    with _noted(ctx, chain, got):
        return f"{ctx.job.id}:{ctx.job.attempt}"


@queue.task(name="link_apart", isolated=True, retry=_TRY_AGAIN)
def link_apart(chain: str, got: str, *, ctx: Context = injected) -> str:
    with _noted(ctx, chain, got):
        return f"{ctx.job.id}:{ctx.job.attempt}"

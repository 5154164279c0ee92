"""Payloads of 100 bytes, 10 KiB and 1 MiB: how fast, and how many bytes are written for each job.

As a program: a process that pushes and drains one file, or that says what it wrote for each step.

What it wrote is `wchar` of /proc/self/io: the bytes handed to the system by `write` and `pwrite`, SQLite's among them:
log, checkpoint and temporary files. It is the same at each run; unlike `write_bytes` of the same file, which is what
the system then meant to bring to the disk: whole pages, counted anew after each flush, and no temporary files.
"""

import sys
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from workqueue import Queue
from workqueue.lifecycle import Returned, settle
from workqueue.store import open_store
from workqueue.store.contract import Want

from bench.child import Child, ready, say
from bench.peers.raw_loop import BATCH, RawLoop
from bench.samples import Effort, Ratio, Sample, costs, rates, ratio, spread, timed
from bench.table import Finding, Row, Section
from bench.work import Weigher

SIZES = {"100 bytes": 100, "10 KiB": 10 * 1024, "1 MiB": 1024 * 1024}
_PUSHED = {"100 bytes": 300, "10 KiB": 200, "1 MiB": 30}  # one at a time
_FILLED = {"100 bytes": 20_000, "10 KiB": 1500, "1 MiB": 10}  # in bulk, before; all are drained
_WEIGHED, _WEIGHED_BATCH = 48, 16  # jobs whose writing is measured, whatever their size; of them in a transaction
_SMALL_MULTIPLE = 4
_STEPS = ("push", "claim", "settle")
_IO = Path("/proc/self/io")
_RATES = f"""\
Pushed one at a time, flushed; then drained by one process, {BATCH} jobs in a transaction (ours: of at most 32 MiB)."""
_BYTES = f"""\
What a process hands to the system by `write` and `pwrite` (`wchar` of /proc/self/io): log, checkpoint and temporary
files together; and `write_bytes` of the same file: what then is to reach the disk, in whole pages. For {_WEIGHED} jobs,
pushed one at a time, then claimed and settled, {_WEIGHED_BATCH} in a transaction; each of the three steps ends with a
checkpoint."""


class Written(NamedTuple):
    """Bytes for each job: handed to the system; on their way to the disk."""

    handed: float
    paged: float


def sizes(effort: Effort, folder: Path) -> list[Finding]:
    """Each size: the rates beside R's, and what each step wrote."""
    speeds: list[tuple[str, ...]] = []
    weights: list[tuple[str, ...]] = []
    turned: dict[str, float | None] = {}  # bytes to claim and settle
    for size, length in SIZES.items():
        pushed, filled = effort(_PUSHED[size]), effort(_FILLED[size])
        found = effort.in_turn(
            {kind: partial(_rates, kind, folder, length, pushed, filled) for kind in ("ours", "raw")}, rounds=3
        )
        for index, what in enumerate(("push", "drain")):
            ours, raw = ([sample[index] for sample in found[kind]] for kind in ("ours", "raw"))
            held: Ratio = ratio(rates(ours), rates(raw))
            megabytes = spread([rate * length / 1e6 for rate in rates(ours)], "", 1)
            speeds.append((size, what, costs(ours), megabytes, costs(raw), held.said("R")))
        ours_wrote, raw_wrote = (_written(kind, folder, length, effort(_WEIGHED)) for kind in ("ours", "raw"))
        for step in _STEPS:
            weights.append((size, step, *_said(ours_wrote, step), *_said(raw_wrote, step)))
        turned[size] = None if ours_wrote is None else ours_wrote["claim"].handed + ours_wrote["settle"].handed
    return [
        _row(turned),
        Section("Payloads: the rates", _RATES, ("payload", "what", "ours", "MB/s", "R", "ours / R"), speeds),
        Section(
            "Payloads: bytes written for each job",
            _BYTES,
            ("payload", "step", "ours: written", "to the disk", "R: written", "to the disk"),
            weights,
        ),
    ]


def _row(turned: dict[str, float | None]) -> Row:
    what = "bytes written to claim and settle a job of 1 MiB"
    reach = f"≤ {_SMALL_MULTIPLE} × those of a job of 100 bytes"
    small, large = turned["100 bytes"], turned["1 MiB"]
    if small is None or large is None:
        return Row(what, reach, "not measured", "this system does not count them", reached=False)
    figures = "; ".join(f"{size}: {wrote or 0:,.0f}" for size, wrote in turned.items())
    return Row(what, reach, f"{large / small:,.1f} ×", figures, reached=large <= small * _SMALL_MULTIPLE)


def _said(written: dict[str, Written] | None, step: str) -> list[str]:
    return ["unknown", "unknown"] if written is None else [f"{count:,.0f}" for count in written[step]]


def _rates(kind: str, folder: Path, length: int, pushed: int, filled: int) -> tuple[Sample, Sample]:
    """Give the samples of pushing one at a time, and of draining."""
    answer = _ask(folder, "rates", kind, length, pushed, filled)
    return Sample(*answer["push"]), Sample(*answer["drain"])


def _written(kind: str, folder: Path, length: int, count: int) -> dict[str, Written] | None:
    if not _IO.exists():
        return None
    return {step: Written(*wrote) for step, wrote in _ask(folder, "bytes", kind, length, count).items()}


def _ask(folder: Path, what: str, kind: str, *numbers: int) -> dict[str, list[float]]:
    with TemporaryDirectory(dir=folder) as inside, Child("bench.payloads", what, kind, inside, *numbers) as child:
        child.read()
        child.tell()
        answer: dict[str, list[float]] = child.read()
    return answer


def rates_of(kind: str, path: Path, length: int, pushed: int, filled: int) -> dict[str, Sample]:
    """Push and drain as `kind` does; the child's side."""
    text = "x" * (length - 2)  # and its quotes
    if kind == "ours":
        with Queue(path, Weigher(), auto_start=False, batch_size=BATCH, max_payload=length) as queue:
            queue.push_many("weigh", [text] * filled)
            push = timed(lambda: [queue.push("weigh", text) for _ in range(pushed)], pushed)
            return {"push": push, "drain": timed(lambda: queue.start() and queue.wait_idle(), pushed + filled)}
    with closing(RawLoop(path)) as loop:
        loop.push_many([text] * filled)
        push = timed(lambda: [loop.push(text) for _ in range(pushed)], pushed)
        return {"push": push, "drain": timed(lambda: loop.drain(len), pushed + filled)}


def bytes_of(kind: str, path: Path, length: int, count: int) -> dict[str, Written]:
    """Push, claim and settle, each from opening the file until after closing it; the child's side."""
    steps = _steps_of_ours(path, length, count) if kind == "ours" else _steps_of_raw(path, length, count)
    next(steps)  # the file is made
    found: dict[str, Written] = {}
    for step in _STEPS:
        before = _io()
        next(steps)
        found[step] = Written(*((b - a) / count for a, b in zip(before, _io(), strict=True)))
    return found


def _steps_of_ours(path: Path, length: int, count: int):
    with Queue(path, max_payload=length):
        yield
    with Queue(path, max_payload=length) as queue:
        for _ in range(count):
            queue.push_bytes("weigh", b"x" * length)
    yield
    with closing(open_store(path)) as store:
        want = Want("default", store.enlist("default", "bench"), timedelta(minutes=1), _WEIGHED_BATCH)
        batches = []
        while turn := store.turn([], want).claims:
            batches.append(turn)
    assert sum(map(len, batches)) == count
    yield
    with closing(open_store(path)) as store:
        for claims in batches:
            settlements = [settle(claim, Returned(), age=timedelta(0), archive=True) for claim in claims]
            assert not store.turn(settlements, None).refused
    yield


def _steps_of_raw(path: Path, length: int, count: int):
    RawLoop(path).close()
    yield
    with closing(RawLoop(path)) as loop:
        for _ in range(count):
            loop.push("x" * (length - 2))
    yield
    with closing(RawLoop(path)) as loop:
        batches = []
        while rows := loop.turn([], _WEIGHED_BATCH):
            batches.append([job_id for job_id, _ in rows])
    yield
    with closing(RawLoop(path)) as loop:
        for done in batches:
            loop.turn(done, 0)
    yield


def _io() -> tuple[int, int]:
    """Give the bytes that this process has handed to the system until now, and those on their way to the disk."""
    said = dict(line.split(": ") for line in _IO.read_text().splitlines())
    return int(said["wchar"]), int(said["write_bytes"])


def main(what: str, kind: str, folder: Path, *numbers: int) -> None:
    ready()
    say({"rates": rates_of, "bytes": bytes_of}[what](kind, folder / "jobs.db", *numbers))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:]))

"""The PostgreSQL engine beside queues that live in such a server too. As a program: one draining process.

The server is started by the run, from the wheel that the tests use, and flushes as in production. Each contender has a
database of its own. What a server does beside (autovacuum, checkpoints) it does here too, as it is by default.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

from prove.postgres import PostgresServer, versions
from prove.postgres.databases import Databases
from workqueue import Queue

from bench import peers
from bench.child import Child, ready, say
from bench.peers.raw_loop import BATCH
from bench.samples import Effort, Sample, costs, rates, ratio, timed
from bench.table import Row
from bench.work import NoOp, objects

SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "2GB"}
_THREADS = 32
_FEW, _MANY = 1_000, 1_000_000
_AT_ONCE = 50_000
_HIGHEST = 2**31
_BESIDE = "PgQueuer"


@contextmanager
def server() -> Iterator[Databases]:
    """Run a server of the newest version there is; give its databases."""
    with PostgresServer(versions()[-1], durable=True, settings=SETTINGS) as running:
        databases = Databases(running.dsn())
        yield databases
        databases.close()


def missing(what: str) -> list[Row]:
    """Give the row of a scenario that cannot be measured; nothing where it can."""
    return [] if versions() else [Row(what, "", "not measured", "**missing** a PostgreSQL server", reached=False)]


# push


def push(effort: Effort, folder: Path) -> list[Row]:
    """One at a time by one thread, and by 32; and many at once."""
    del folder
    absent = missing("PostgreSQL: push")
    if absent:
        return absent
    with server() as databases, ExitStack() as stack:
        queue = stack.enter_context(Queue(stack.enter_context(databases.lend())))
        others = {name: stack.enter_context(_opened(name, databases)) for name in peers.served()}
        one = effort(1000)
        some = effort(300)
        found = effort.in_turn(
            {
                "ours": lambda: timed(lambda: [queue.push("no-op", job) for job in objects(one)], one),
                "threads": lambda: _by_threads(queue, effort(3200)),
                **{
                    name: lambda other=other: timed(lambda: [other.push(job) for job in objects(some)], some)
                    for name, other in others.items()
                },
            },
            rounds=5,
        )
        many, fewer = effort(50_000), effort(5_000)
        at_once = effort.in_turn(
            {
                "ours": lambda: timed(lambda: queue.push_many("no-op", objects(many)), many),
                **{
                    name: lambda other=other: timed(lambda: other.push_many(objects(fewer)), fewer)
                    for name, other in others.items()
                },
            },
            rounds=5,
        )
    by_threads = found.pop("threads")
    wider = ratio(rates(by_threads), rates(found["ours"]))
    return [
        Row("PostgreSQL: push one at a time, one thread", "", _against(found), _said(found), reached=None),
        Row(f"PostgreSQL: push, {_THREADS} threads", "", wider.said("× one thread"), costs(by_threads), reached=None),
        Row("PostgreSQL: `push_many`", "", _against(at_once), _said(at_once), reached=None),
    ]


def _by_threads(queue: Queue, count: int) -> Sample:
    each = max(1, count // _THREADS)

    def push_some() -> None:
        for job in objects(each):
            queue.push("no-op", job)

    def work() -> None:
        threads = [Thread(target=push_some) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return timed(work, each * _THREADS)


# drain


def drain(effort: Effort, folder: Path) -> list[Row]:
    """Each in one process, and in two."""
    del folder
    absent = missing("PostgreSQL: drain")
    if absent:
        return absent
    counts = {"ours": 40_000, "PgQueuer": 20_000, "procrastinate": 500}
    rows: list[Row] = []
    with server() as databases:
        for processes, said in ((1, "one process"), (2, "two processes")):
            contenders: dict[str, Callable[[], Sample]] = {
                name: lambda name=name, processes=processes: _drain(name, databases, effort(counts[name]), processes)
                for name in ("ours", *peers.served())
            }
            found = effort.in_turn(contenders, rounds=5)
            what = f"PostgreSQL: drain no-op jobs, {said}"
            if _BESIDE not in found:
                rows.append(Row(what, f"≥ 2 × {_BESIDE}", "not measured", _said(found), reached=False))
                continue
            beside = ratio(rates(found["ours"]), rates(found[_BESIDE]))
            held = beside.said(f"× {_BESIDE}")
            rows.append(Row(what, f"≥ 2 × {_BESIDE}", held, _said(found), reached=beside.middle >= 2))
    return rows


def _drain(name: str, databases: Databases, count: int, processes: int) -> Sample:
    """Let so many processes drain a new database, from their start until the last job is settled."""
    with databases.lend() as url, ExitStack() as stack:
        if name == "ours":
            with Queue(url) as queue:
                queue.push_many("no-op", objects(count))
        else:
            with closing(peers.open_served(name, url)) as peer:
                peer.install()
                peer.push_many(objects(count))
        children = [stack.enter_context(Child("bench.postgres", name, url)) for _ in range(processes)]
        for child in children:
            child.read()
        began = time.monotonic()
        for child in children:
            child.tell()
        ends = [child.read() for child in children]
        for child in children:
            child.tell("end")
    assert sum(end["count"] for end in ends) == count, f"{name}: expected {count} jobs to run, got: {ends}"
    ended = (min if name == "ours" else max)(end["ended"] for end in ends)  # see `bench.drain`
    return Sample(count / (ended - began), sum(end["cpu"] for end in ends) / count)


# a long line


def waiting(effort: Effort, folder: Path) -> list[Row]:
    """What a claim costs when very many jobs wait, or are not due."""
    del folder
    absent = missing("PostgreSQL: claim")
    if absent:
        return absent
    rows: list[Row] = []
    tomorrow = {"run_at": datetime.now(UTC) + timedelta(days=1), "priority": _HIGHEST}
    for what, options in (("waiting", {}), ("future jobs at the highest priority", tomorrow)):
        with server() as databases, databases.lend() as long, databases.lend() as short:
            for url, size in ((long, _MANY), (short, _FEW)):
                _wait(url, effort(size), options)
            count = effort(15_000)
            found = effort.in_turn(
                {"many": lambda long=long: _rate(long, count), "few": lambda short=short: _rate(short, count)}, rounds=5
            )
        held = ratio(rates(found["many"]), rates(found["few"]))
        rows.append(
            Row(
                f"PostgreSQL: claim with {_MANY:,} {what}",
                f"≥ 0.8 of the rate with {_FEW:,}",
                held.said("×"),
                f"{costs(found['many'])}; with {_FEW:,}: {costs(found['few'])}",
                reached=held.middle >= 0.8,
            )
        )
    return rows


def _wait(url: str, count: int, options: dict[str, object]) -> None:
    with Queue(url) as queue:
        for first in range(0, count, _AT_ONCE):
            queue.push_many("no-op", objects(min(_AT_ONCE, count - first)), **options)


def _rate(url: str, count: int) -> Sample:
    """Push so many jobs more, and drain as many as that."""
    worker = NoOp(count)
    with Queue(url, worker, auto_start=False, batch_size=BATCH) as queue:
        queue.push_many("no-op", objects(count))
        began, cpu = time.perf_counter(), time.process_time()
        queue.start()
        worker.enough.wait()
        return Sample(count / (time.perf_counter() - began), (time.process_time() - cpu) / count)


# both


@contextmanager
def _opened(name: str, databases: Databases) -> Iterator[peers.Served]:
    with databases.lend() as url, closing(peers.open_served(name, url)) as peer:
        peer.install()
        yield peer


def _against(found: dict[str, list[Sample]]) -> str:
    if _BESIDE not in found:
        return "not measured"
    return ratio(rates(found["ours"]), rates(found[_BESIDE])).said(f"× {_BESIDE}")


def _said(found: dict[str, list[Sample]]) -> str:
    said = [costs(found["ours"]), *(f"{name}: {costs(them)}" for name, them in found.items() if name != "ours")]
    return "; ".join([*said, *(f"**missing** {peer}" for peer in peers.missing_served())])


def main(name: str, url: str) -> None:
    with ExitStack() as stack:
        if name == "ours":
            worker = NoOp()
            queue = stack.enter_context(Queue(url, worker, auto_start=False, batch_size=BATCH))
            ready()
            cpu = time.process_time()
            queue.start()
            queue.wait_idle()
            count = worker.count
        else:
            peer = stack.enter_context(closing(peers.open_served(name, url)))
            ready()
            cpu = time.process_time()
            count = peer.drain()
        say({"count": count, "ended": time.monotonic(), "cpu": time.process_time() - cpu})
        sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

"""`workqueue copy`: all of a store, between each pair of engines; killed at any instant it goes on; never two at it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from workqueue import Backoff, JobStatus, Queue, QueueMoved, UsageError, chain
from workqueue.cli import group
from workqueue.figures import Counted, total
from workqueue.job import Terms
from workqueue.lifecycle import Returned
from workqueue.store import copying, open_store
from workqueue.store.contract import Store, Want
from workqueue.store.paging import Find
from workqueue.store.relational.whole import Whole

from postgres_fixtures import VERSIONS, Servers
from support import again, everything, gave_up, new_job, raised, verdict

COUNTED = Counted(completed=3, wait_sum=timedelta(seconds=1), wait_buckets=(0, 3), run_buckets=(3,))
PAIRS = ["file file", "file url", "url file", "url url"]


def run(*arguments):
    return CliRunner().invoke(group, [str(a) for a in arguments], prog_name="workqueue")


@pytest.fixture(params=PAIRS)
def places(request, tmp_path: Path, postgres_servers: Servers) -> Iterator[tuple[str, str]]:
    kinds = request.param.split()
    with postgres_servers.database(VERSIONS[-1]) if "url" in kinds else nullcontext("") as url:
        yield tuple(
            f"{url}{'&' if '?' in url else '?'}schema=side_{side}" if kind == "url" else str(tmp_path / f"{side}.db")
            for side, kind in zip("ab", kinds, strict=True)
        )


@contextmanager
def opened(*places: str) -> Iterator[list[Store]]:
    stores = [open_store(place) for place in places]
    try:
        yield stores
        for store in stores:
            assert store.check() == []
    finally:
        for store in stores:
            store.close()


def fill(place: str) -> None:
    """Leave a job of each kind there, and whatever else a store can hold."""
    with Queue(place, id="mail", backoff=Backoff(limit=7)) as queue:

        @queue.task(limit=1, key_by="n", unique_for=timedelta(days=1), keep_results=timedelta(days=1))
        def limited(n: int) -> int:
            return n

        @queue.task(rate="1/minute", ordered_by="n")
        def rated(n: int) -> None: ...

        @queue.task
        def plain(n: int) -> int:
            return n

        @queue.task(every=timedelta(days=1))
        def daily() -> None: ...

        limited.push_many([(n,) for n in range(5)])
        rated.push_many([(n % 2,) for n in range(4)])
        with queue.batch() as batch:
            batch.add(rated.s(8))
            batch.add(rated.s(9))
        chain(plain.s(100), plain.s()).push()
        queue.push("plain", "x" * 5000)
        queue.push_after("later", None, timedelta(days=1))
        queue.pause(rated.name)
    with closing(open_store(place)) as store:
        runner = store.enlist("mail", "worker")
        claims = store.turn([], Want("mail", runner, timedelta(minutes=1), 3)).claims
        assert len(claims) >= 2
        store.turn([raised(claims[0], recoverable=True), gave_up(claims[1])], None)
        with Queue(place, id="other") as other:
            other.push_many("again", list(range(500)))
        runner = store.enlist("other", "worker")
        claims = store.turn([], Want("other", runner, timedelta(minutes=1), 4)).claims
        store.turn([raised(claims[0]), raised(claims[1])], None)
        assert store.cancel(claims[2].job.id)  # runs, and was asked to stop
        store.push([new_job(queue="traced", headers={"traceparent": "00"}, delay=timedelta(days=1))])
        together = store.batches.open("kept")
        for data in (b"1", b"y" * 5000):
            headers = {"traceparent": f"00-{len(data):032x}-01"}
            terms = Terms(key=f"{len(data)}", batch=together)
            store.push([new_job(queue="kept", data=data, terms=terms, headers=headers)])
            runner = store.enlist("kept", "worker")
            for done in (
                again,
                lambda claim: verdict(claim, Returned(b"5", timedelta(days=1), counted=True), stays=True),
            ):
                [claim] = store.turn([], Want("kept", runner, timedelta(minutes=1), 4)).claims
                assert store.turn([done(claim)], None).refused == []
        for name in ("again", "now"):
            store.ledger.add("other", {"again": COUNTED, name: COUNTED})
        store.ledger.note_backlog("other")
    with Queue(place, id="gone") as queue:
        assert queue.cancel(queue.push("its id was given out"))
        assert queue.clean_cancelled_jobs() == 1


def sums(place: str) -> dict[tuple[str, str], tuple[int, str]]:
    with closing(open_store(place)) as store, store.whole.look() as reader:
        return reader.sums(lambda _more: None)


def test_all_is_copied_and_what_ran_waits_again(places):
    source, target = places
    fill(source)
    before = sums(source)
    with opened(source) as [store]:
        jobs = {job.id: job for job in store.find(Find(limit=10_000)).jobs}
        histories = {job_id: store.history(job_id) for job_id in jobs}
        running = [job.id for job in jobs.values() if job.status is JobStatus.RUNNING]
        asked = [job.id for job in jobs.values() if job.cancel_requested]
    assert len(running) > len(asked) > 0
    result = run("copy", source, target, "--verify", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    kept = [job for job in jobs.values() if job.status is JobStatus.COMPLETED]
    assert len(kept) == 2
    batch = kept[0].terms.batch
    assert (said["jobs"], said["handed_back"]) == (len(jobs) - len(kept), len(running))
    assert {(s["table"], s["queue"]): (s["rows"], s["checksum"]) for s in said["sums"]} == before
    assert all((s["rows"], s["checksum"]) == (s["rows_copied"], s["checksum_copied"]) for s in said["sums"])
    assert sums(source) == before
    with opened(target) as [store]:
        assert [job.id for job in store.find(Find(batch=batch)).jobs] == [job.id for job in kept]
        for job in store.find(Find(limit=10_000)).jobs:
            was = jobs.pop(job.id)
            assert store.history(job.id) == histories[job.id]
            if job.id not in running:
                assert job == was
            else:
                assert (job.attempt, job.lost, job.retry_count) == (was.attempt, was.lost, was.retry_count)
                assert job.status is (JobStatus.CANCELLED if job.id in asked else JobStatus.PENDING)
        assert jobs == {}
    with Queue(target) as queue:
        assert queue.push("new") == max(histories) + 2


def test_the_figures_of_a_target_that_is_empty_otherwise_give_way(places):
    source, target = places
    fill(source)
    with opened(source, target) as [store, other]:
        other.ledger.add("other", {"again": COUNTED, "gone": COUNTED})
        expected = store.ledger.totals()
        assert run("copy", source, target).exit_code == 0
        assert other.ledger.totals() == expected
        assert expected["other", "again"] == total([COUNTED, COUNTED])
        other.ledger.add("other", {"now": COUNTED})
        assert other.ledger.totals()["other", "now"] == total([COUNTED, COUNTED])


def test_a_source_that_was_moved_takes_nothing_until_it_is_reopened(places):
    source, target = places
    with Queue(source) as before:
        before.push("one")
        assert run("copy", source, target).exit_code == 0
        with pytest.raises(QueueMoved):  # by a process that has it open all along
            before.push("two")
    with Queue(source, auto_start=False) as queue:
        with pytest.raises(QueueMoved):
            queue.push("two")
        with pytest.raises(QueueMoved):
            queue.batch()
        with pytest.raises(QueueMoved):
            queue.cancel(1)
    with closing(open_store(source)) as store, pytest.raises(QueueMoved):
        store.enlist("default", "worker")
    status = run("status", source)
    assert status.exit_code == 0 and "were moved to" in status.output
    assert run("push", source, "n", "1").exit_code == 3
    again = run("copy", source, target)
    assert again.exit_code == 0 and "before" in again.output
    elsewhere = run("copy", source, f"{target}-other" if "://" not in target else target.replace("side_b", "side_c"))
    assert elsewhere.exit_code == 2 and "reopen" in elsewhere.output
    assert run("reopen", source).exit_code == 0
    assert run("reopen", source).exit_code == 1
    with Queue(source) as queue:
        assert queue.push("two") == 2


def test_a_target_with_something_of_its_own_is_refused(places):
    source, target = places
    for place in places:
        with Queue(place) as queue:
            queue.push("own")
    result = run("copy", source, target)
    assert result.exit_code == 2 and "expected a target without jobs" in result.output
    with Queue(source) as queue:
        queue.push("goes on")
    assert run("copy", source, source).exit_code == 2


@pytest.mark.parametrize("which", ["source", "target"])
def test_living_runners_are_refused_but_for_the_source_of_a_snapshot(places, which, monkeypatch):
    monkeypatch.setattr(copying, "_DYING", 0.0)
    source, target = places
    with Queue(source) as queue:
        queue.push("one")
    with opened(source, target) as stores:
        store = stores[which == "target"]
        runner = store.enlist("default", "pid 1 of me")
        result = run("copy", source, target)
        assert result.exit_code == 2 and "pid 1 of me" in result.output
        result = run("copy", source, target, "--while-running", "--verify")
        if which == "source":
            assert result.exit_code == 0 and "snapshot" in result.output, result.output
            assert stores[1].size("default").waiting == 1
        else:
            assert result.exit_code == 2 and "pid 1 of me" in result.output
        store.retire(runner)
    with Queue(source) as queue:
        queue.push("goes on")


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_runner_that_comes_while_we_look_is_refused_too(places, which, monkeypatch):
    monkeypatch.setattr(copying, "_DYING", 0.0)
    source, target = places
    with Queue(source) as queue:
        queue.push("one")
    verb = "shut" if which == "source" else "begin"
    before = getattr(Whole, verb)

    with opened(source, target) as stores:
        store = stores[which == "target"]
        come: list[int] = []

        def coming(self, argument):
            come.append(store.enlist("default", "late"))
            return before(self, argument)

        with monkeypatch.context() as patch:
            patch.setattr(Whole, verb, coming)
            with pytest.raises(UsageError, match="late"):
                copying.copy(*stores)
        for runner in come:
            store.retire(runner)
        if which == "source":
            stores[0].retire(stores[0].enlist("default", "goes on"))
        assert copying.copy(*stores).jobs == 1


class Ended(BaseException):
    """Stands for an end of the process."""


@pytest.mark.parametrize("verb", ["shut", "begin", "take", "finish", "note_moved"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_ended_at_any_step_it_goes_on(places, monkeypatch, verb, before):
    """Each call of each verb that writes is the last one, once: the copy said again ends it, with nothing twice."""
    source, target = places
    with Queue(source) as queue:
        queue.push_many("n", list(range(350)))
    expected = sums(source)
    whole = getattr(Whole, verb)
    for nth in range(1, 30):
        calls = 0

        def ending(self, *arguments, nth=nth):
            nonlocal calls
            calls += 1
            if calls == nth and before:
                raise Ended
            result = whole(self, *arguments)
            if calls == nth:
                raise Ended
            return result

        with monkeypatch.context() as patch, opened(source, target) as stores:
            patch.setattr(Whole, verb, ending)
            try:
                copying.copy(*stores)
            except Ended:
                with (
                    pytest.raises(QueueMoved)
                    if stores[1].whole.copies() and verb != "note_moved" and not (verb == "finish" and not before)
                    else nullcontext()
                ):
                    runner = stores[1].enlist("default", "worker")
                    stores[1].retire(runner)
                continue
        break
    with opened(source, target) as stores:
        assert stores[0].whole.move().done or copying.copy(*stores).before
        assert stores[0].whole.move().done
    assert sums(target) == expected


KILLED = """
import sys
from workqueue.job import Terms
from workqueue.lifecycle import Returned
from workqueue.store import copying, open_store
copying._AT_ONCE = 10
stores = [open_store(place) for place in sys.argv[1:]]
def tell(what, done, total):
    print(done, flush=True)
    sys.stdin.readline()
copying.copy(*stores, tell=tell)
print("done", flush=True)
"""


def test_killed_while_it_copies_it_goes_on_and_loses_and_doubles_nothing(places):
    source, target = places
    fill(source)
    expected = sums(source)
    kills = 0
    while True:
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, source, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            said = process.stdout.readline()
            if said.strip() == "done":
                process.wait(60)
                break
            assert said, "it ended by itself"
            process.stdin.write("\n")  # and it is killed at some instant of the next page
            process.stdin.flush()
            os.kill(process.pid, signal.SIGKILL)
            process.wait(60)
            kills += 1
        assert kills < 50
    assert kills >= 2
    found = sums(target)
    assert {place: rows for place, (rows, _) in found.items()} == {place: rows for place, (rows, _) in expected.items()}
    with opened(source, target) as [there, here]:
        ran = {job.id for job in there.find(Find(status=JobStatus.RUNNING, limit=10_000)).jobs}
        before = {job.id: (job, history) for job, history in everything(there)}
        after = {job.id: (job, history) for job, history in everything(here)}
        assert before.keys() == after.keys()
        assert {n for n in before if before[n] != after[n]} == ran


def test_a_snapshot_that_was_interrupted_begins_anew(places, monkeypatch):
    source, target = places
    with Queue(source) as queue:
        queue.push_many("n", list(range(350)))

    def tell(what, done, total):
        if done == 300:
            raise Ended

    with opened(source, target) as stores, pytest.raises(Ended):
        copying.copy(*stores, while_running=True, tell=tell)
    with Queue(source) as queue:
        queue.push("later")
        queue.cancel(1)
        queue.clean_cancelled_jobs()
    expected = sums(source)
    with opened(source, target) as stores:
        assert copying.copy(*stores, while_running=True).went_on is False
    assert sums(target) == expected


def test_rows_that_differ_are_found_and_the_target_stays_shut(places, monkeypatch):
    source, target = places
    with Queue(source) as queue:
        queue.push_many("n", list(range(10)))
    take = Whole.take

    def spoiling(self, copy, table, rows, step, after):
        return take(self, copy, table, [(*row[:-1], b"spoilt") if row[0] == 5 else row for row in rows], step, after)

    monkeypatch.setattr(Whole, "take", spoiling)
    result = run("copy", source, target, "--verify")
    assert result.exit_code == 1 and "WRONG" in result.output
    with closing(open_store(target)) as store, pytest.raises(QueueMoved):
        store.enlist("default", "worker")


def test_two_at_the_same_copy_are_told_apart(places):
    source, target = places
    with Queue(source) as queue:
        queue.push_many("n", list(range(350)))

    def tell(what, done, total):
        if done == 300:
            copying.copy(*stores)  # another process would do the same

    with opened(source, target) as stores:
        with pytest.raises(UsageError, match="another process is at the same copy"):
            copying.copy(*stores, tell=tell)
    assert sums(target) == sums(source)

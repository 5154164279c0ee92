"""PostgreSQL: a standby takes the place of the primary under workers, who go on; what may be lost then, what not."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta

import pytest
from prove.postgres.harm import end_sessions
from prove.postgres.proxy import Deed, Proxy
from prove.postgres.server import PostgresServer, versions
from prove.postgres.standby import Standby, either
from workqueue import Queue
from workqueue.errors import JobNotFound, StoreUnavailable
from workqueue.job import Claim, JobStatus
from workqueue.store.postgres import database, runners
from workqueue.store.postgres.engine import PostgresStore

from postgres_fixtures import missing, rows
from support import QUEUE, again, apply, claim_all, claim_one, completed, new_job, push, until

OFTEN = timedelta(seconds=0.2)
PATIENCE = 60
WAITS_FOR_STANDBY = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid <> pg_backend_pid()"


class Pair:
    """A primary, and the standby that follows it over a line. url: leads to whichever takes writes."""

    def __init__(self, primary: PostgresServer, held: ExitStack) -> None:
        self.primary = primary
        if not primary.running:  # the test before ended it
            primary.start()
        rows(primary.dsn(), "ALTER SYSTEM RESET ALL")
        rows(primary.dsn(), "SELECT pg_reload_conf()")
        until(lambda: rows(primary.dsn(), "SHOW synchronous_standby_names") == [("",)])
        database = f"pair_{secrets.token_hex(4)}"
        rows(primary.dsn(), f"CREATE DATABASE {database}")
        self.at_primary = primary.dsn(database)
        rows(self.at_primary, "CREATE TABLE effects (job bigint)")
        self.line = held.enter_context(Proxy(primary.dsn()))
        self.standby = held.enter_context(Standby(primary, self.line.url))
        self.at_standby = self.standby.dsn(database)
        self.url = either(self.at_primary, primary, self.standby)

    def be_synchronous(self) -> None:
        """From now on, a commit is answered when the standby has it."""
        rows(self.primary.dsn(), "ALTER SYSTEM SET synchronous_standby_names = '*'")
        rows(self.primary.dsn(), "ALTER SYSTEM SET synchronous_commit = 'remote_apply'")
        rows(self.primary.dsn(), "SELECT pg_reload_conf()")
        until(lambda: rows(self.primary.dsn(), "SELECT sync_state FROM pg_stat_replication") == [("sync",)])

    def part(self) -> None:
        """From now on, the standby gets nothing."""
        self.standby.catch_up()
        self.line.strike(Deed.HOLD)

    def fail_over(self) -> None:
        self.primary.kill()
        self.standby.promote()


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    if not versions():
        missing("PostgreSQL: install requirements/test.txt")
    with PostgresServer(versions()[-1]) as server:
        yield server


@pytest.fixture
def pair(primary: PostgresServer) -> Iterator[Pair]:
    with ExitStack() as held:
        yield Pair(primary, held)


class Writes:
    """A worker whose jobs write one row in their transaction, while it is let. told: those that heard it was kept."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.told: set[int] = set()
        self.goes_on = threading.Event()
        self.goes_on.set()

    def do_work(self, ctx, job) -> None:
        self.counts[job.id] += 1
        self.goes_on.wait(PATIENCE)
        with ctx.transaction() as transaction:
            transaction.execute("INSERT INTO effects VALUES (?)", [job.id])
        self.told.add(job.id)

    def id(self) -> str:
        return "writes"


def effects(url: str) -> Counter[object]:
    return Counter(job for (job,) in rows(url, "SELECT job FROM effects"))


def test_workers_go_on_at_the_standby_and_what_it_had_not_got_is_as_if_it_had_never_been(pair):
    """As docs/postgres.md says: jobs pushed in the last moments are gone, and what was settled then runs again."""
    worker = Writes()
    lease = timedelta(seconds=2)  # within a quarter of it a runner hears what it is said to hold
    with Queue(pair.url, worker, concurrency=2, poll_rate=OFTEN, lease=lease) as queue:
        early = queue.push_many("job", range(10))
        until(lambda: len(worker.told) == 10)
        worker.goes_on.clear()
        held = queue.push_many("job", range(10))
        until(lambda: len(worker.counts) >= 11)
        pair.part()
        late = queue.push_many("job", range(5))
        waits = queue.push_after("job", None, timedelta(hours=1))
        worker.goes_on.set()
        until(lambda: len(worker.told) == 25)
        pair.fail_over()
        after = queue.push("job")
        until(lambda: queue.size().waiting == 0)
        assert worker.counts == Counter({**dict.fromkeys([*early, *late, after], 1), **dict.fromkeys(held, 2)})
        assert effects(pair.at_standby) == Counter([*early, *held, after]), "a row for each job that there has been"
        with pytest.raises(JobNotFound):
            queue.get(waits)


def test_with_a_synchronous_standby_nothing_that_was_answered_is_lost(pair):
    pair.be_synchronous()
    worker = Writes()
    pushed: list[int] = []
    stop = threading.Event()

    def push_on(queue: Queue) -> None:
        while not stop.is_set():
            try:
                pushed.append(queue.push("job"))
            except StoreUnavailable:
                continue

    with Queue(pair.url) as pusher, Queue(pair.url, worker, concurrency=4, poll_rate=OFTEN) as queue:
        with ThreadPoolExecutor(2) as threads:
            for _ in range(2):
                threads.submit(push_on, pusher)
            until(lambda: len(worker.told) > 100)
            before = set(worker.told)
            pair.fail_over()
            until(lambda: len(worker.told) > len(before) + 100)
            stop.set()
        until(lambda: queue.size().waiting == 0)
    assert set(pushed) <= worker.told
    assert effects(pair.at_standby) == Counter(worker.told)
    assert {worker.counts[job] for job in before} == {1}, "what had settled was not run again"


def test_who_lost_an_answer_is_told_no_sooner_than_the_standby_has_it(pair):
    """A server that ends a session which waits for the standby has committed, and its own sessions see that."""
    store = PostgresStore(pair.url)
    push(store)
    pair.be_synchronous()
    pair.part()
    with ThreadPoolExecutor(2) as threads:
        pushes = [
            threads.submit(store.push, jobs) for jobs in ([new_job()], [new_job(priority=1), new_job(priority=2)])
        ]
        until(lambda: rows(pair.at_primary, WAITS_FOR_STANDBY) == [(2,)])
        end_sessions(pair.at_primary)
        until(lambda: rows(pair.at_primary, WAITS_FOR_STANDBY) == [(2,)] or any(push.done() for push in pushes))
        assert not any(push.done() for push in pushes)
        pair.line.heal()
        jobs = [job for push in pushes for job in push.result(PATIENCE)]
    pair.fail_over()
    assert [store.get(job).status for job in jobs] == [JobStatus.PENDING] * 3
    store.close()


def claim_one_there(store: PostgresStore, runner: int) -> Claim:
    """Claim after a failover: a turn whose connection broke may have claimed nothing, and asks for another."""
    claims: list[Claim] = []
    until(lambda: claims.extend(claim_all(store, runner, limit=1)) or claims)
    return claims[0]


def test_a_claim_that_the_standby_never_got_settles_nothing_of_who_claimed_the_job_there(pair):
    first, second = PostgresStore(pair.url), PostgresStore(f"{pair.url}&application_name=second")
    push(first)
    runner = first.enlist(QUEUE, "first")
    other = second.enlist(QUEUE, "second")
    pair.part()
    lost = claim_one(first, runner)
    pair.fail_over()
    held = claim_one_there(second, other)
    assert (held.job.id, held.job.attempt) == (lost.job.id, lost.job.attempt)
    assert apply(first, again(lost)) == [lost]
    assert apply(first, completed(lost)) == [lost]
    assert second.held(other).held == {held.job.id: 1}
    assert apply(second, completed(held)) == []
    first.close()
    second.close()


def test_a_runner_that_the_standby_never_heard_of_keeps_what_it_claims(pair):
    first, second = PostgresStore(pair.url), PostgresStore(f"{pair.url}&application_name=second")
    push(first)
    pair.part()
    runner = first.enlist(QUEUE, "enlisted in vain")
    pair.fail_over()
    claim = claim_one_there(first, runner)

    def is_listed() -> bool:
        assert second.orphans(expired=False, limit=10) == []
        return [found.id for found in second.overview().runners if found.alive] == [runner]

    until(is_listed)
    assert apply(first, completed(claim)) == []
    first.close()
    second.close()


def test_who_comes_after_a_failover_takes_no_runner_for_dead_that_is_slow_to_come_back(pair, monkeypatch):
    first = PostgresStore(pair.at_primary)  # it never finds the standby, which is as slow as can be
    push(first)
    claim_all(first)
    pair.standby.catch_up()
    pair.fail_over()
    monkeypatch.setattr(runners, "_GRACE", 0.2)
    monkeypatch.setattr(database, "PATIENCE", 0.2)  # it cannot say goodbye
    second = PostgresStore(pair.url)
    looks_until = time.monotonic() + 1
    while time.monotonic() < looks_until:
        assert second.orphans(expired=False, limit=10) == []
        time.sleep(0.05)
    second.close()
    first.close()

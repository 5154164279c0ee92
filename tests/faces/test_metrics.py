"""/metrics, as the official parser reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prove.clock import FakeClock
from workqueue import looks
from workqueue.errors import StoreUnavailable
from workqueue.figures import BOUNDS, Counted
from workqueue.metrics import exposition
from workqueue.probes import StoreProbes
from workqueue.store.contract import Store
from workqueue.store.ledger import HOURS_STAY

from postgres_fixtures import VERSIONS, Servers
from support import QUEUE, SECOND, a_failed_job, claim_one, open_engine, push

COUNTED = Counted(
    completed=3,
    failed=1,
    retried=2,
    cancelled=4,
    lost=5,
    wait_sum=2.5 * SECOND,
    wait_max=SECOND,
    run_sum=9 * SECOND,
    run_max=4 * SECOND,
    wait_buckets=(0, 0, 5, 2),
    run_buckets=(6, *[0] * (len(BOUNDS) - 1), 1),
)
DISK = {"workqueue_file_bytes", "workqueue_disk_free_bytes", "workqueue_disk_size_bytes"}
ABOUT = {"memory": {"workqueue_info"}, "SQLite": {"workqueue_info"} | DISK, "PostgreSQL": {"workqueue_info"}}
HOSTILE = ["a\\", '"', "\n", '\\"\n\\n', "{a}=", "\r\u2028\x85", "名前", "\x1b[31m", "# HELP x", "x" * 255]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request, clock, tmp_path: Path, postgres_servers: Servers) -> Iterator[Store]:
    if request.param == "postgres":
        with postgres_servers.database(VERSIONS[-1]) as url:
            store = open_engine(url, clock, tmp_path)
            yield store
            store.close()
    else:
        store = open_engine(request.param, clock, tmp_path)
        yield store
        store.close()


def read(text: str) -> dict[str, Metric]:
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families), "each family once"
    assert all(family.documentation and family.type != "unknown" for family in families)
    return {family.name: family for family in families}


def values(family: Metric, *labels: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in family.samples
        if set(sample.labels) == set(labels)
    }


def test_of_an_empty_store_there_is_what_keeps_it(store):
    found = read(exposition(store))
    assert set(found) == ABOUT[store.overview().engine.name]
    info = found["workqueue_info"]
    assert set(info.samples[0].labels) == {"version", "engine", "engine_version"}
    assert info.samples[0].labels["version"]


def test_totals_are_counters_by_queue_and_task(store):
    store.ledger.add("mail", {"send": COUNTED})
    store.ledger.add(QUEUE, {"send": Counted(completed=1), "other": COUNTED})
    found = read(exposition(store))
    counters = {name: family for name, family in found.items() if family.type == "counter"}
    assert {name: values(family, "queue", "task")["mail", "send"] for name, family in counters.items()} == {
        "workqueue_jobs_completed": 3,
        "workqueue_jobs_failed": 1,
        "workqueue_jobs_cancelled": 4,
        "workqueue_attempts_retried": 2,
        "workqueue_attempts_lost": 5,
    }
    assert all(sample.name.endswith("_total") for family in counters.values() for sample in family.samples)
    assert values(counters["workqueue_jobs_completed"], "queue", "task") == {
        (QUEUE, "other"): 3,
        (QUEUE, "send"): 1,
        ("mail", "send"): 3,
    }


def test_times_are_histograms_whose_buckets_rise(store):
    store.ledger.add(QUEUE, {"send": COUNTED})
    found = read(exposition(store))
    for name, total, count in (("workqueue_wait_seconds", 2.5, 7), ("workqueue_run_seconds", 9, 7)):
        family = found[name]
        assert family.type == "histogram"
        buckets = [(sample.labels["le"], sample.value) for sample in family.samples if "le" in sample.labels]
        assert [float(bound) for bound, _ in buckets] == [*BOUNDS, float("inf")]
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[-1] == ("+Inf", count)
        by_name = {sample.name: sample.value for sample in family.samples if "le" not in sample.labels}
        assert by_name == {f"{name}_sum": total, f"{name}_count": count}
    assert [sample.value for sample in found["workqueue_wait_seconds"].samples][:5] == [0, 0, 5, 7, 7]


def test_what_stands_in_the_store_are_gauges(store, clock):
    push(store)
    runner = store.enlist(QUEUE, "tests")
    claim_one(store, runner)
    push(store)
    push(store, delay=timedelta(hours=1))
    a_failed_job(store, queue="mail")
    clock.advance(2 * SECOND)
    found = read(exposition(store))
    jobs = values(found["workqueue_jobs"], "queue", "status")
    kinds = ("due", "later", "running", "failed", "cancelled", "completed")
    assert [jobs[QUEUE, status] for status in kinds] == [1, 1, 1, 0, 0, 0]
    assert [jobs["mail", status] for status in kinds] == [0, 0, 0, 1, 0, 0]
    assert values(found["workqueue_oldest_due_seconds"], "queue") == {(QUEUE,): 2, ("mail",): 0}
    assert values(found["workqueue_runners"], "queue") == {(QUEUE,): 1, ("mail",): 0}


def test_a_runner_that_died_with_a_job_in_hand_is_none(clock, tmp_path):
    store = open_engine("memory", clock, tmp_path)
    push(store)
    runner = store.enlist(QUEUE, "tests")
    claim_one(store, runner)
    store.retire(runner)
    assert [one.alive for one in store.overview().runners] == [False]
    assert values(read(exposition(store))["workqueue_runners"], "queue") == {(QUEUE,): 0}


def test_no_job_has_been_due_for_less_than_no_time_though_the_clock_was_set_back(clock, tmp_path):
    store = open_engine("memory", clock, tmp_path)
    push(store)
    clock.advance(-5 * SECOND)
    assert values(read(exposition(store))["workqueue_oldest_due_seconds"], "queue") == {(QUEUE,): 0}


def test_whole_numbers_are_written_as_such(clock, tmp_path):
    store = open_engine("memory", clock, tmp_path)
    store.ledger.add(QUEUE, {"send": COUNTED})
    lines = exposition(store).splitlines()
    assert 'workqueue_jobs_completed_total{queue="default",task="send"} 3' in lines
    assert 'workqueue_wait_seconds_sum{queue="default",task="send"} 2.5' in lines
    assert 'workqueue_wait_seconds_bucket{queue="default",task="send",le="60"} 7' in lines


def test_the_backlog_of_a_queue_is_no_task(store):
    store.ledger.note_backlog(QUEUE)
    assert set(read(exposition(store))) == ABOUT[store.overview().engine.name]


def test_counters_do_not_fall_when_old_figures_are_pruned(store, clock):
    store.ledger.add(QUEUE, {"send": COUNTED})
    clock.advance(HOURS_STAY - timedelta(days=1))
    store.ledger.add(QUEUE, {"send": Counted(completed=1)})
    clock.advance(HOURS_STAY - timedelta(days=1))
    store.sweep(QUEUE, 100)
    assert values(read(exposition(store))["workqueue_jobs_completed"], "queue", "task") == {(QUEUE, "send"): 4}


def test_names_of_any_kind_come_through_whole(store):
    for name in HOSTILE:
        store.ledger.add(name, {name: COUNTED})
    found = read(exposition(store))
    assert set(values(found["workqueue_jobs_completed"], "queue", "task")) == {(name, name) for name in HOSTILE}
    assert len(found) == 7 + len(ABOUT[store.overview().engine.name])


def test_of_a_file_there_is_what_it_takes_and_what_its_disk_has_room_for(clock, tmp_path):
    store = open_engine("sqlite", clock, tmp_path)
    push(store)
    found = read(exposition(store))
    sizes = values(found["workqueue_file_bytes"], "part")
    assert sizes == {
        (part,): (tmp_path / f"q.db{ending}").stat().st_size
        for part, ending in (("data", ""), ("log", "-wal"), ("reserve", "-reserve"))
    }
    room = os.statvfs(tmp_path)
    [free], [size] = (values(found[f"workqueue_disk_{name}_bytes"]).values() for name in ("free", "size"))
    assert size == room.f_blocks * room.f_frsize
    assert 0 < free <= size
    store.close()


# for who asks again and again


class Time:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch) -> Time:
    time = Time()
    monkeypatch.setattr(looks, "time", time)
    return time


def test_who_asks_often_gets_the_last_look_again(time, clock, tmp_path):
    store = open_engine("memory", clock, tmp_path)
    often = StoreProbes(store)
    first = often.metrics()
    store.ledger.add(QUEUE, {"send": COUNTED})
    time.now += 0.9
    assert often.metrics() == first
    time.now += 0.2
    assert often.metrics() == exposition(store) != first


def test_a_look_that_took_long_is_given_for_longer(time, clock, tmp_path, monkeypatch):
    store = open_engine("memory", clock, tmp_path)
    often = StoreProbes(store)
    overview = store.overview
    looked: list[float] = []

    def slow():
        looked.append(time.now)
        time.now += 2.0
        return overview()

    monkeypatch.setattr(store, "overview", slow)
    for second in range(100):
        time.now = max(time.now, 1000.0 + second)
        often.metrics()
    assert looked == [1000.0, 1042.0, 1084.0]


def test_an_error_of_the_store_is_kept_no_longer_than_an_answer(time, clock, tmp_path, monkeypatch):
    store = open_engine("memory", clock, tmp_path)
    often = StoreProbes(store)
    with monkeypatch.context() as broken:
        broken.setattr(store, "overview", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            often.metrics()
    time.now += 1.1
    assert "workqueue_info" in often.metrics()
    monkeypatch.setattr(store, "overview", _away)
    time.now += 10
    with pytest.raises(StoreUnavailable):
        often.metrics()


def _away():
    raise StoreUnavailable("expected a store", path="nowhere")

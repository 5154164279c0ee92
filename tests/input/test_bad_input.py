"""Bad input: each is refused with an error that says what was expected and what came, and nothing is written."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from workqueue import (
    Backoff,
    BatchNotFound,
    Context,
    InvalidOption,
    InvalidPayload,
    Job,
    JobNotFound,
    JobStatus,
    Queue,
    QueueClosed,
    RecoverableWorkerError,
    Size,
    UsageError,
    Worker,
    WorkqueueError,
)

EMPTY = Size(waiting=0, failed=0)
LONE = "\ud800"
NOW = datetime.now(UTC)
MIB = 1024 * 1024

NO_DURATIONS = [
    -1,
    -0.001,
    -timedelta(seconds=1),
    math.nan,
    math.inf,
    -math.inf,
    1e300,
    1e12,
    timedelta.max,
    "5",
    "5m",
    True,
    b"5",
]


class Idle:
    """A worker that does nothing."""

    def id(self) -> str:
        return "idle"

    def do_work(self, ctx: Context, job: Job) -> None:
        pass


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "jobs.db")


@pytest.fixture
def queue(path: str) -> Iterator[Queue]:
    """A queue that must still be empty, whole and usable when the test ends."""
    with Queue(path) as queue:
        yield queue
        assert queue.size() == EMPTY
        assert queue.jobs() == []
        assert queue.check() == []
        assert queue.get(queue.push("still works", 1)).decode() == 1


def refused(
    call: Callable[[], object], expected: str, *, name: str, value: object, got: str | None = None
) -> InvalidOption:
    """Assert that `call` raises an InvalidOption with `expected …, got: …` and these attributes."""
    with pytest.raises(InvalidOption) as caught:
        call()
    error = caught.value
    assert isinstance(error, UsageError)
    assert isinstance(error, ValueError)
    assert re.search(f"^expected {expected}", str(error)), str(error)
    assert (str(value) if got is None else got) in str(error)
    assert error.name == name
    assert error.value is value or error.value == value
    return error


# options


@pytest.mark.parametrize("value", [0, 1001, -5, True, "5", 2.5, None, 10**30])
def test_batch_size(path, value):
    expected = "batch_size to be a whole number from 1 to 1000, got: "
    refused(lambda: Queue(path, batch_size=value), expected, name="batch_size", value=value, got=f"got: {value!r}")


@pytest.mark.parametrize("option", ["concurrency", "max_payload"])
@pytest.mark.parametrize("value", [0, -5, True, "5", 2.5, None, 10**30])
def test_other_counts(path, option, value):
    expected = f"{option} to be a whole number from 1 to "
    refused(lambda: Queue(path, **{option: value}), expected, name=option, value=value, got=f"got: {value!r}")


@pytest.mark.parametrize("option", ["poll_rate", "lease", "grace"])
@pytest.mark.parametrize("value", NO_DURATIONS, ids=str)
def test_durations_of_options(path, option, value):
    refused(lambda: Queue(path, **{option: value}), f"{option} to ", name=option, value=value)


@pytest.mark.parametrize(("option", "value"), [("poll_rate", 0), ("poll_rate", 0.0009), ("lease", 0.5), ("lease", 0)])
def test_durations_too_short(path, option, value):
    refused(lambda: Queue(path, **{option: value}), f"{option} to be .* or more, got: ", name=option, value=value)


@pytest.mark.parametrize("option", ["bach_size", "workers", "path_", "Timing"])
def test_unknown_option(path, option):
    with pytest.raises(TypeError, match=f"'{option}'"):
        Queue(path, **{option: 1})


@pytest.mark.parametrize("verb", ["push", "push_after", "push_bytes", "push_many"])
def test_unknown_argument(queue, verb):
    with pytest.raises(TypeError, match="'prio'"):
        getattr(queue, verb)("n", b"", prio=1)


@pytest.mark.parametrize("value", ["", "x" * 256, LONE, "a" + LONE, None, 5, b"id", ["id"]], ids=ascii)
def test_id(path, value):
    refused(lambda: Queue(path, id=value), "id to be ", name="id", value=value, got=f"got: {value!r}"[:40])


@pytest.mark.parametrize("value", [5, "2", {"limit": 3}, timedelta(seconds=1)], ids=str)
def test_backoff_option(path, value):
    refused(lambda: Queue(path, backoff=value), "backoff to be a Backoff", name="backoff", value=value)


@pytest.mark.parametrize("value", ["fast", "FULL", "", None, 1])
def test_durability(path, value):
    refused(lambda: Queue(path, durability=value), "durability to be ", name="durability", value=value)


class NoId:
    def do_work(self, ctx, job):
        pass


class NoWork:
    def id(self):
        return "no work"


class OddWork(NoWork):
    do_work = "not callable"


@pytest.mark.parametrize(
    ("worker", "missing"),
    [(NoId(), "id"), (NoWork(), "do_work"), (OddWork(), "do_work"), (len, "do_work"), ("mailer", "do_work")],
    ids=["no id", "no do_work", "odd do_work", "a function", "text"],
)
def test_worker(path, worker, missing):
    expected = r"worker to have the methods do_work\(ctx, job\) and id\(\), but .* has no " + missing
    refused(lambda: Queue(path, worker), expected, name="worker", value=worker, got=repr(worker))


@pytest.mark.parametrize("worker", [Idle, Worker])
def test_worker_class_instead_of_a_worker(path, worker):
    """`Queue(path, Idle)` for `Queue(path, Idle())`: every job would fail for good, for want of an argument."""
    refused(lambda: Queue(path, worker, auto_start=False), "worker to ", name="worker", value=worker)


def test_a_refused_constructor_makes_no_file(tmp_path):
    with pytest.raises(InvalidOption):
        Queue(tmp_path / "jobs.db", batch_size=0)
    with pytest.raises(InvalidOption):
        Queue(tmp_path / "jobs.db", NoId())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [None, 5, b"jobs.db", "a\0b"], ids=ascii)
def test_path(bad):
    with pytest.raises((TypeError, ValueError), match=r"(str|PathLike|null)"):
        Queue(bad)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///jobs.db", "sqlite://…"),
        ("redis://:secret@host/0", "redis://…"),
        ("postgresql+psycopg://me:secret@host/jobs", "postgresql+psycopg://…"),
        ("PostgreSQL://host/jobs", "PostgreSQL://…"),
    ],
)
def test_a_url_of_something_else_is_no_path(url, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "the path of a file, such as 'jobs.db', or a URL that begins with postgresql://"
    refused(lambda: Queue(url), words, name="path", value=shown, got=shown)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["file:jobs.db", "a b://jobs.db", Path("mail://jobs.db")], ids=str)
def test_a_colon_may_stand_in_a_path(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Queue(path) as queue:
        assert queue.path == os.path.realpath(path)


# durations of verbs


@pytest.mark.parametrize("value", [*NO_DURATIONS, None], ids=str)
def test_push_after(queue, value):
    refused(lambda: queue.push_after("n", 1, value), "delay to ", name="delay", value=value)


@pytest.mark.parametrize("value", NO_DURATIONS, ids=str)
def test_apush_delay(queue, value):
    refused(lambda: asyncio.run(queue.apush("n", 1, delay=value)), "delay to ", name="delay", value=value)


@pytest.mark.parametrize("value", NO_DURATIONS, ids=str)
def test_wait_idle(queue, value):
    refused(lambda: queue.wait_idle(value), "timeout to ", name="timeout", value=value)


@pytest.mark.parametrize("verb", ["stop", "close"])
@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize("value", NO_DURATIONS, ids=str)
def test_grace(path, verb, running, value):
    """A mistake is found at the first try, and not only on the day that something runs; the queue stays open."""
    with Queue(path, Idle(), auto_start=running) as queue:
        refused(lambda: getattr(queue, verb)(value), "grace to ", name="grace", value=value)
        assert queue.start() is not running


@pytest.mark.parametrize("value", NO_DURATIONS, ids=str)
def test_recoverable_worker_error_delay(value):
    refused(lambda: RecoverableWorkerError("busy", delay=value), "delay to ", name="delay", value=value)


@pytest.mark.parametrize("field", ["min", "max", "expiration"])
@pytest.mark.parametrize("value", NO_DURATIONS, ids=str)
def test_backoff_durations(field, value):
    refused(lambda: Backoff(**{field: value}), f"(backoff )?{field} to ", name=field, value=value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("factor", math.nan),
        ("factor", math.inf),
        ("factor", 0.9),
        ("factor", -2),
        ("factor", "2"),
        ("factor", None),
        ("jitter", 0),
        ("jitter", None),
        ("limit", 0),
        ("limit", -1),
        ("limit", True),
        ("limit", 2.5),
        ("limit", math.nan),
        ("limit", "3"),
        ("attempt", -1),
        ("attempt", "1"),
        ("attempt", True),
        ("attempt", math.nan),
    ],
)
def test_backoff_numbers(field, value):
    refused(lambda: Backoff(**{field: value}), f"backoff {field} to be ", name=field, value=value)


@pytest.mark.parametrize("seconds", [1, 0.5, timedelta(seconds=2)])
def test_durations_may_be_seconds_everywhere(seconds):
    """As for `Queue`: timedeltas, or numbers of seconds."""
    expected = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
    backoff = Backoff(min=seconds, max=seconds, expiration=seconds)
    assert (backoff.min, backoff.max, backoff.expiration) == (expected, expected, expected)
    assert RecoverableWorkerError("busy", delay=seconds).delay == expected


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "5", None], ids=str)
@pytest.mark.parametrize("verb", ["wait", "sleep"])
def test_ctx_wait(path, verb, value):
    """A handler that waits for nonsense fails its job with a reason that says so."""

    class Sync(Idle):
        def do_work(self, ctx, job):
            ctx.wait(value)

    class Async(Idle):
        async def do_work(self, ctx, job):
            await ctx.sleep(value)

    with Queue(path, Sync() if verb == "wait" else Async()) as queue:
        queue.push("n")
        assert queue.wait_idle(10)
        [job] = queue.jobs(status=JobStatus.FAILED)
        assert job.message.startswith("InvalidOption: expected seconds to "), job.message


# a handler's error, misused: the runner must survive it (P9)


class Careless(RecoverableWorkerError):
    """Does not call `super().__init__`, as many exceptions do not."""

    def __init__(self, code: int) -> None:
        self.code = code


def with_delay(delay: object) -> RecoverableWorkerError:
    error = RecoverableWorkerError("busy")
    error.delay = delay
    return error


@pytest.mark.parametrize(
    "make",
    [lambda: Careless(3), lambda: with_delay(5), lambda: with_delay("soon"), lambda: with_delay(-timedelta(days=1))],
    ids=["no super().__init__", "an int", "text", "negative"],
)
def test_an_odd_recoverable_error_stops_neither_its_job_nor_the_queue(path, make):
    tried = []

    class Odd(Idle):
        def do_work(self, ctx, job):
            tried.append(job.name)
            if job.name == "odd":
                raise make()

    with Queue(path, Odd(), auto_start=False, backoff=Backoff(min=timedelta(0), max=timedelta(0), limit=2)) as queue:
        queue.push("odd")
        queue.push("good")
        queue.start()
        idle = queue.wait_idle(10 if make().__class__ is Careless else 2)
        left = [(job.name, str(job.status)) for job in queue.jobs()]
        queue.stop(grace=0)
    assert idle or left == [("odd", "retrying")], left  # 5, as a delay, may well mean seconds
    assert left in ([("odd", "failed")], [("odd", "retrying")])
    assert "good" in tried


# instants


@pytest.mark.parametrize("push", ["push", "push_bytes", "push_many", "apush"])
@pytest.mark.parametrize("value", ["tomorrow", 5, 1e9, date(2030, 1, 1), timedelta(1), True], ids=str)
def test_run_at_is_a_datetime(queue, push, value):
    refused(
        lambda: call(queue, push, run_at=value), "run_at to be a datetime, got: ", name="run_at", value=value, got=""
    )


@pytest.mark.parametrize("push", ["push", "push_bytes", "push_many", "apush"])
def test_run_at_is_aware(queue, push):
    naive = datetime(2030, 1, 1, 12)
    expected = "run_at to be an aware datetime, got the naive "
    error = refused(lambda: call(queue, push, run_at=naive), expected, name="run_at", value=naive, got=repr(naive))
    assert "run_at.astimezone()" in str(error)
    assert "tzinfo=UTC" in str(error)


@pytest.mark.parametrize(
    "value",
    [
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=5))),
    ],
    ids=["after 9999", "before 1"],
)
@pytest.mark.parametrize("push", ["push", "push_bytes", "push_many", "apush"])
def test_run_at_that_is_no_date_in_utc(queue, push, value):
    """Stored, it could never be read again: `jobs()` and `get` would raise for ever."""
    refused(lambda: call(queue, push, run_at=value), "run_at to be ", name="run_at", value=value, got="")


def test_run_at_and_delay(queue):
    both = lambda: asyncio.run(queue.apush("n", run_at=NOW, delay=3))  # noqa: E731
    refused(both, "run_at or delay, got both", name="delay", value=timedelta(seconds=3), got="both")


# payloads


@dataclass
class Letter:
    to: object


def nested(depth: int, innermost: object = 1) -> object:
    value = innermost
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> list[object]:
    ring: list[object] = [1]
    ring.append({"again": ring})
    return ring


class Bytes(bytes):
    pass


class Thing:
    pass


@pytest.mark.parametrize(
    ("value", "path_of_it", "reason"),
    [
        (math.nan, "$", "nan"),
        (-math.inf, "$", "-inf"),
        ({"a": [1, math.nan]}, "$.a[1]", "nan"),
        ([None, {"b": math.inf}], "$[1].b", "inf"),
        ((1, math.nan), "$[1]", "nan"),
        ({"s": {math.nan}}, "$.s[0]", "nan"),
        (Letter(to=[math.nan]), "$.to[0]", "nan"),
        (Thing(), "$", "Thing"),
        ({"to": [1, 2, 3, Thing()]}, "$.to[3]", "Thing"),
        ({"all": {Thing()}}, "$.all[0]", "Thing"),
        (Letter(to=Thing()), "$.to", "Thing"),
        (len, "$", "builtin"),
        ([1j], "$[0]", "complex"),
        ((n for n in range(3)), "$", "generator"),
        (range(3), "$", "range"),
        (LONE, "$", "surrogates not allowed"),
        ({"text": ["ok", LONE]}, "$.text[1]", "surrogates not allowed"),
        ({LONE: 1}, "$", "surrogates not allowed"),
        (Bytes(b"x"), "$", "Bytes"),
        ([Bytes(b"x")], "$[0]", "Bytes"),
        ({(1, 2): 3}, "$", "a key of type tuple"),
        ({"a": {None: 3}}, "$.a", "a key of type NoneType"),
        ({"a": {Thing(): 3}}, "$.a", "a key of type Thing"),
        ({"a": {True: 3}}, "$.a", "key"),
        (nested(65), "$" + "[0]" * 65, "more than 64 levels"),
        (nested(5_000), "$" + "[0]" * 65, "more than 64 levels"),
        (cycle(), "$" + "[1].again" * 32 + "[1]", "more than 64 levels (or a cycle)"),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", ascii(value))[:40] if not isinstance(value, list) else "list",
)
@pytest.mark.parametrize("push", ["push", "push_after", "push_many", "apush"])
def test_payload(queue, push, value, path_of_it, reason):
    with pytest.raises(InvalidPayload) as caught:
        call(queue, push, obj=value)
    assert isinstance(caught.value, UsageError)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith("expected data that JSON can carry, got at $")
    assert reason in str(caught.value)
    assert caught.value.path[:40] == path_of_it[:40]
    if "cycle" not in reason:
        assert caught.value.path == path_of_it
        assert f"got at {path_of_it}: " in str(caught.value)


def test_64_levels_and_odd_but_true_values_are_fine(path):
    with Queue(path) as queue:
        for value in (nested(64), None, "null", "[" * 100, {"a": None}, 2**63 - 1, "ž\0🐎", 1e-300, [], {}):
            assert queue.get(queue.push("n", value)).decode() == value


def test_the_data_may_be_exactly_at_the_limit(path):
    with Queue(path) as queue:
        assert len(queue.get(queue.push("n", "x" * (MIB - 2))).data) == MIB
        assert len(queue.get(queue.push_bytes("n", bytes(MIB))).data) == MIB
    with Queue(path, max_payload=10) as queue:
        assert len(queue.get(queue.push_bytes("n", bytes(10))).data) == 10


@pytest.mark.parametrize("push", ["push", "push_after", "push_bytes", "push_many", "apush"])
def test_data_over_the_limit(queue, push):
    value: object = bytes(MIB + 1) if push == "push_bytes" else "x" * (MIB - 1)  # with two quotes
    with pytest.raises(InvalidPayload, match="expected at most 1,048,576 bytes of data, got: 1,048,577; ") as caught:
        call(queue, push, obj=value)
    assert caught.value.path == "$"
    assert "max_payload" in str(caught.value)


def test_the_limit_is_an_option(path):
    with Queue(path, max_payload=10) as queue:
        with pytest.raises(InvalidPayload, match="expected at most 10 bytes of data, got: 11; "):
            queue.push("n", "x" * 9)
        assert queue.size() == EMPTY


@pytest.mark.parametrize("value", ["text", None, 5, [1], {"a": 1}, Thing()], ids=lambda value: type(value).__name__)
def test_push_bytes_takes_bytes(queue, value):
    expected = rf"^expected data to be bytes, got: {type(value).__name__}; push\(\) encodes objects$"
    with pytest.raises(InvalidPayload, match=expected) as caught:
        queue.push_bytes("n", value)
    assert caught.value.path == "$"


# names and numbers


@pytest.mark.parametrize("push", ["push", "push_after", "push_bytes", "push_many", "apush"])
@pytest.mark.parametrize("value", ["", "x" * 256, LONE, "a" + LONE, "a\0b", None, 5, b"name"], ids=ascii)
def test_name(queue, push, value):
    expected = "name to be (text of 1 to 255 characters|Unicode text|text without NUL), got: "
    refused(lambda: call(queue, push, name=value), expected, name="name", value=value, got=f"got: {value!r}"[:40])


def test_a_message_does_not_repeat_a_megabyte(queue):
    with pytest.raises(InvalidOption) as caught:
        queue.push("x" * MIB)
    assert len(str(caught.value)) < 1_000


def test_the_longest_name_is_fine(path):
    with Queue(path, id="ž" * 255) as queue:
        assert queue.get(queue.push("🐎" * 255)).name == "🐎" * 255


@pytest.mark.parametrize("push", ["push", "push_after", "push_bytes", "push_many", "apush"])
@pytest.mark.parametrize("value", [2**31 + 1, -(2**31) - 1, 2**63, True, False, 1.5, math.nan, "1", None])
def test_priority(queue, push, value):
    expected = "priority to be a whole number from -2147483648 to "
    refused(lambda: call(queue, push, priority=value), expected, name="priority", value=value, got=f"got: {value!r}")


@pytest.mark.parametrize("value", ["bad", "", "fail", 5, 3, 3.0, True, b"failed", ["failed"]], ids=ascii)
def test_status(queue, value):
    expected = "status to be one of pending, completed, retrying, failed, running, cancelled, got: "
    refused(lambda: queue.jobs(status=value), expected, name="status", value=value, got=f"got: {value!r}")


@pytest.mark.parametrize("value", [0, -1, 1_000_001, True, "3", 2.5, None])
def test_limit(queue, value):
    expected = "limit to be a whole number from 1 to 1000000, got: "
    refused(lambda: queue.jobs(limit=value), expected, name="limit", value=value, got=f"got: {value!r}")


@pytest.mark.parametrize("value", [2**63, -1, "x", 2.5, True, None])
def test_after(queue, value):
    refused(lambda: queue.jobs(after=value), "after to be a whole number from 0", name="after", value=value)


@pytest.mark.parametrize("value", ["", "x" * 256, LONE, 5, b"n"], ids=ascii)
def test_pause_schedule_and_resume_schedule_take_text(queue, value):
    for verb in (queue.pause_schedule, queue.resume_schedule):
        with pytest.raises(InvalidOption, match="expected name to be"):
            verb(value)


@pytest.mark.parametrize("value", ["", "x" * 256, LONE, 5, b"n"], ids=ascii)
def test_name_to_look_for(queue, value):
    refused(lambda: queue.jobs(name=value), "name to be ", name="name", value=value, got="got: ")


@pytest.mark.parametrize("verb", ["get", "cancel"])
@pytest.mark.parametrize("value", [1, 0, -1, 10**6, 2**63 - 1, 2**63, -(2**63) - 1, 10**30])
def test_unknown_id(queue, verb, value):
    expected = f"^expected the id of a job in this file, got: {value}; completed jobs leave the file$"
    with pytest.raises(JobNotFound, match=expected) as caught:
        getattr(queue, verb)(value)
    assert caught.value.job_id == value
    assert isinstance(caught.value, LookupError)
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize("value", [1, 0, -1, 2**63 - 1, 2**63, 10**30])
def test_unknown_id_of_a_batch(queue, value):
    with pytest.raises(BatchNotFound, match=f"^expected the id of a batch in this file, got: {value}$") as caught:
        queue.find_batch(value)
    assert caught.value.batch == value


@pytest.mark.parametrize("value", ["1", 1.5, True, None])
def test_what_is_no_id_of_a_batch(queue, value):
    refused(lambda: queue.find_batch(value), "a batch's id to be a whole number", name="batch_id", value=value)


def test_unknown_ids_to_restore_or_to_look_up(queue):
    assert queue.restore() == 0
    assert queue.restore(1, 0, -1, 2**63, 10**30) == 0
    assert queue.history(1) == []
    assert queue.history(2**63) == []


def test_the_id_of_a_completed_job(path):
    with Queue(path, Idle()) as queue:
        job_id = queue.push("n")
        assert queue.wait_idle(10)
        for verb in (queue.get, queue.cancel):
            with pytest.raises(JobNotFound, match="completed jobs leave the file"):
                verb(job_id)


# after close()


AFTER_CLOSE: dict[str, Callable[[Queue], object]] = {
    "push": lambda queue: queue.push("n"),
    "push_after": lambda queue: queue.push_after("n", None, 5),
    "push_bytes": lambda queue: queue.push_bytes("n", b""),
    "push_many": lambda queue: queue.push_many("n", [1]),
    "apush": lambda queue: asyncio.run(queue.apush("n")),
    "transaction": lambda queue: queue.transaction().__enter__(),
    "size": lambda queue: queue.size(),
    "get": lambda queue: queue.get(1),
    "jobs": lambda queue: queue.jobs(),
    "history": lambda queue: queue.history(1),
    "wait_idle": lambda queue: queue.wait_idle(0),
    "check": lambda queue: queue.check(),
    "cancel": lambda queue: queue.cancel(1),
    "restore_failed_jobs": lambda queue: queue.restore_failed_jobs(),
    "restore": lambda queue: queue.restore(1),
    "clean_failed_jobs": lambda queue: queue.clean_failed_jobs(),
    "clean_cancelled_jobs": lambda queue: queue.clean_cancelled_jobs(),
    "retry": lambda queue: queue.retry(1),
    "cancel_jobs": lambda queue: queue.cancel_jobs(),
    "retry_jobs": lambda queue: queue.retry_jobs(status="failed"),
    "restore_jobs": lambda queue: queue.restore_jobs(),
    "clean_jobs": lambda queue: queue.clean_jobs(status="failed"),
    "start": lambda queue: queue.start(),
    "batch": lambda queue: queue.batch(),
    "find_batch": lambda queue: queue.find_batch(1),
    "schedules": lambda queue: queue.schedules(),
    "edit": lambda queue: queue.edit(1, None),
    "pause": lambda queue: queue.pause(),
    "resume": lambda queue: queue.resume(),
    "paused": lambda queue: queue.paused(),
    "pause_schedule": lambda queue: queue.pause_schedule("n"),
    "resume_schedule": lambda queue: queue.resume_schedule("n"),
    "trigger": lambda queue: queue.trigger("n"),
}


def test_every_verb_is_tried_after_close():
    verbs = {name for name, _ in inspect.getmembers(Queue, inspect.isfunction) if not name.startswith("_")}
    assert verbs - AFTER_CLOSE.keys() == {
        "stop",
        "close",
        "wait_stopped",
        "forget_locks",
        "pulse",
    }  # which are safe then


@pytest.mark.parametrize("verb", AFTER_CLOSE)
@pytest.mark.parametrize("worker", [None, Idle()], ids=["no worker", "a worker"])
def test_after_close(path, verb, worker):
    queue = Queue(path, worker)
    queue.close()
    with pytest.raises(QueueClosed) as caught:
        AFTER_CLOSE[verb](queue)
    assert caught.value.path == queue.path
    assert str(caught.value) == (f"expected an open queue, but {queue.path!r} was closed; create a new Queue to go on")
    assert isinstance(caught.value, UsageError)
    queue.stop()
    queue.close()


def test_push_many_after_close_takes_nothing(path):
    queue = Queue(path)
    queue.close()
    objs = iter(range(5))
    with pytest.raises(QueueClosed):
        queue.push_many("n", objs)
    assert list(objs) == [0, 1, 2, 3, 4]
    with pytest.raises(QueueClosed):
        queue.push_many("n", [])


def test_pushes_after_close_store_nothing(tmp_path):
    queue = Queue(tmp_path / "jobs.db")
    queue.close()
    for verb in ("push", "push_after", "push_bytes", "push_many", "apush"):
        with pytest.raises(WorkqueueError):
            AFTER_CLOSE[verb](queue)
    with Queue(tmp_path / "jobs.db") as queue:
        assert queue.size() == EMPTY


def test_a_handler_that_outlives_close_is_told(tmp_path):
    """Its queue is closed under it: pushing from there says so."""
    begun, go, said = threading.Event(), threading.Event(), []

    class Late(Idle):
        def do_work(self, ctx, job):
            begun.set()
            go.wait(10)
            try:
                queue.push("n")
            except QueueClosed as error:
                said.append(error)
            ended.set()

    ended = threading.Event()
    queue = Queue(tmp_path / "jobs.db", Late())
    queue.push("n")
    assert begun.wait(10)
    queue.close(grace=0)
    go.set()
    assert ended.wait(10)
    assert len(said) == 1


def call(queue: Queue, push: str, **changes: object) -> object:
    """Push by the verb of this name, all arguments good but `changes`."""
    arguments = {"name": "n", "obj": 1} | changes
    name, obj = arguments.pop("name"), arguments.pop("obj")
    match push:
        case "push_after":
            return queue.push_after(name, obj, 1, **arguments)
        case "push_bytes":
            return queue.push_bytes(name, obj if "obj" in changes else b"1", **arguments)
        case "push_many":
            return queue.push_many(name, [obj], **arguments)
        case "apush":
            return asyncio.run(queue.apush(name, obj, **arguments))
        case _:
            return queue.push(name, obj, **arguments)

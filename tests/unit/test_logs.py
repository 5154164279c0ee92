"""Logs that say which job they are about, and lines of JSON that nothing breaks."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
import pytest
from workqueue import Queue
from workqueue.job import Job
from workqueue.logs import JobFilter, JsonFormatter, Log, running
from workqueue.stderr import log_to_stderr
from workqueue.testing import drain

JOB = Job(id=7, name="send", data=b"{}", queue="mail", attempt=2)
FIELDS = {"job_id": 7, "task": "send", "queue": "mail", "attempt": 2}


class Context:
    job = JOB


class Kept(logging.Handler):
    """Keeps records, and what they are as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.addFilter(JobFilter())

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def jobs(self) -> list[tuple[object, ...]]:
        return [(one.job_id, one.task, one.queue, one.attempt) for one in self.records]  # type: ignore[attr-defined]


@pytest.fixture
def kept():
    handler = Kept()
    logging.getLogger("handlers").addHandler(handler)
    yield handler
    logging.getLogger("handlers").removeHandler(handler)


@pytest.fixture
def in_job():
    token = running.set(Context())
    yield
    running.reset(token)


def record(msg: object = "said", *args: object, **more: object) -> logging.LogRecord:
    found = logging.LogRecord("app", logging.WARNING, __file__, 1, msg, args, None)
    for name, value in more.items():
        setattr(found, name, value)
    return found


def as_json(found: logging.LogRecord) -> dict[str, object]:
    text = JsonFormatter().format(found)
    assert text.isascii()
    assert text.isprintable(), "one line, that steers nothing"
    said = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert datetime.fromisoformat(said.pop("time")).tzinfo is UTC
    return said


# JSON


def test_a_record_is_a_line_of_json():
    found = record("sent %d of %s", 3, "five")
    found.created = 1_700_000_000.25
    assert json.loads(JsonFormatter().format(found)) == {
        "time": "2023-11-14T22:13:20.250000+00:00",
        "level": "WARNING",
        "logger": "app",
        "message": "sent 3 of five",
    }


def test_in_a_job_it_says_which(in_job):
    assert as_json(record()) == {"level": "WARNING", "logger": "app", "message": "said", **FIELDS}


def test_what_it_was_given_beside_its_words_stands_there_too():
    found = as_json(record(user="ada", size=3, nested={"a": [1, None]}, level="mine", when=datetime(2023, 1, 1)))
    assert found == {
        "level": "WARNING",
        "logger": "app",
        "message": "said",
        "user": "ada",
        "size": 3,
        "nested": {"a": [1, None]},
        "when": "datetime.datetime(2023, 1, 1, 0, 0)",
    }


def test_an_error_has_its_traceback_and_a_stack_its_own():
    try:
        raise ValueError("bad\x1b[31m")
    except ValueError:
        found = record(exc_info=sys.exc_info(), stack_info="Stack:\n  here")
    said = as_json(found)
    assert str(said["exception"]).startswith("Traceback") and str(said["exception"]).endswith("ValueError: bad\x1b[31m")
    assert said["stack"] == "Stack:\n  here"
    assert as_json(record(exc_text="as it was formatted before"))["exception"] == "as it was formatted before"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("msg", "args", "expected"),
    [
        ("%d", ("x",), "%d ('x',) (TypeError in logging)"),
        ("too few %s %s", (1,), "too few %s %s (1,) (TypeError in logging)"),
        ("%s", (Broken(),), "%s <its __repr__ raised RuntimeError> (RuntimeError in logging)"),
        (Broken(), (), "<its __repr__ raised RuntimeError> () (RuntimeError in logging)"),
        ("a\nb\x00\x1b[31m\u202e\ud800\x9b", (), "a\nb\x00\x1b[31m\u202e\ud800\x9b"),
    ],
)
def test_whatever_was_logged_is_a_line(msg, args, expected):
    assert as_json(record(msg, *args))["message"] == expected


def test_what_json_cannot_carry_stands_there_as_python_writes_it():
    loop: dict[str, object] = {}
    loop["self"] = loop
    found = as_json(record(loop=loop, nan=float("nan"), keys={(1, 2): 3}, broken=Broken(), count=5))
    assert (found["loop"], found["nan"], found["keys"]) == ("{'self': {...}}", "nan", "{(1, 2): 3}")
    assert (found["broken"], found["count"]) == ("<its __repr__ raised RuntimeError>", 5)
    found = as_json(record("%d", 10**5000, huge=10**5000, among=[1, -(10**5000)], flag=True, count=5))
    assert found["huge"] == found["among"] == "<its __repr__ raised ValueError>", "Python writes no such number"
    assert (found["flag"], found["count"]) == (True, 5)


# which job


def test_outside_of_jobs_the_fields_are_there_and_empty(kept):
    logging.getLogger("handlers").warning("said")
    assert kept.jobs() == [(None, None, None, None)]


def test_ours_say_of_which_job_they_tell_and_keep_what_they_are_given(caplog):
    Log("workqueue.test").about(JOB, "is %s", "well")
    Log("workqueue.test").warning("more", extra={"user": "ada"})
    about, more = caplog.records
    assert about.getMessage() == "job 7 'send', attempt 2: is well"
    assert {name: getattr(about, name) for name in FIELDS} == FIELDS
    assert (about.funcName, more.user) == ("test_ours_say_of_which_job_they_tell_and_keep_what_they_are_given", "ada")


def test_what_a_handler_logs_says_in_which_job_on_threads_and_on_the_loop(kept, tmp_path):
    together = threading.Barrier(3, timeout=30)
    with Queue(tmp_path / "jobs.db", concurrency=3) as queue:

        @queue.task(name="thread")
        def on_thread() -> None:
            together.wait()
            logging.getLogger("handlers").warning("said")

        @queue.task(name="loop")
        async def on_loop() -> None:
            await asyncio.to_thread(together.wait)
            logging.getLogger("handlers").warning("said")
            await asyncio.to_thread(logging.getLogger("handlers").warning, "from a thread of it")

        queue.start()
        on_thread.push()
        on_thread.push()
        on_loop.push()
        assert queue.wait_idle(30)
    assert sorted(kept.jobs()) == [
        (1, "thread", "default", 1),
        (2, "thread", "default", 1),
        (3, "loop", "default", 1),
        (3, "loop", "default", 1),
    ]
    logging.getLogger("handlers").warning("outside")
    assert kept.jobs()[-1] == (None, None, None, None)


def test_an_idle_thread_holds_no_job(tmp_path):
    import gc
    import weakref

    from workqueue.context import Context as Attempt

    seen: list[weakref.ref[Attempt]] = []

    class Watching:
        def id(self) -> str:
            return "watching"

        def do_work(self, ctx, job) -> None:
            seen.append(weakref.ref(ctx))

    with Queue(tmp_path / "jobs.db", Watching()) as queue:
        queue.push("n", "x" * 1000)
        assert queue.wait_idle(30)
        until_idle = threading.Event()
        while seen[0]() is not None and not until_idle.wait(0.001):
            gc.collect()
        assert seen[0]() is None


def test_in_a_drain_of_the_tests_too(kept):
    with Queue(":memory:") as queue:

        @queue.task(name="send")
        def send() -> None:
            logging.getLogger("handlers").warning("said")

        send.push()
        drain(queue)
        logging.getLogger("handlers").warning("after")
    assert kept.jobs() == [(1, "send", "default", 1), (None, None, None, None)]


# what `run` sets up


@contextmanager
def bare_root() -> Iterator[logging.Logger]:
    """Lend the root logger without handlers. A test's own come after its fixtures, so this is none."""
    root, ours = logging.getLogger(), logging.getLogger("workqueue")
    before = root.handlers[:], root.level, ours.level
    root.handlers[:] = []
    yield root
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)


def test_run_logs_lines_for_people_and_a_job_is_named_behind_what_it_said(capsys, in_job):
    with bare_root():
        log_to_stderr()
        logging.getLogger("app").warning("two\nlines\x1b[31m")
        logging.getLogger("app").info("not asked for")
        Log("workqueue.test").about(JOB, "it fails")
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.endswith(" WARNING app: two [job 7 'send', attempt 2]")
    assert (second, third.split(": ", 1)[1]) == (r"    lines\x1b[31m", "job 7 'send', attempt 2: it fails")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("separator", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_what_is_logged_cannot_pass_for_another_record(capsys, form, separator):
    """Row 100 of the threats we know of, by the words, the name of the job, and an error with its traceback."""
    forged = f"{separator}2026-01-01 00:00:00,000 INFO workqueue.runner: all is well"
    job = msgspec.structs.replace(JOB, name=f"send{forged}")
    with bare_root():
        log_to_stderr(form)
        logging.getLogger("app").warning("hello %s", forged)
        Log("workqueue.test").about(job, "it fails: %s", forged)
        try:
            raise ValueError(forged)
        except ValueError:
            logging.getLogger("app").exception("failed")
    told = capsys.readouterr().err
    lines = told.splitlines()
    begun = [line for line in lines if not line.startswith("    ")]
    assert len(begun) == 3
    assert not any(line.startswith("2026-01-01 00:00:00,000 INFO") for line in lines)
    if form == "json":
        assert len([json.loads(line) for line in lines]) == 3


def test_run_leaves_a_programs_own_logging_alone_unless_a_format_is_asked_for(capsys):
    own = logging.NullHandler()
    with bare_root() as bare:
        bare.addHandler(own)
        log_to_stderr()
        log_to_stderr(level="error")
        assert (bare.handlers, bare.level) == ([own], logging.ERROR)
        log_to_stderr("json", "debug")
        assert own not in bare.handlers
        logging.getLogger("app").debug("said")
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "said"

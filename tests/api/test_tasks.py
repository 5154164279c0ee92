"""Tasks from a user's side: each thing that the tutorial promises, through the public names alone."""

from __future__ import annotations

import asyncio
import copy
import doctest
import functools
import importlib
import inspect
import os
import pickle
import pydoc
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from workqueue import (
    AsyncTask,
    Backoff,
    Cancel,
    ChildDied,
    Context,
    DuplicateJob,
    InvalidOption,
    InvalidPayload,
    Job,
    JobCancelled,
    JobFailed,
    JobNotFound,
    JobStatus,
    Queue,
    RecoverableWorkerError,
    ResultNotKept,
    ScheduleNotFound,
    Size,
    Snooze,
    StoreUnavailable,
    UsageError,
    chain,
    injected,
)

from support import interrupt_anywhere, until

HOUR = timedelta(hours=1)
SOON = Backoff(min=timedelta(0), max=timedelta(0), limit=3)  # tried three times, at once


@dataclass
class Mail:
    to: str
    cc: list[str]


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "jobs.db")


@pytest.fixture
def open_queue(path: str) -> Iterator[Callable[..., Queue]]:
    """Give a function that opens a Queue at `path`; at the end each is whole, and is closed."""
    opened: list[Queue] = []

    def opener(*args: object, **options: object) -> Queue:
        opened.append(Queue(path, *args, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield opener
    try:
        for queue in opened:
            queue.stop(grace=10)
        assert [queue.check() for queue in opened] == [[] for _ in opened]
    finally:
        for queue in opened:
            queue.close(grace=0)


@pytest.fixture
def queue(open_queue: Callable[..., Queue]) -> Queue:
    return open_queue(concurrency=4)


@pytest.fixture
def on_file(tmp_path: Path) -> Iterator[Callable[..., Queue]]:
    """Give a function that opens another Queue object on one and the same file."""
    opened: list[Queue] = []

    def opener(**options: object) -> Queue:
        opened.append(Queue(tmp_path / "shared.db", **options))  # type: ignore[arg-type]
        return opened[-1]

    yield opener
    for queue in opened:
        queue.close(grace=0)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Give a function that imports a program as the module `app`, which children can import too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules: list[ModuleType] = []

    def load(text: str) -> ModuleType:
        (tmp_path / "app.py").write_text(text)
        modules.append(importlib.import_module("app"))
        return modules[-1]

    yield load
    sys.modules.pop("app", None)
    for module in modules:
        module.queue.close(grace=0)


class Gate:
    """Holds whoever passes until the test opens it, and counts those who came."""

    def __init__(self) -> None:
        self.arrivals = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self) -> None:
        self.arrivals.release()
        assert self.open.wait(10)

    def has_come(self, within: float = 10) -> bool:
        """Say whether one more has come."""
        return self.arrivals.acquire(timeout=within)


def eventually(holds: Callable[[], bool]) -> bool:
    """Look until it holds, for what no event tells of; False after ten seconds."""
    pause = threading.Event()
    return any(holds() or pause.wait(0.02) for _ in range(500))


# making tasks


def test_a_bare_decorator_and_one_with_options_make_tasks_that_are_still_functions(queue):
    @queue.task
    def double(number: int) -> int:
        """Twice."""
        return 2 * number

    @queue.task(name="triple", keep_results=HOUR)
    def triple(number: int) -> int:
        return 3 * number

    @queue.task()
    async def fourfold(number: int) -> int:
        return 4 * number

    assert (double(2), triple(2), asyncio.run(fourfold(2))) == (4, 6, 8)
    assert (double.__doc__, triple.name) == ("Twice.", "triple")
    name = "test_a_bare_decorator_and_one_with_options_make_tasks_that_are_still_functions.double"
    assert double.name == f"{__name__}.{name}"
    assert queue.size().waiting == 0


def test_a_second_task_of_a_name_is_refused(queue):
    queue.task(name="mail")(lambda: None)
    with pytest.raises(InvalidOption, match="there are two of 'mail'; give one a `name=`"):
        queue.task(name="mail")(lambda: None)


def of_a_prompt(number):
    def task():
        return number

    task.__module__, task.__qualname__ = "__main__", "task"
    return task


def test_a_task_that_is_defined_again_is_told_from_two_of_a_name(queue):
    advice = ", or, where their module was loaded again, make the queue again too"
    queue.task(of_a_prompt(1))
    for again, is_told in ((of_a_prompt(2), True), (lambda: None, False)):
        with pytest.raises(InvalidOption, match="there are two of '__main__.task'; give one a `name=`") as caught:
            queue.task(name="__main__.task")(again)
        assert (advice in str(caught.value)) is is_told


def test_at_a_prompt_a_task_that_is_defined_again_takes_the_place_of_the_one_before(queue, monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    before = queue.task(keep_results=HOUR)(of_a_prompt(1))
    handles = [before.push(), queue.task(keep_results=HOUR)(of_a_prompt(2)).push()]
    queue.start()
    assert [handle.result(10) for handle in handles] == [2, 2]
    with pytest.raises(InvalidOption, match="there are two of '__main__.task'"):
        queue.task(name="__main__.task")(lambda: None)


def test_a_task_cannot_be_made_of_a_task_or_of_what_has_no_name(queue):
    @queue.task
    def mail() -> None: ...

    with pytest.raises(InvalidOption, match=r"expected a plain function, got: <task .*mail'>; a function is one task"):
        queue.task(mail)
    with pytest.raises(InvalidOption, match="expected a function with a name, got: .*; give the task a `name=`"):
        queue.task(lambda: None)


DOCUMENTED = """
from workqueue import Queue

queue = Queue(":memory:")

@queue.task
def double(number: int) -> int:
    '''Twice.

    >>> double(2)
    4
    '''
    return 2 * number
"""


def test_tools_see_the_function_of_a_task(program):
    app = program(DOCUMENTED)
    assert (app.double.__name__, app.double.__qualname__, app.double.__module__) == ("double", "double", "app")
    assert inspect.signature(app.double) == inspect.signature(app.double.function)
    assert "double(number: int) -> int\n    Twice." in pydoc.render_doc(app.double, renderer=pydoc.plaintext)
    assert doctest.testmod(app).attempted == 1


def test_what_a_function_has_for_attributes_hides_nothing_of_its_task(queue):
    def send() -> None: ...

    send.name, send.push = "other", None
    task = queue.task(name="send")(send)
    assert task.push().id
    assert task.name == "send"


def test_a_task_is_pickled_by_its_name_and_only_as_its_module_has_it(program):
    app = program(DOCUMENTED)
    assert pickle.loads(pickle.dumps(app.double)) is app.double
    assert pickle.loads(pickle.dumps(app.double.s(2))).task is app.double
    assert copy.copy(app.double).push(2).id
    local = app.queue.task(name="local")(lambda: None)
    again = app.queue.task(name="again")(app.double.function)
    for task in (app.double.using(priority=5), again, local):
        with pytest.raises(TypeError, match=r"what using\(\) gives is pickled as that task, and using\(\) s"):
            pickle.dumps(task)


class Doubles:
    async def __call__(self, number: int) -> int:
        return 2 * number


def test_an_object_whose_call_is_async_makes_an_async_task(queue):
    task = queue.task(name="double", keep_results=HOUR)(Doubles())
    queue.start()
    assert isinstance(task, AsyncTask)
    assert task.push(5).result(10) == 10


def test_a_wrapper_that_only_passes_a_coroutine_on_is_told_what_to_do(queue):
    async def fetch() -> None: ...

    @queue.task(name="fetch", retry=SOON)
    @functools.wraps(fetch)
    def wrapper(*args: object) -> object:
        return fetch(*args)

    handle = wrapper.push()
    queue.start()
    assert handle.wait(10)
    job = queue.get(handle.id)
    assert job.attempt == 1
    assert job.message.startswith(
        "UsageError: expected task 'fetch' to return when done, but it returned an awaitable; declare it "
        "`async def`, or what decorates it, with an `await` inside"
    )


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "expected name to be text of 1 to 255 characters, got: ''"),
    ({"name": 5}, "expected name to be text of 1 to 255 characters, got: 5"),
    (
        {"retry": 5},
        "expected retry to be a Backoff, or a function of the error and the attempt, got: 5; Backoff(limit=5)",
    ),
    (
        {"retry": Backoff},
        "expected retry to be a Backoff, or a function of the error and the attempt, got: <class 'workqueue.backoff.Ba",
    ),
    ({"retry": timedelta}, "expected retry to be a Backoff, or a function of the error and the attempt, got: <class"),
    ({"retry_on": "ValueError"}, "expected retry_on to be an exception class, or a tuple of them, got: 'ValueError'"),
    ({"retry_on": KeyboardInterrupt}, "expected retry_on to be an exception class, or a tuple of them, got: <class"),
    ({"retry": SOON, "no_retry_on": (5,)}, "expected no_retry_on to be an exception class, or a tuple of them, got: "),
    ({"no_retry_on": ValueError}, "expected retry or retry_on beside no_retry_on, got: no_retry_on=<class 'ValueErr"),
    ({"timeout": "5s"}, "expected timeout to be a timedelta or a number of seconds, got: '5s'"),
    ({"timeout": -1}, "expected timeout to be finite, zero or more, got: -1"),
    ({"timeout": 0}, "expected timeout to be more than 0, got: 0; leave it out, or say None, where none is meant"),
    (
        {"keep_results": timedelta(0)},
        "expected keep_results to be more than 0, got: 0:00:00; leave it out, or say None",
    ),
    ({"expires": 0.0}, "expected expires to be more than 0, got: 0.0; leave it out, or say None, where none is meant"),
    ({"keep_results": "1h"}, "expected keep_results to be a timedelta or a number of seconds, got: '1h'"),
    ({"priority": "high"}, "expected priority to be a whole number from -2147483648 to 2147483648, got: 'high'"),
    ({"expires": -1}, "expected expires to be finite, zero or more, got: -1"),
    ({"limit": 0}, "expected limit to be a whole number from 1 to 1000000, got: 0"),
    ({"limit_by": "host"}, "expected limit beside limit_by, got: limit_by='host' alone"),
    ({"limit": 1, "limit_by": "hots"}, "expected limit_by to name a parameter of task 'fetch' (host, url), got: 'hots"),
    ({"rate": 5}, "expected rate to be a number per time, such as '100/minute', '5/s' or '3/10m', got: 5"),
    ({"rate": "5/year"}, "expected rate to be a number per time, such as '100/minute', '5/s' or '3/10m', got: '5/y"),
    ({"rate_by": "host"}, "expected rate beside rate_by, got: rate_by='host' alone"),
    ({"ordered_by": "hots"}, "expected ordered_by to name a parameter of task 'fetch' (host, url), got: 'hots'"),
    ({"key_by": "hots"}, "expected key_by to name a parameter of task 'fetch' (host, url), got: 'hots'"),
    ({"unique_for": "1h"}, "expected unique_for to be a timedelta or a number of seconds, got: '1h'"),
    ({"on_conflict": "drop"}, "expected on_conflict to be one of 'keep', 'replace', 'error', got: 'drop'"),
    ({"isolated": True}, "expected isolated task 'fetch' to stand in its module, where a child process can import it"),
    ({"isolated": "yes"}, "expected isolated to be one of True, False, got: 'yes'"),
    ({"every": 5}, "expected every to be a cron expression of five fields (minute hour day month weekday), one of @h"),
    ({"every": "@daily"}, "expected scheduled task 'fetch' to need nothing, or one date or datetime (the slot it run"),
    ({"every": "@daily", "timezone": "Mars"}, "expected timezone to be an IANA name such as Europe/Berlin, got: 'Mar"),
    ({"timezone": "Mars"}, "expected every beside timezone, got: timezone='Mars' alone"),
    ({"jitter": 5}, "expected every beside jitter, got: jitter=5 alone"),
    ({"catch_up": 5}, "expected every beside catch_up, got: catch_up=5 alone"),
    ({"retries": 5}, "expected options of a task (name, retry, retry_on, no_retry_on, timeout, keep_results, priority"),
]


def test_an_isolated_task_has_a_name_in_its_module(queue):
    for function in (functools.partial(print), Doubles(), lambda: None):
        with pytest.raises(InvalidOption, match="expected isolated task 'apart' to stand in its module"):
            queue.task(name="apart", isolated=True)(function)


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=[str(options) for options, _ in BAD_OPTIONS])
def test_a_bad_option_says_what_was_expected(options, message):
    def fetch(host: str, url: str) -> None: ...

    with Queue(":memory:") as queue:
        with pytest.raises(InvalidOption) as caught:
            queue.task(**({"name": "fetch"} | options))(fetch)
        assert str(caught.value).startswith(message)
        queue.task(name="fetch")(fetch)  # nothing is left of the try


OF_A_SCRIPT = """
from workqueue import Queue

queue = Queue(":memory:")


@queue.task(every="@daily")
def report() -> None: ...


@queue.task(isolated=True)
def apart() -> None: ...


@queue.task(isolated=True, every="@daily", name="of its own")
def named() -> None: ...


@queue.task
def plain() -> None: ...


print(queue.task.names())
"""


def test_a_task_that_a_script_names_for_itself_alone_is_warned_of(tmp_path):
    (tmp_path / "script.py").write_text(OF_A_SCRIPT)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True)
    assert [line.partition(" is named after the script")[0] for line in done.stderr.splitlines()] == [
        "task '__main__.report'",
        "task '__main__.apart'",
    ]
    code = "import script"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""


BAD_MANNERS: list[tuple[dict[str, Any], str]] = [
    ({"after": "5s"}, "expected after to be a timedelta or a number of seconds, got: '5s'"),
    ({"at": "tomorrow"}, "expected at to be a datetime, got: 'tomorrow'"),
    ({"at": datetime(2030, 1, 1)}, "expected at to be an aware datetime, got the naive datetime.datetime(2030, 1, 1,"),
    ({"at": datetime.now(UTC), "after": 5}, "expected at or after, got both"),
    ({"priority": "high"}, "expected priority to be a whole number from -2147483648 to 2147483648, got: 'high'"),
    ({"key": ""}, "expected key to be text, got: ''"),
    ({"key": 5}, "expected key to be text, got: 5"),
    ({"key": "\ud800"}, "expected key to be Unicode text, got: '\\ud800'"),
    ({"unique_for": -1}, "expected unique_for to be finite, zero or more, got: -1"),
    ({"on_conflict": "drop"}, "expected on_conflict to be one of 'keep', 'replace', 'error', got: 'drop'"),
    (
        {"unique_for": 5},
        "expected a key of task 'fetch' beside unique_for, got: unique_for=0:00:05 alone; say key_by= where the tas",
    ),
    (
        {"on_conflict": "keep"},
        "expected a key of task 'fetch' beside on_conflict, got: on_conflict=keep alone; say key_by= where the ta",
    ),
    ({"expires": 0}, "expected expires to be more than 0, got: 0; leave it out, or say None, where none is meant"),
    ({"expires": "1h"}, "expected expires to be a timedelta or a number of seconds, got: '1h'"),
]


@pytest.mark.parametrize(("manner", "message"), BAD_MANNERS, ids=[str(list(manner)) for manner, _ in BAD_MANNERS])
def test_a_bad_manner_of_pushing_says_what_was_expected(manner, message):
    with Queue(":memory:") as queue:
        task = queue.task(name="fetch")(lambda: None)
        with pytest.raises(InvalidOption) as caught:
            task.using(**manner)
        assert str(caught.value).startswith(message)


def test_the_last_word_on_when_counts(queue):
    task = queue.task(name="later")(lambda: None)
    at = datetime(2040, 1, 1, tzinfo=UTC)
    assert queue.get(task.using(after=5).using(at=at).push().id).run_at == at
    assert queue.get(task.using(at=at).using(after=5).push().id).run_at < at


# pushing


def test_arguments_are_bound_at_the_push_and_come_back_as_they_are_annotated(queue):
    got = []

    @queue.task
    def send(mail: Mail, on: date, id: UUID, *, raw: bytes = b"\xff", tries: int = 3) -> None:
        got.append((mail, on, id, raw, tries))

    expected = (Mail("ada", ["bob"]), date(2030, 1, 2), UUID(int=7), b"\xff", 5)
    handle = send.push(Mail("ada", ["bob"]), date(2030, 1, 2), id=UUID(int=7), tries=5)
    queue.start()
    assert handle.wait(10)
    assert got == [expected]


WRONG_CALLS: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "greet() missing a required argument: 'name'"),
    (("ada", 1, 2), {}, "greet() too many positional arguments"),
    (("ada",), {"tmies": 2}, "greet() got an unexpected keyword argument 'tmies'"),
    ((5,), {}, "greet(): expected `str`, got `int` at $.name"),
    (("ada", "2"), {}, "greet(): expected `int`, got `str` at $.times"),
    (("ada",), {"ctx": None}, "greet() got an unexpected keyword argument 'ctx', which is given when the job runs"),
]


@pytest.mark.parametrize(("args", "kwargs", "message"), WRONG_CALLS)
def test_a_wrong_call_raises_and_writes_nothing(queue, args, kwargs, message):
    @queue.task(name="greet")
    def greet(name: str, times: int = 1, *, ctx: Context = injected) -> None: ...

    for push in (greet.push, lambda *a, **k: asyncio.run(greet.apush(*a, **k))):
        with pytest.raises(TypeError) as caught:
            push(*args, **kwargs)
        assert str(caught.value) == message
    with pytest.raises(TypeError):
        greet.push_many([greet.s("ada"), greet.s(*args, **kwargs)])
    assert queue.jobs() == []


def test_what_json_cannot_carry_is_refused_with_its_path(queue):
    @queue.task
    def take(values: list[float]) -> None: ...

    with pytest.raises(InvalidPayload, match=re.escape("got at $.values[1]: nan")):
        take.push([1.0, float("nan")])
    assert queue.jobs() == []


def test_the_context_is_given_to_whoever_asks_for_it(queue):
    seen = []

    @queue.task(name="first")
    def first(ctx: Context, word: str) -> None:
        seen.append((ctx.job.name, word))

    @queue.task(name="last")
    async def last(word: str, *, ctx: Context = injected) -> None:
        seen.append((ctx.job.name, word))

    first.push("a")
    last.push("b")
    queue.start()
    assert queue.wait_idle(10)
    assert sorted(seen) == [("first", "a"), ("last", "b")]
    first("c")  # called here and now, it gets one that belongs to no job
    assert seen[2:] == [("first", "c")]


def test_a_context_that_is_injected_without_an_annotation_is_refused(queue):
    def send(to: str, *, ctx=injected) -> None: ...

    with pytest.raises(
        InvalidOption, match="to be annotated `ctx: Context`, since its default is injected, got: `ctx="
    ):
        queue.task(name="send")(send)


def test_push_many_takes_calls_from_a_generator(queue):
    got = []

    @queue.task
    def add(a: int, b: int = 10) -> None:
        got.append(a + b)

    calls = (call for n in range(700) for call in ((n,), {"a": n, "b": 20}, add.s(n, b=30)))
    ids = add.push_many(calls)
    assert len(set(ids)) == 2_100
    assert sorted(ids) == ids
    queue.start()
    assert queue.wait_idle(30)
    assert sorted(got) == sorted(n + b for n in range(700) for b in (10, 20, 30))


def test_push_many_refuses_what_is_no_call(queue):
    task = queue.task(name="add")(lambda a: None)
    with pytest.raises(TypeError, match=re.escape("a mapping of them, or add.s(...), got: 5")):
        task.push_many([5])


def test_push_many_pushes_each_call_as_its_own_variant_says(queue):
    task = queue.task(name="build", priority=1)(lambda version: None)
    ids = task.using(priority=5).push_many([task.s(1), task.using(priority=9, key="k", after=HOUR).s(2), (3,)])
    jobs = [queue.get(job_id) for job_id in ids]
    assert [(job.decode()["version"], job.priority) for job in jobs] == [(1, 1), (2, 9), (3, 5)]
    assert jobs[1].terms.key == "k"
    assert jobs[1].run_at - jobs[1].pushed_at == HOUR


def test_push_many_refuses_the_call_of_another_task_and_stores_none_of_its_thousand(queue):
    one = queue.task(name="one")(lambda value: None)
    two = queue.task(name="two")(lambda value: None)
    with pytest.raises(
        UsageError,
        match="expected a call of <task 'two'>, got one of <task 'one'>; push it by the push_many of that task",
    ) as caught:
        two.push_many([two.s(n) for n in range(1_500)] + [one.s("x")])
    assert caught.value.__notes__ == ["push_many had stored 1,000 jobs before this"]
    with Queue(":memory:", id="elsewhere") as other:
        namesake = other.task(name="two")(lambda value: None)
        with pytest.raises(UsageError, match="got one of <task 'two'> of another Queue, 'elsewhere'; push it by"):
            two.push_many([two.s(0), namesake.s("x")])
        assert other.jobs() == []
    assert queue.size().waiting == 1_000


def test_a_push_inside_a_transaction_commits_with_its_rows_or_not_at_all(tmp_path):
    queue = Queue(tmp_path / "rows.db")
    task = queue.task(name="mail")(lambda: None)
    with queue.transaction() as rows:
        rows.execute("CREATE TABLE people (name TEXT)")
    with pytest.raises(ZeroDivisionError), queue.transaction() as rows:
        rows.execute("INSERT INTO people VALUES ('eve')")
        task.push()
        task.using(key="k").push()
        task.push_many([(), ()])
        raise ZeroDivisionError
    assert queue.jobs() == []
    with queue.transaction() as rows:
        rows.execute("INSERT INTO people VALUES ('ada')")
        task.push()
    with queue.transaction() as rows:
        assert rows.execute("SELECT name FROM people").fetchall() == [("ada",)]
    assert queue.size().waiting == 1
    queue.close()


def test_a_push_inside_the_jobs_own_transaction_commits_with_its_completion(tmp_path):
    with Queue(tmp_path / "rows.db") as queue:
        ran = threading.Event()

        @queue.task(name="second")
        def second() -> None:
            ran.set()

        @queue.task(name="first")
        def first(fails: bool, *, ctx: Context = injected) -> None:
            with ctx.transaction() as rows:
                rows.execute("INSERT INTO sent VALUES (?)", (fails,))
                second.push()
                if fails:
                    raise ValueError("rolled back")

        with queue.transaction() as rows:
            rows.execute("CREATE TABLE sent (fails INTEGER)")
        failed = first.push(True)
        queue.start()
        assert failed.wait(10)
        assert not ran.is_set()
        assert queue.jobs(name="second") == []
        first.push(False)
        assert ran.wait(10)
        assert queue.wait_idle(10)
        with queue.transaction() as rows:
            assert rows.execute("SELECT fails FROM sent").fetchall() == [(0,)]


def test_the_result_of_a_job_that_its_transaction_completes(open_queue):
    queue = open_queue()

    @queue.task(keep_results=HOUR)
    def store(number: int, says: bool, *, ctx: Context = injected) -> int:
        with ctx.transaction() as rows:
            rows.execute("SELECT 1")
            if says:
                ctx.set_result(number + 1)
        return number + 1  # after the end

    @queue.task(keep_results=HOUR)
    def tenfold(number: int) -> int:
        return 10 * number

    queue.start()
    assert store.push(1, says=True).result(10) == 2
    assert chain(store.s(1, says=True), tenfold.s()).push().result(10) == 20
    with pytest.raises(
        JobFailed, match=re.escape("expected ctx.set_result(…) before the end of ctx.transaction(), whi")
    ):
        store.push(1, says=False).result(10)
    with pytest.raises(JobCancelled):
        chain(store.s(1, says=False), tenfold.s()).push().result(10)


# handles and results


def test_a_result_comes_back_as_it_is_annotated(queue):
    @queue.task(keep_results=HOUR)
    def when(days: int) -> datetime:
        return datetime(2030, 1, days, tzinfo=UTC)

    @queue.task(keep_results=60)
    async def later(days: int) -> tuple[int, ...]:
        return (days, days + 1)

    async def both() -> tuple[object, object]:
        return await when.push(3), await (await later.apush(4))

    queue.start()
    assert when.push(2).result(10) == datetime(2030, 1, 2, tzinfo=UTC)
    assert later.push(2).result(timedelta(seconds=10)) == (2, 3)
    assert asyncio.run(both()) == (datetime(2030, 1, 3, tzinfo=UTC), (4, 5))


def test_a_handle_of_a_result_that_is_none(queue):
    task = queue.task(name="nothing", keep_results=HOUR)(lambda: None)
    queue.start()
    assert task.push().result(10) is None


def test_a_result_that_nobody_keeps_is_said_at_once(queue):
    task = queue.task(name="forget")(lambda: 5)
    handle = task.push()
    with pytest.raises(ResultNotKept, match=f"expected a result of job {handle.id}, but none was kept; say keep_res"):
        handle.result(0)
    queue.start()
    assert handle.wait(10)
    assert handle.status() is JobStatus.COMPLETED


def test_a_result_is_not_there_yet(queue):
    handle = queue.task(name="slow", keep_results=HOUR)(lambda: 5).push()
    assert handle.status() is JobStatus.PENDING
    assert handle.wait(0) is False
    with pytest.raises(TimeoutError, match=f"expected job {handle.id} to end within 0.01 s, but it still waits or r"):
        handle.result(0.01)


def test_a_handle_is_found_again_by_its_id(queue):
    task = queue.task(name="five", keep_results=HOUR)(lambda: 5)
    job_id = task.push().id
    queue.start()
    assert task.handle(job_id).result(10) == 5


@pytest.mark.parametrize("wrong", ["3", 3.0, None, True])
def test_a_handle_of_what_is_no_id_is_refused(queue, wrong):
    task = queue.task(name="five")(lambda: 5)
    with pytest.raises(InvalidOption, match=re.escape(f"expected a job's id to be a whole number, got: {wrong!r}")):
        task.handle(wrong)
    with pytest.raises(JobNotFound):
        task.handle(2**63)


def test_the_result_of_a_failed_job_is_its_error(queue):
    @queue.task(keep_results=HOUR)
    def fail() -> int:
        raise ValueError("no such file")

    queue.start()
    handle = fail.push()
    with pytest.raises(JobFailed, match=f"expected a result of job {handle.id}, but it failed: ValueError: no such f"):
        handle.result(10)
    with pytest.raises(JobFailed) as caught:
        asyncio.run(awaited(handle))
    assert (caught.value.job_id, caught.value.error) == (handle.id, "ValueError: no such file")
    assert handle.status() is JobStatus.FAILED
    assert asyncio.run(handle.ended()) is JobStatus.FAILED


async def awaited(handle):
    return await handle


def test_the_result_of_a_cancelled_job_is_the_reason(queue):
    @queue.task(keep_results=HOUR)
    def give_up() -> int:
        raise Cancel("the order was withdrawn")

    waiting = give_up.using(after=HOUR).push()
    assert waiting.cancel() is True
    assert waiting.cancel() is False
    queue.start()
    handle = give_up.push()
    with pytest.raises(JobCancelled, match=f"of job {handle.id}, but it was cancelled: the order was withdrawn"):
        handle.result(10)
    with pytest.raises(JobCancelled, match="but it was cancelled: cancelled"):
        waiting.result(10)
    assert (handle.status(), waiting.status()) == (JobStatus.CANCELLED, JobStatus.CANCELLED)


def test_a_result_that_is_not_as_annotated_fails_the_job_which_is_not_run_again(queue):
    runs = []

    @queue.task(name="count", keep_results=HOUR, retry=SOON)
    def count() -> int:
        runs.append("here")
        return "many"  # type: ignore[return-value]

    queue.start()
    with pytest.raises(JobFailed, match=r"the result of task 'count': expected `int`, got `str`"):
        count.push().result(10)
    assert runs == ["here"]


def test_a_task_whose_jobs_wait_for_others_of_their_queue_is_warned_of_once(queue, caplog):
    inner = queue.task(name="inner", keep_results=HOUR)(lambda: 5)

    @queue.task(name="outer", keep_results=HOUR)
    def outer() -> int:
        return inner.push().result(10)

    @queue.task(name="awaiting", keep_results=HOUR)
    async def awaiting() -> int:
        return await (await inner.apush())

    queue.start()
    assert [task.push().result(10) for task in (outer, awaiting, outer, awaiting)] == [5] * 4
    said = sorted(re.sub(r"job \d+", "job N", message) for message in caplog.messages)
    assert said == [
        f"job N '{name}', attempt 1: waits for job N of its own queue, and keeps its place meanwhile: when all places "
        "wait so, nobody is left to run what they wait for; make it a chain, or allow more concurrency (docs/tasks.md)"
        for name in ("awaiting", "outer")
    ]


@pytest.mark.parametrize(("file", "id"), [("shared.db", "other"), ("another.db", "default")])
def test_a_job_may_wait_for_one_of_another_queue(on_file, tmp_path, caplog, file, id):
    queue = on_file()
    with Queue(tmp_path / file, id=id) as other:
        inner = other.task(name="inner", keep_results=HOUR)(lambda: 5)
        outer = queue.task(name="outer", keep_results=HOUR)(lambda: inner.push().result(10))
        other.start()
        queue.start()
        assert outer.push().result(10) == 5
        queue.stop()
    assert caplog.messages == []


def test_progress_is_seen_through_the_handle(queue):
    gate = Gate()

    @queue.task
    def copy(*, ctx: Context = injected) -> None:
        ctx.progress({"done": 3, "of": 4})
        gate()

    handle = copy.push()
    assert handle.progress() is None
    queue.start()
    assert gate.has_come()
    assert eventually(lambda: handle.progress() == {"done": 3, "of": 4})
    gate.open.set()


@pytest.mark.parametrize("end", [ValueError(), RecoverableWorkerError(delay=HOUR), Snooze(HOUR), Cancel()])
def test_what_a_task_told_last_before_its_attempt_failed_is_there(queue, end):
    @queue.task
    def copy(*, ctx: Context = injected) -> None:
        for done in range(3):
            ctx.progress({"done": done})
        raise end

    handle = copy.push()
    queue.start()
    assert eventually(lambda: handle.progress() == {"done": 2})


def test_what_a_task_told_that_was_handed_back_is_there(queue):
    gate = Gate()

    @queue.task
    def copy(*, ctx: Context = injected) -> None:
        ctx.progress("here")
        gate()

    handle = copy.push()
    queue.start()
    assert gate.has_come()
    queue.stop(grace=0)
    assert handle.progress() == "here"
    gate.open.set()


def test_cancelling_through_the_handle_tells_a_running_task(queue):
    begun = threading.Event()

    @queue.task
    async def long(*, ctx: Context = injected) -> None:
        begun.set()
        if await ctx.sleep(10):
            raise InterruptedError

    queue.start()
    handle = long.push()
    assert begun.wait(10)
    assert handle.cancel() is True
    assert handle.wait(10)
    assert handle.status() is JobStatus.CANCELLED


# retries


def test_a_task_without_a_policy_retries_only_recoverable_errors(queue):
    calls = []

    @queue.task
    def flaky(error: str) -> None:
        calls.append(error)
        if error == "recoverable" and calls.count(error) < 3:
            raise RecoverableWorkerError("busy", delay=0)
        if error == "other":
            raise OSError("gone")

    recoverable, other = flaky.push("recoverable"), flaky.push("other")
    queue.start()
    assert queue.wait_idle(10)
    assert (calls.count("recoverable"), calls.count("other")) == (3, 1)
    assert (recoverable.status(), other.status()) == (JobStatus.COMPLETED, JobStatus.FAILED)


def calls_what_raises() -> None:
    queue_of_none = Queue(":memory:")
    queue_of_none.close()
    queue_of_none.push("n")


async def awaits_what_raises() -> None:
    await asyncio.sleep(0)
    calls_what_raises()


@pytest.mark.parametrize("function", [calls_what_raises, awaits_what_raises])
def test_a_traceback_begins_at_the_function_and_has_all_that_came_then(queue, function):
    handle = queue.task(function).push()
    queue.start()
    assert handle.wait(10)
    [attempt] = queue.history(handle.id)
    title, first, *_ = attempt.traceback.splitlines()
    assert title == "Traceback (most recent call last):"
    assert first.endswith(f"in {function.__name__}")
    assert "in calls_what_raises" in attempt.traceback and "in push" in attempt.traceback


def test_a_policy_retries_every_exception_and_the_history_has_each_attempt(queue):
    @queue.task(retry=SOON)
    def flaky(*, ctx: Context = injected) -> None:
        raise OSError(f"attempt {ctx.job.attempt}")

    handle = flaky.push()
    queue.start()
    assert handle.wait(10)
    job = queue.get(handle.id)
    assert (job.status, job.retry_count, job.message) == (JobStatus.FAILED, 3, "OSError: attempt 3")
    history = queue.history(handle.id)
    assert [(attempt.attempt, attempt.outcome, attempt.error) for attempt in history] == [
        (n, "raised", f"OSError: attempt {n}") for n in (1, 2, 3)
    ]
    assert all("raise OSError" in attempt.traceback and attempt.runner for attempt in history)


@pytest.mark.parametrize(
    ("options", "attempts"),
    [
        ({"retry": SOON, "retry_on": OSError}, {"ConnectionError": 3, "ValueError": 1, "FileNotFoundError": 3}),
        ({"retry": SOON, "retry_on": (OSError, ValueError)}, {"ConnectionError": 3, "ValueError": 3, "KeyError": 1}),
        ({"retry": SOON, "no_retry_on": FileNotFoundError}, {"ConnectionError": 3, "FileNotFoundError": 1}),
        (
            {"retry": SOON, "retry_on": OSError, "no_retry_on": FileNotFoundError},
            {"OSError": 3, "FileNotFoundError": 1},
        ),
        ({"retry": lambda error, n: 0 if n < 2 else None}, {"ValueError": 2}),
        ({"retry": lambda error, n: timedelta(0) if str(error) == "3" else None}, {"ValueError": 1}),
    ],
)
def test_the_policy_says_which_errors_are_retried(queue, options, attempts):
    calls = []

    @queue.task(**options)
    def fail(name: str) -> None:
        calls.append(name)
        raise {kind.__name__: kind for kind in (OSError, ConnectionError, FileNotFoundError, ValueError, KeyError)}[
            name
        ]

    fail.push_many([(name,) for name in attempts])
    queue.start()
    assert queue.wait_idle(10)
    assert {name: calls.count(name) for name in attempts} == attempts
    assert queue.size() == Size(waiting=0, failed=len(attempts))


def test_a_recoverable_error_of_a_task_waits_as_long_as_it_says(queue):
    @queue.task(retry=SOON)
    def busy() -> None:
        raise RecoverableWorkerError("429", delay=HOUR)

    handle = busy.push()
    seen = threading.Event()
    queue.task(name="see")(lambda: seen.set()).push()
    queue.start()
    assert seen.wait(10)
    queue.stop()
    job = queue.get(handle.id)
    assert (job.status, job.message) == (JobStatus.RETRYING, "RecoverableWorkerError: 429")
    assert timedelta(minutes=59) < job.run_at - datetime.now(UTC) <= HOUR


def test_snoozing_counts_nowhere_and_says_why(queue):
    calls = []

    @queue.task(retry=SOON)
    def wait_for_file(*, ctx: Context = injected) -> None:
        calls.append((ctx.job.attempt, ctx.job.retry_count, queue.get(ctx.job.id).message))
        if len(calls) < 6:
            raise Snooze(0, "no file yet")

    handle = wait_for_file.push()
    queue.start()
    assert handle.wait(10)
    assert calls == [(1, 0, ""), *((n, 0, "no file yet") for n in range(2, 7))]


def test_a_task_may_cancel_itself(queue):
    @queue.task(retry=SOON)
    def send() -> None:
        raise Cancel("unsubscribed")

    handle = send.push()
    queue.start()
    assert handle.wait(10)
    job = queue.get(handle.id)
    assert (job.status, job.message, job.attempt) == (JobStatus.CANCELLED, "unsubscribed", 1)


# timeouts


def test_a_thread_that_runs_out_of_time_is_told_and_left_behind(queue):
    told, gate = threading.Event(), Gate()

    @queue.task(timeout=0.05)
    def hang(*, ctx: Context = injected) -> None:
        if ctx.wait(10):
            told.set()
        gate()

    handle = hang.push()
    queue.start()
    assert handle.wait(10)  # its outcome is settled, though its thread still runs
    assert told.wait(10)
    assert gate.has_come()
    assert queue.get(handle.id).message == "TimedOut: expected the job to end within 0.05 s, but it still ran"
    gate.open.set()


def test_a_coroutine_that_runs_out_of_time_is_cancelled(queue):
    cancelled = threading.Event()

    @queue.task(timeout=0.05)
    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    handle = hang.push()
    queue.start()
    assert cancelled.wait(10)
    assert handle.wait(10)
    assert queue.get(handle.id).message.startswith("TimedOut: ")


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_timeout_is_retried_as_any_error(queue, kind):
    attempts, end = [], threading.Event()

    def hang(*, ctx: Context = injected) -> None:
        attempts.append(ctx.job.attempt)
        ctx.wait(10)

    async def hang_async(*, ctx: Context = injected) -> None:
        attempts.append(ctx.job.attempt)
        await asyncio.sleep(10)

    task = queue.task(name="hang", timeout=0.02, retry=SOON)(hang if kind == "def" else hang_async)
    handle = task.push()
    queue.start()
    assert handle.wait(10)
    end.set()
    assert attempts == [1, 2, 3]


ISOLATED = """
import os, signal, time
from datetime import timedelta
from workqueue import Backoff, Context, Queue, injected

queue = Queue("jobs.db", processes=2, concurrency=4)
SOON = Backoff(min=timedelta(0), max=timedelta(0), limit=2)

@queue.task(isolated=True, keep_results=3600)
def where() -> int:
    return os.getpid()

@queue.task(isolated=True, keep_results=3600)
async def where_async(number: int) -> tuple[int, int]:
    return number, os.getpid()

@queue.task(isolated=True, timeout=0.2, retry=SOON)
def hang(folder: str, *, ctx: Context = injected) -> None:
    open(f"{folder}/{ctx.job.attempt}-{os.getpid()}", "w").close()
    while True:
        time.sleep(60)

@queue.task(isolated=True, retry=SOON, retry_on=OSError)
def fail(folder: str, word: str, *, ctx: Context = injected) -> None:
    open(f"{folder}/{word}-{ctx.job.attempt}", "w").close()
    raise {"OSError": OSError, "ValueError": ValueError}[word]

def plain() -> None: ...

renamed = queue.task(isolated=True, name="renamed")(plain)

@queue.task(isolated=True)
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_isolated_tasks_run_in_children_and_give_results(program):
    app = program(ISOLATED)
    app.queue.start()
    assert app.where.push().result(30) != os.getpid()
    number, pid = app.where_async.push(5).result(30)
    assert number == 5
    assert pid != os.getpid()


def test_an_isolated_task_that_its_module_has_under_another_name_is_told_so(program):
    app = program(ISOLATED)
    app.queue.start()
    handle = app.renamed.push()
    assert handle.wait(30)
    assert app.queue.get(handle.id).message.startswith(
        "UsageError: expected 'app:plain' to be a task, or else what has do_work(ctx, job), but it is a function; let"
    )


WITHOUT_GUARD = """
from workqueue import Queue

queue = Queue("jobs.db", processes=1)

@queue.task(name="apart", isolated=True)
def apart() -> None: ...

handle = apart.push()
queue.start()
handle.wait(20)
print(queue.get(handle.id).message)
print(len(queue.jobs()))
queue.close()
"""


def test_a_script_without_a_guard_does_not_push_again_in_its_child(tmp_path):
    (tmp_path / "script.py").write_text(WITHOUT_GUARD)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    message, jobs = done.stdout.splitlines()
    assert "there: UsageError: expected no push while a child process imports the module of its task" in message
    assert jobs == "1"


def test_an_isolated_task_that_hangs_is_killed_and_tried_again(program, tmp_path):
    app = program(ISOLATED)
    app.queue.start()
    (tmp_path / "seen").mkdir()
    handle = app.hang.push(str(tmp_path / "seen"))
    assert handle.wait(30)
    assert app.queue.get(handle.id).message == "TimedOut: expected the job to end within 0.2 s, but it still ran"
    begun = dict(file.name.split("-") for file in (tmp_path / "seen").iterdir())
    assert sorted(begun) == ["1", "2"]
    assert [pid for pid in begun.values() if Path(f"/proc/{pid}").exists()] == []


def test_the_policy_of_an_isolated_task_holds(program, tmp_path):
    app = program(ISOLATED)
    app.queue.start()
    for word in ("OSError", "ValueError"):
        assert app.fail.push(str(tmp_path), word).wait(30)
    assert sorted(file.name for file in tmp_path.glob("*Error-*")) == ["OSError-1", "OSError-2", "ValueError-1"]


def test_an_isolated_task_that_dies_harms_no_other(program):
    app = program(ISOLATED)
    app.queue.start()
    dead, alive = app.die.push(), app.where.push()
    assert alive.result(30) != os.getpid()
    assert dead.wait(30)
    job = app.queue.get(dead.id)
    assert job.status is JobStatus.FAILED
    assert job.message.startswith(f"{ChildDied.__name__}: ")
    assert app.where.push().result(30) != os.getpid()


# names that are not known, and data that do not fit


def test_a_job_of_an_unknown_name_waits_visibly_until_a_process_knows_it(on_file):
    old, new = on_file(), on_file()
    old.task(name="mail.send")(lambda: None)
    done = old.task(name="done")(lambda: None).push
    ran = threading.Event()
    report = new.task(name="mail.report")(lambda: ran.set())
    handle = report.push()
    old.start()
    assert done().wait(10)
    old.stop()
    job = old.get(handle.id)
    assert (job.status, job.attempt, job.retry_count) == (JobStatus.PENDING, 1, 0)
    assert job.message == (
        "no task 'mail.report' is known here; known: done, mail.send; is the module that defines it imported?"
    )
    assert timedelta(0) < job.run_at - datetime.now(UTC) <= timedelta(seconds=5)
    assert not ran.is_set()
    new.start()
    assert ran.wait(10)
    assert handle.wait(10)


def test_a_job_of_a_task_in_a_script_says_why_nobody_knows_it(queue):
    queue.task(name="send")(lambda: None)
    job_id = queue.push("__main__.send", {})
    seen = threading.Event()
    queue.task(name="see")(lambda: seen.set()).push()
    queue.start()
    assert seen.wait(10)
    queue.stop()
    assert queue.get(job_id).message == (
        "no task '__main__.send' is known here; known: see, send; it was pushed by a script that was run itself, and "
        "is called otherwise where that is imported: give the task a `name=`, or keep it in a module"
    )


def test_a_job_whose_data_fit_no_more_fails_readably_is_edited_and_runs(on_file):
    before, after = on_file(), on_file()

    @before.task(name="send")
    def send_before(to: str) -> None: ...

    sent = []

    @after.task(name="send")
    def send(address: str, subject: str = "Hello") -> None:
        sent.append((address, subject))

    handle = send_before.push("ada")
    after.start()
    assert handle.wait(10)
    [job] = after.jobs(status="failed")
    assert job.message == "InvalidPayload: task 'send' has no parameter 'to' (any more); it has 'address', 'subject'"
    assert after.edit(job.id, {"address": job.decode(dict)["to"]}) is True
    assert after.restore(job.id) == 1
    assert after.wait_idle(10)
    assert sent == [("ada", "Hello")]


def test_a_push_by_name_runs_the_task_of_that_name(queue):
    got = []

    @queue.task(name="greet")
    def greet(name: str, times: int = 2) -> None:
        got.append((name, times))

    queue.push("greet", {"name": "ada"})
    wrong = queue.push("greet", ["ada"])
    queue.push("greet", {"name": "bob", "times": 5}, priority=9)
    queue.start()
    assert queue.wait_idle(10)
    assert sorted(got) == [("ada", 2), ("bob", 5)]
    message = """InvalidPayload: expected the arguments of task 'greet' as a JSON object, got: b'["ada"]'"""
    assert queue.get(wrong).message.startswith(message)


def test_a_push_by_name_carries_no_limits_keys_or_backoff_of_the_task(queue):
    @queue.task(name="fetch", limit=1, key_by="url", priority=5, retry=SOON)
    def fetch(url: str) -> None: ...

    by_task, by_name = queue.get(fetch.push("a").id), queue.get(queue.push("fetch", {"url": "a"}))
    assert (by_task.priority, by_name.priority) == (5, 0)
    assert (by_task.backoff, by_name.backoff) == (SOON, Backoff())
    assert by_task.terms is not None
    assert (by_task.terms.key, by_name.terms) == ("a", None)


class Plain:
    def id(self) -> str:
        return "plain"

    def do_work(self, ctx: Context, job: Job) -> None: ...


def test_a_queue_has_a_worker_or_tasks(open_queue):
    queue = open_queue(Plain())
    with pytest.raises(UsageError, match="expected a queue without a worker to make a task in, but it was opened with"):
        queue.task(name="mail")(lambda: None)


# schedules


def test_schedules_are_listed_paused_triggered_and_run(open_queue):
    queue = open_queue()
    slots: list[datetime] = []
    ran, triggered = threading.Event(), threading.Event()

    @queue.task(name="tick", every=timedelta(seconds=1))
    def tick(slot: datetime) -> None:
        slots.append(slot)
        ran.set()

    @queue.task(name="report", every="30 2 1 1 *", timezone="Europe/Berlin")
    def report(on: date) -> None:
        slots.append(datetime(on.year, on.month, on.day))
        triggered.set()

    assert queue.schedules() == []  # whoever runs them registers them
    queue.start()
    assert [standing.name for standing in queue.schedules()] == ["report", "tick"]
    at = queue.schedules()[0].next_at
    assert (at.month, at.day, at.hour, at.minute) == (1, 1, 1, 30)  # in UTC
    assert ran.wait(10)
    assert (slots[0].microsecond, slots[0].utcoffset()) == (0, timedelta(0))
    queue.pause_schedule("tick")
    assert [standing.paused for standing in queue.schedules()] == [False, True]
    queue.resume_schedule("tick")
    assert [standing.paused for standing in queue.schedules()] == [False, False]
    assert queue.trigger("report").wait(10)
    assert triggered.is_set()
    for verb in (queue.pause_schedule, queue.resume_schedule, queue.trigger):
        with pytest.raises(
            ScheduleNotFound, match="expected the name of a schedule of queue 'default', got: 'nightly'"
        ):
            verb("nightly")


def test_each_slot_is_run_once_by_several_runners(on_file):
    slots: list[datetime] = []
    enough = threading.Event()

    def tick(slot: datetime) -> None:
        slots.append(slot)
        if len(slots) == 3:
            enough.set()

    for queue in (on_file(), on_file()):
        queue.task(name="tick", every=timedelta(seconds=1))(tick)
        queue.start()
    assert enough.wait(15)
    assert sorted(set(slots)) == sorted(slots)


def test_a_schedule_whose_slots_would_lack_a_key_is_refused(queue):
    with pytest.raises(InvalidOption, match="expected a key of task 'tick' beside unique_for, got: unique_for=1:00:00"):
        queue.task(name="tick", every="@daily", unique_for=HOUR)(lambda: None)
    queue.task(name="tick", every="@daily", unique_for=HOUR, key_by="day")(one_a_day)
    assert queue.trigger("tick").id == queue.trigger("tick").id


def one_a_day(day: date) -> None: ...


def test_a_schedule_that_comes_after_the_start_is_refused(open_queue):
    queue = open_queue()
    queue.task(name="other")(lambda: None)
    queue.start()
    with pytest.raises(UsageError, match="expected periodic task 'tick' to be made before the queue is started"):
        queue.task(name="tick", every="@daily")(lambda: None)
    queue.stop()
    queue.task(name="tick", every="@daily")(lambda: None)
    queue.start()
    assert [standing.name for standing in queue.schedules()] == ["tick"]


# batches and chains


def test_a_batch_is_watched_and_followed(queue):
    followed = threading.Event()

    @queue.task
    def part(number: int) -> None:
        if number == 3:
            raise ValueError

    @queue.task
    def finish(word: str) -> None:
        followed.set()

    with queue.batch(then=finish.s("done")) as batch:
        for number in range(5):
            batch.add(part.s(number))
    assert queue.size().waiting == 6
    queue.start()
    assert batch.wait(10)
    standing = queue.find_batch(batch.id).standing()
    assert (standing.total, standing.completed, standing.failed, standing.cancelled) == (5, 4, 1, 0)
    assert followed.wait(10)


def test_a_batch_whose_block_raises_is_cancelled(queue):
    part = queue.task(name="part")(lambda number: None)
    with pytest.raises(ZeroDivisionError), queue.batch(then=part.s(0)) as batch:
        for number in range(1_500):
            batch.add(part.s(number))
        raise ZeroDivisionError
    assert queue.wait_idle(0)
    assert batch.standing().is_done
    assert queue.jobs(status="pending") == []


def test_a_batch_takes_nothing_but_calls_of_its_own_queue(queue):
    part = queue.task(name="part")(lambda number: None)
    batch = queue.batch()
    handle = part.push(0)
    for wrong, said in ((part, "<task 'part'>"), (handle, repr(handle)), (("a",), "('a',)")):
        with pytest.raises(TypeError, match=re.escape(f"expected a call, as task.s(...) gives it, got: {said}")):
            batch.add(wrong)
    with Queue(":memory:", id="elsewhere") as other:
        stranger = other.task(name="part")(lambda number: None)
        said = f"own queue, 'default', got one of {stranger!r} of another Queue, 'elsewhere'; make a batch there"
        with pytest.raises(UsageError, match=re.escape(said)):
            batch.add(stranger.s(1))
    batch.add(part.s(1))
    batch.seal()
    assert batch.standing().total == 1


def test_what_follows_a_batch_is_refused_before_there_is_a_batch(queue):
    task = queue.task(name="sum")(lambda values: None)
    with Queue(":memory:", id="elsewhere") as other:
        stranger = other.task(name="sum")(lambda values: None)
        for wrong, error, said in (
            (task, TypeError, "expected a call, as task.s(...) gives it, got: <task 'sum'>"),
            (task.s(), TypeError, "sum() missing a required argument: 'values'"),
            (task.s([float("nan")]), InvalidPayload, "$.values[0]: nan"),
            (stranger.s([]), UsageError, "got one of <task 'sum'> of another Queue, 'elsewhere'; make a batch there"),
        ):
            with pytest.raises(error, match=re.escape(said)):
                queue.batch(then=wrong)
    assert queue._store.batches.newest(10) == []


def test_a_batch_whose_end_cannot_be_stored_is_cancelled(queue):
    part = queue.task(name="part")(lambda number: None)
    single = part.using(key="k", on_conflict="error")
    single.push(0)
    with pytest.raises(DuplicateJob), queue.batch(then=part.s(0)) as batch:
        for number in range(1_500):
            batch.add(part.s(number))
        batch.add(single.s(0))
    assert batch.standing().cancelled == 1_000
    assert batch.standing().is_done
    assert queue.size().waiting == 1


def test_a_batch_that_can_neither_be_ended_nor_cancelled_is_as_it_was(queue, monkeypatch):
    part = queue.task(name="part")(lambda number: None)
    with monkeypatch.context() as patch, pytest.raises(StoreUnavailable), queue.batch(then=part.s(0)) as batch:
        for number in range(999):
            batch.add(part.s(number))
        for room, verb in ((queue._store, "push"), (queue._store.batches, "seal"), (queue._store.batches, "cancel")):
            patch.setattr(room, verb, raises(StoreUnavailable("away", path="")))
        with pytest.raises(StoreUnavailable):
            batch.add(part.s(999))
    assert not batch.standing().sealed
    batch.add(part.s(999))
    assert batch.standing().total == 1_000
    batch.seal()
    assert queue.size().waiting == 1_001


def test_a_batch_that_is_cut_short_at_its_end_is_not_there_and_can_be_ended_again(queue, monkeypatch):
    part = queue.task(name="part")(lambda number: None)
    batch = queue.batch(then=part.s(0))
    for number in range(5):
        batch.add(part.s(number))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(queue._store.batches, "seal", raises(KeyboardInterrupt))
        batch.seal()
    assert queue.jobs() == []  # nobody waits for what will not come
    batch.seal()
    assert [job.decode()["number"] for job in queue.jobs()] == [0, 1, 2, 3, 4, 0]
    queue.start()
    assert batch.wait(10)
    assert queue.wait_idle(10)


def test_a_batch_joins_the_transaction_it_is_made_in(queue):
    part = queue.task(name="part")(lambda number: None)
    with pytest.raises(ZeroDivisionError), queue.transaction():
        with queue.batch(then=part.s(0)) as batch:
            batch.add(part.s(1))
        raise ZeroDivisionError
    assert queue.jobs() == []
    with queue.transaction(), queue.batch(then=part.s(0)) as batch:
        batch.add(part.s(1))
    queue.start()
    assert batch.wait(10)
    assert queue.wait_idle(10)


def raises(error: BaseException | type[BaseException]) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


def test_a_batch_is_cancelled_by_its_id(queue):
    part = queue.task(name="part")(lambda number: None)
    with queue.batch() as batch:
        for number in range(5):
            batch.add(part.s(number))
    assert batch.wait(0) is False
    assert queue.find_batch(batch.id).cancel() == 5
    assert batch.wait(10)
    assert batch.standing().cancelled == 5


def test_a_chain_passes_each_result_on(queue):
    @queue.task
    def number(text: str) -> int:
        return int(text)

    @queue.task
    def add(a: int, b: int) -> int:
        return a + b

    @queue.task(keep_results=HOUR)
    async def say(value: int, *, word: str) -> str:
        return f"{word} {value}"

    queue.start()
    assert chain(number.s("5"), add.s(10), say.s(word="it is")).push().result(10) == "it is 15"
    assert chain(number.s("5"), add.s(b=1), say.s(word="or")).push().result(10) == "or 6"


def test_a_chain_ends_where_one_of_it_fails(queue):
    ran = []

    @queue.task(name="number", keep_results=HOUR)
    def number(text: str) -> int:
        return int(text)

    @queue.task(name="tell", keep_results=HOUR)
    def tell(value: int) -> None:
        ran.append(value)

    handles = chain(number.s("five"), tell.s(), tell.s()).push_all()
    queue.start()
    for before, handle in pairwise(handles):
        with pytest.raises(JobCancelled, match=f"job {before.id}, which it follows, is (failed|cancelled)"):
            handle.result(10)
    assert [handle.status().name for handle in handles] == ["FAILED", "CANCELLED", "CANCELLED"]
    assert ran == []


def test_a_wrong_chain_writes_nothing(queue):
    none = queue.task(name="none")(lambda: None)
    one = queue.task(name="one")(lambda value: None)
    with pytest.raises(
        InvalidOption, match="expected task 'none' to have a parameter free for the result of the job b"
    ):
        chain(one.s(1), none.s()).push()
    with pytest.raises(TypeError, match=re.escape("one() missing a required argument: 'value'")):
        chain(one.s(), one.s()).push()
    with pytest.raises(UsageError, match="expected two calls or more, of tasks of one queue, got: "):
        chain(one.s(1))  # type: ignore[call-overload]
    for wrong, said in (([[one.s(1), one.s()]], "[Call(task=<task 'one'>"), ([one.s(1), one], "<task 'one'>")):
        with pytest.raises(TypeError, match=re.escape(f"expected a call, as task.s(...) gives it, got: {said}")):
            chain(*wrong)
    with pytest.raises(UsageError, match="expected no call in a chain to ask for a key"):
        chain(one.using(key="k").s(1), one.s())
    assert queue.jobs() == []


# limits


def test_a_limit_holds_across_queue_objects(on_file):
    gate = Gate()

    def work(host: str) -> None:
        gate()

    queues = [on_file(concurrency=4) for _ in range(2)]
    tasks = [queue.task(name="work", limit=2, limit_by="host")(work) for queue in queues]
    for queue in queues:
        queue.start()
    tasks[0].push_many([("a",)] * 6)
    assert gate.has_come()
    assert gate.has_come()
    assert not gate.has_come(within=0.3)
    tasks[1].push("b")  # another host is another lane
    assert gate.has_come()
    gate.open.set()
    assert queues[0].wait_idle(10)


LIMITED = """
from workqueue import Queue
queue = Queue("jobs.db", concurrency=4)

@queue.task(name="limited", limit=1)
def limited() -> None: ...

@queue.task(name="free")
def free() -> None: ...
"""


def test_a_limit_holds_across_processes_of_workqueue_run(tmp_path):
    (tmp_path / "app.py").write_text(LIMITED)
    gate = Gate()
    with Queue(tmp_path / "jobs.db") as here:
        limited = here.task(name="limited", limit=1)(lambda: gate())
        free = here.task(name="free")(lambda: None)
        first = limited.push()
        here.start()
        assert gate.has_come()
        with workqueue_run("app:queue", tmp_path):
            second = limited.push()
            free.push_many([()] * 3)
            # Here is room for one job, and one that is claimed ahead: the other process runs the rest.
            assert eventually(lambda: len(here.jobs(name="free")) <= 1)
            assert second.status() is JobStatus.PENDING
            gate.open.set()
            assert first.wait(10)
            assert second.wait(10)
        assert here.check() == []


class workqueue_run:
    """A process of `workqueue run` in a folder; drained at the end of the block."""

    def __init__(self, target: str, folder: Path) -> None:
        source = Path(importlib.import_module("workqueue").__file__ or "").parents[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workqueue", "run", target],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(source)},
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        _, said = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, said


def test_a_rate_lets_so_many_start_within_a_time(queue):
    ran: list[str] = []
    three = threading.Semaphore(0)

    @queue.task(rate="3/hour", rate_by="host")
    def fetch(host: str) -> None:
        ran.append(host)
        three.release()

    fetch.push_many([("a",)] * 5 + [("b",)] * 2)
    queue.start()
    assert all(three.acquire(timeout=10) for _ in range(5))
    assert not three.acquire(timeout=0.2)
    assert sorted(ran) == ["a", "a", "a", "b", "b"]


def test_jobs_that_are_ordered_run_one_after_another_and_others_beside_them(queue):
    gate = Gate()
    ran: list[tuple[str, int]] = []

    @queue.task(ordered_by="account")
    def book(account: str, number: int) -> None:
        if (account, number) == ("a", 0):
            gate()
        ran.append((account, number))

    book.push_many([("a", 0), ("a", 1), ("a", 2)])
    handles = [book.push("b", number) for number in range(3)]
    queue.start()
    assert gate.has_come()
    assert all(handle.wait(10) for handle in handles)
    assert ran == [("b", 0), ("b", 1), ("b", 2)]
    gate.open.set()
    assert queue.wait_idle(10)
    assert ran[3:] == [("a", 0), ("a", 1), ("a", 2)]


def test_higher_priorities_run_first(open_queue):
    queue = open_queue()
    ran: list[str] = []

    @queue.task(priority=1)
    def note(word: str) -> None:
        ran.append(word)

    note.push("default")
    note.using(priority=-1).push("low")
    note.using(priority=7).push("high")
    queue.start()
    assert queue.wait_idle(10)
    assert ran == ["high", "default", "low"]


def test_a_job_that_expired_is_not_run(queue):
    ran: list[str] = []

    @queue.task(expires=1e-6, keep_results=HOUR)
    def note(word: str) -> None:
        ran.append(word)

    expired = note.push("late")
    fresh = note.using(expires=HOUR).push("in time")
    queue.start()
    assert fresh.wait(10)
    with pytest.raises(JobCancelled, match="expired"):
        expired.result(10)
    assert ran == ["in time"]


# keys


def test_the_key_of_a_job_that_waits_is_kept_replaced_or_an_error(queue):
    task = queue.task(name="build")(lambda version: None)
    first = task.using(key="site").push(1)
    assert task.using(key="site").push(2).id == first.id
    assert task.using(key="other").push(3).id != first.id
    with pytest.raises(DuplicateJob, match=f"of key 'site' to wait or run, but job {first.id} does") as caught:
        task.using(key="site", on_conflict="error").push(4)
    assert (caught.value.key, caught.value.job_id) == ("site", first.id)
    newer = task.using(key="site", on_conflict="replace").push(5)
    assert newer.id != first.id
    assert first.status() is JobStatus.CANCELLED
    assert queue.get(newer.id).decode() == {"version": 5}


def test_a_key_is_free_again_when_its_job_has_ended_unless_it_is_unique_for_longer(queue):
    task = queue.task(name="build", key_by="site")(lambda site, version=0: None)
    queue.start()
    short = task.push("a")
    long = task.using(unique_for=HOUR).push("b")
    assert short.wait(10)
    assert long.wait(10)
    assert task.push("a", 1).id != short.id
    assert task.push("b", 1).id == long.id


def test_key_by_makes_calls_that_agree_one_job(queue):
    @queue.task(key_by="url", on_conflict="keep")
    def fetch(url: str, depth: int = 0) -> None: ...

    ids = fetch.push_many([("a",), ("b",), ("a", 1), {"url": "b", "depth": 2}])
    assert ids[0] == ids[2]
    assert ids[1] == ids[3]
    assert queue.size().waiting == 2


def test_a_task_that_is_unique_for_a_time_is_pushed_with_a_key_or_not_at_all(queue):
    task = queue.task(name="build", unique_for=HOUR, on_conflict="error", limit=1)(lambda version: None)
    keeping = queue.task(name="keeping", on_conflict="keep")(lambda version: None)
    plain = queue.task(name="plain")(lambda version: None)
    for push in (
        lambda: task.push(1),
        lambda: task.using(priority=5).push(1),
        lambda: task.push_many([(1,), (2,)]),
        lambda: asyncio.run(task.apush(1)),
        lambda: chain(plain.s(1), task.s()).push(),
        lambda: queue.batch(then=task.s(1)),
    ):
        with pytest.raises(InvalidOption, match="of task 'build' beside unique_for, got: unique_for=1:00:00 alone"):
            push()
    with pytest.raises(InvalidOption, match="beside on_conflict, got: on_conflict=keep alone"):
        keeping.push(1)
    assert queue.jobs() == []
    task.using(key="site").push(1)
    with pytest.raises(DuplicateJob):
        task.using(key="site").push(2)


def test_arguments_that_are_equal_share_keys_and_lanes_however_they_are_written(queue):
    @queue.task(name="fetch", key_by="ratio", limit=1, limit_by="at", rate="5/s", rate_by="tags", ordered_by="host")
    def fetch(ratio: float, at: datetime, tags: set[str], host: str = "null", note: str | None = None) -> None: ...

    at, tags = datetime(2030, 1, 1, 12, tzinfo=UTC), ["c", "a", "d", "b"]
    first = fetch.push(1, at, set(tags))
    assert fetch.push(1.0, at.astimezone(timezone(HOUR)), set(reversed(tags))).id == first.id
    other = fetch.push(0.5, at.astimezone(timezone(HOUR)), set(reversed(tags)))
    terms, others = queue.get(first.id).terms, queue.get(other.id).terms
    assert (terms.limit, terms.rate, terms.order) == (others.limit, others.rate, others.order)
    assert terms.order == "fetch host=null"
    assert terms.rate.name == 'fetch tags=["a","b","c","d"]'


def test_none_is_not_the_text_null(queue):
    task = queue.task(name="fetch", key_by="site")(optional_site)
    assert task.push(None).id != task.push("null").id


def optional_site(site: str | None) -> None: ...


def test_calls_in_a_chain_share_the_lanes_of_others(queue):
    @queue.task(name="fetch", ordered_by="ratio")
    def fetch(page: int | None, ratio: float) -> None: ...

    alone = fetch.push(1, 2.0)
    chained = chain(fetch.s(1, 2), fetch.s(ratio=2)).push_all()
    assert {queue.get(handle.id).terms.order for handle in (alone, *chained)} == {"fetch ratio=2"}


# pausing


def test_a_paused_task_waits_until_it_is_resumed(queue):
    ran = threading.Event()
    paused = queue.task(name="mail")(lambda: ran.set())
    other = queue.task(name="other")(lambda: None)
    queue.pause("mail")
    assert queue.paused() == ["mail"]
    handle = paused.push()
    queue.start()
    assert other.push().wait(10)
    assert not ran.is_set()
    queue.resume("mail")
    assert ran.wait(10)
    assert handle.wait(10)
    assert queue.paused() == []


# asyncio


def test_a_handler_of_a_web_framework_pushes_and_awaits_without_blocking_its_loop(queue):
    """As in FastAPI: many requests at once on one loop, whose other callbacks go on meanwhile."""
    gate = Gate()

    @queue.task(keep_results=HOUR)
    def render(page: int) -> str:
        if page == 0:
            gate()
        return f"page {page}"

    async def route(page: int) -> dict[str, object]:
        handle = await render.apush(page)
        return {"id": handle.id, "text": await handle}

    async def serve() -> list[dict[str, object]]:
        first = asyncio.create_task(route(0))
        others = await asyncio.gather(*(route(page) for page in range(1, 20)))
        assert not first.done()
        gate.open.set()
        return [await first, *others]

    queue.start()
    answers = asyncio.run(asyncio.wait_for(serve(), 20))
    assert [answer["text"] for answer in answers] == [f"page {page}" for page in range(20)]
    assert len({answer["id"] for answer in answers}) == 20


def test_a_handle_whose_wait_is_interrupted_anywhere_holds_up_nobody(queue):
    task = queue.task(name="five", keep_results=HOUR)(lambda: 5)
    handle, other = task.push(), task.push()
    files = "workqueue/handle.py", "workqueue/watch.py", "threading.py", "concurrent/futures/_base.py"
    with ThreadPoolExecutor(1) as another:
        answer = another.submit(other.result, 30)
        until(lambda: queue._watch._thread)
        interrupt_anywhere(lambda: handle.wait(0.002), *files)
        queue.start()
        assert answer.result(30) == 5


def test_a_handle_that_no_thread_could_watch_does_not_spoil_the_next(queue, monkeypatch):
    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    task = queue.task(name="five", keep_results=HOUR)(lambda: 5)
    handle = task.push()
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="new thread"):
        patch.setattr(threading.Thread, "start", no_thread)
        handle.wait(10)
    queue.start()
    assert handle.result(10) == 5


def test_a_handle_that_nobody_awaits_any_more_is_let_go(queue):
    task = queue.task(name="never", keep_results=HOUR)(lambda: 5)

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await task.push()

    asyncio.run(impatient())
    queue.start()
    assert task.push().result(10) == 5


def test_start_with_neither_worker_nor_tasks_does_nothing_and_says_so(queue, caplog):
    assert queue.start() is False
    assert caplog.messages == [
        f"nothing was started: queue 'default' of {queue.path} has no worker, and no task of it is known here; import "
        "the modules that define its tasks before start()"
    ]
    queue.task(name="one")(lambda: None)
    assert queue.start() is True
    assert queue.start() is False
    assert len(caplog.messages) == 1


def test_handles_survive_what_has_left_the_file(queue):
    task = queue.task(name="done")(lambda: None)
    queue.start()
    handle = task.push()
    assert handle.wait(10)
    assert handle.cancel() is False
    with pytest.raises(JobNotFound):
        queue.get(handle.id)

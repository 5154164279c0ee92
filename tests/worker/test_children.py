"""Isolated jobs: whatever happens to a child process is its own job's end, and nobody else's."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import workqueue
from workqueue.context import Context
from workqueue.control import Retry
from workqueue.executor import children
from workqueue.executor.children import Child, ChildExecutor
from workqueue.executor.messages import Line
from workqueue.job import Claim, Job
from workqueue.lifecycle import Cancelled, HandedBack, Postponed, Raised, Returned

MIB = 1024 * 1024


class Watched(Context):
    """Says when there is progress."""

    def __init__(self, *args) -> None:
        self.news = threading.Event()
        self.told: list[object] = []
        super().__init__(*args)

    @property
    def progress_data(self):
        return json.dumps(self.told[-1]).encode() if self.told else None

    @progress_data.setter
    def progress_data(self, data):
        self.told.append(json.loads(data))
        self.news.set()

    def first_progress(self):
        assert self.news.wait(30)
        return self.told[0]


class Pool:
    """A ChildExecutor, and what came of its contexts."""

    def __init__(self, *, processes=1, max_jobs=None, max_memory=None) -> None:
        self._rung = threading.Event()
        self.executor = ChildExecutor(
            processes=processes, max_jobs=max_jobs, max_memory=max_memory, enough=1, ready=self._rung.set
        )
        self._outcomes: dict[Context, object] = {}
        self._ids = iter(range(1, 10_000))

    def start(self, name, data=None, *, entry="isolated:deeds", timeout=None, policy=None) -> Watched:
        job = Job(id=next(self._ids), name=name, data=json.dumps(data).encode(), attempt=1)
        context = Watched(Claim(job, 1, timedelta(0), 0), None, 0.0)
        context.entry, context.timeout, context.policy = entry, timeout, policy
        self.executor.submit([context])
        return context

    def outcome(self, context):
        while context not in self._outcomes:
            assert self._rung.wait(60)
            self._rung.clear()
            self._outcomes |= dict(self.executor.collect())
        return self._outcomes[context]

    def run(self, name, data=None, **more):
        return self.outcome(self.start(name, data, **more))

    def value(self, name, data=None, **more):
        outcome = self.run(name, data, **more)
        assert isinstance(outcome, Returned), outcome
        return json.loads(outcome.result)


@pytest.fixture
def pool(monkeypatch):
    """Make pools; afterwards no process and no descriptor of theirs is left."""
    born: list[Child] = []
    pools: list[Pool] = []

    class Recorded(Child):
        def __init__(self) -> None:
            super().__init__()
            self.starter = threading.current_thread()
            born.append(self)

    def make(**options) -> Pool:
        pools.append(Pool(**options))
        return pools[-1]

    monkeypatch.setattr(children, "Child", Recorded)
    before = os.listdir("/proc/self/fd")
    yield make
    threads = [thread for one in pools for thread in one.executor._threads._threads]
    for one in pools:
        one.executor.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert [child.process.returncode for child in born if child.process.returncode is None] == []
    assert len(os.listdir("/proc/self/fd")) == len(before)


def has_ended(pid, patience=30.0) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], patience)[0])
    finally:
        os.close(descriptor)


def test_the_result_comes_back(pool):
    outcome = pool().run("plain", {"a": [1, "ü"]})
    assert outcome == Returned(json.dumps({"a": [1, "ü"]}).encode(), timedelta(hours=1))


def test_a_child_is_kept_warm_and_its_surroundings_are_the_parents(pool):
    one = pool()
    assert one.value("pid") == one.value("pid") != os.getpid()
    said = one.value("surroundings")
    assert (said["stdin"], said["child"], said["leads"], said["thread"]) == ("/dev/null", True, True, True)
    assert said["argv"] == [sys.argv[0]]
    assert set(map(os.path.abspath, sys.path)) <= set(said["path"])


def test_what_a_job_sets_in_its_context_the_next_in_its_child_does_not_see(pool):
    one = pool()
    (first, pid), (second, same) = one.value("sets_tenant", "alice"), one.value("sets_tenant", "bob")
    assert pid == same
    assert (first, second) == ("everybody", "everybody")


def test_a_program_that_an_isolated_job_starts_runs_jobs_of_its_own(pool):
    program = (
        "from workqueue import Queue\n"
        "queue = Queue(':memory:', auto_start=False)\n"
        "queue.task(name='n')(lambda: print('it ran'))\n"
        "queue.push_bytes('n', b'{}')\n"
        "print(queue.start(), queue.wait_idle(30))\n"
    )
    assert set(pool().value("starts_a_program", program).splitlines()) == {"it ran", "True True"}


def test_as_many_children_as_allowed_and_no_more(pool):
    one = pool(processes=2)
    waiting = [one.start("waits") for _ in range(3)]
    pids = {context.first_progress() for context in waiting[:2]}
    assert len(pids) == 2
    assert not waiting[2].news.is_set()
    for context in waiting:
        context.cancel()
    assert [one.outcome(context).result for context in waiting] == [b"[true, false, false]"] * 3
    assert waiting[2].first_progress() in pids


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("snooze", 5, Postponed(timedelta(seconds=5))),
        ("raises", None, "ValueError: no good"),
        ("sys_exits", None, "SystemExit: 3"),
        ("no_json", None, "TypeError: Object of type object is not JSON serializable"),
        ("transaction", None, "UsageError: expected ctx.transaction() in the process that claimed the job, but an"),
    ],
)
def test_what_a_child_raises_is_told_as_ever(pool, name, data, expected):
    outcome = pool().run(name, data)
    if isinstance(expected, str):
        assert isinstance(outcome, Raised)
        assert outcome.error.startswith(expected)
        assert f"in {name}" in outcome.traceback or name == "no_json"
        assert "isolated.py" in outcome.traceback.splitlines()[1] or name == "no_json"  # where the user's code begins
        assert not outcome.recoverable
    else:
        assert outcome == expected


def test_control_works_from_a_child(pool):
    one = pool()
    cancelled = one.run("cancel", "not wanted")
    assert isinstance(cancelled, Cancelled)
    assert cancelled.reason == "not wanted"
    again = one.run("recoverable", 7)
    assert (again.recoverable, again.delay) == (True, timedelta(seconds=7))
    by_policy = one.run("policy", 9)
    assert (by_policy.recoverable, by_policy.delay, by_policy.error) == (
        True,
        timedelta(seconds=9),
        "ValueError: by policy",
    )


def test_async_handlers_run_in_a_child(pool):
    one = pool()
    assert isinstance(one.run("any", entry="isolated:async_deeds"), Returned)
    sleeping = one.start("sleep", entry="isolated:async_deeds")
    assert sleeping.first_progress() == "here"
    sleeping.cancel()
    assert isinstance(one.outcome(sleeping), Returned)


@pytest.mark.parametrize(
    ("name", "data", "code", "says"),
    [
        ("segfault", None, -signal.SIGSEGV, "the child process ended with signal SIGSEGV"),
        ("exits", 3, 3, "the child process ended with exit code 3"),
        ("exits", 0, 0, "the child process ended with exit code 0"),
        ("fork_leaves", None, 5, "the child process ended with exit code 5"),
        ("closes_all", None, 1, "the child process ended with exit code 1"),
        ("shuts_all", None, None, "the child process closed its line to the queue"),
        ("babbles", None, None, "the child process wrote into its line to the queue"),
        ("mutters", None, None, "the child process wrote into its line to the queue"),
    ],
)
def test_a_child_that_dies_fails_its_job_by_its_policy_and_the_next_gets_another(pool, name, data, code, says):
    one = pool()
    first = one.value("pid")
    asked = []

    def policy(error):
        asked.append(error)
        return Retry(timedelta(seconds=1))

    outcome = one.run(name, data, policy=policy)
    assert isinstance(outcome, Raised)
    assert outcome.error.startswith(f"ChildDied: {says}")
    assert (outcome.recoverable, outcome.delay) == (True, timedelta(seconds=1))
    assert [error.code for error in asked] == [code]
    assert one.value("pid") != first
    assert has_ended(first)


def test_a_child_killed_from_outside(pool):
    one = pool()
    context = one.start("waits")
    os.kill(context.first_progress(), signal.SIGKILL)
    outcome = one.outcome(context)
    assert outcome.error.startswith("ChildDied: the child process ended with signal SIGKILL")
    assert not outcome.recoverable


def test_an_idle_child_killed_from_outside_costs_no_job(pool):
    one = pool()
    pid = one.value("pid")
    os.kill(pid, signal.SIGKILL)
    assert one.value("pid") != pid


def test_a_child_that_talks_nonsense_has_run_its_job_once(pool, tmp_path, monkeypatch):
    """Its first true word, that it began, is read together with that, and lost."""
    one, really, talked = pool(), Line.wait, tmp_path / "ran and talked"
    one.value("pid")

    def wait(self, seconds):
        while not talked.exists():
            pass
        really(self, seconds)

    monkeypatch.setattr(Line, "wait", wait)
    assert "wrote into its line" in one.run("counts", str(tmp_path / "ran")).error
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_job_is_put_off_when_no_child_can_be_started(pool, monkeypatch):
    def refuse(*_args, **_options):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    one = pool()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        outcome = one.run("plain")
    assert isinstance(outcome, Postponed)
    assert outcome.reason.startswith("what is to run it could not be started: BlockingIOError")
    assert isinstance(one.run("plain"), Returned)


def test_a_hundred_good_jobs_beside_segfaults(pool):
    one = pool(processes=2)
    contexts = [one.start("segfault" if number % 20 == 0 else "plain", number) for number in range(105)]
    outcomes = [one.outcome(context) for context in contexts]
    assert sum(isinstance(outcome, Returned) for outcome in outcomes) == 99
    assert sum(isinstance(outcome, Raised) and "SIGSEGV" in outcome.error for outcome in outcomes) == 6


def test_a_timeout_kills_the_child_and_what_it_started(pool):
    one = pool()
    context = one.start("hang", timeout=1.0, policy=lambda error: Retry())
    pid, helper = context.first_progress()
    outcome = one.outcome(context)
    assert outcome.error == "TimedOut: expected the job to end within 1 s, but it still ran"
    assert outcome.recoverable
    assert has_ended(pid)
    assert has_ended(helper)
    assert 0 < one.value("time_left", timeout=60) <= 60
    assert one.value("time_left") is None


def test_starting_and_importing_do_not_count_for_the_timeout(pool, tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(0.5)\nfrom isolated import deeds\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert pool().value("plain", 1, entry="slow_to_import:deeds", timeout=0.4) == 1


def test_too_much_memory_kills_the_child_with_a_clear_word(pool):
    one = pool(max_memory=150 * MIB)
    context = one.start("hog", 400)
    outcome = one.outcome(context)
    assert outcome.error.startswith("ChildDied: the child process took ")
    assert "which is more than max_memory (150 MiB), and was killed" in outcome.error
    assert one.value("plain", 1) == 1


def test_a_child_that_has_grown_is_replaced(pool, monkeypatch):
    monkeypatch.setattr(ChildExecutor, "_check_memory", lambda *_: None)  # a job too quick to be seen at it
    one = pool(max_memory=150 * MIB)
    pid = one.value("pid")
    assert one.value("pid") == pid
    assert one.value("grows", 300) == pid
    assert one.value("pid") != pid
    assert has_ended(pid)


def test_a_child_is_replaced_after_so_many_jobs(pool):
    one = pool(max_jobs=2)
    pids = [one.value("pid") for _ in range(5)]
    assert [pids.index(pid) for pid in pids] == [0, 0, 2, 2, 4]
    assert has_ended(pids[0])


def test_interrupting_kills_what_hangs_at_the_stop(pool):
    one = pool()
    context = one.start("hang")
    pid, helper = context.first_progress()
    one.executor.halt()
    one.executor.interrupt(context)
    assert one.outcome(context) == HandedBack()
    assert has_ended(pid)
    assert has_ended(helper)


def test_closing_lets_a_running_job_end(pool):
    one = pool()
    context = one.start("waits")
    context.first_progress()
    one.executor.close()
    context.deadline, context.cancel_requested = datetime.now(UTC), True
    context.cancel()
    assert one.outcome(context).result == b"[true, true, true]"


def test_closing_ends_no_thread_that_started_a_child_which_still_runs(pool, monkeypatch):
    """The system kills the children of a thread that ends, and another thread may be speaking with one of them."""
    one, speaker, really = pool(processes=2), {}, ChildExecutor._converse

    def converse(self, child, context):
        speaker[context] = threading.current_thread()
        return really(self, child, context)

    monkeypatch.setattr(ChildExecutor, "_converse", converse)
    while True:
        first, second = one.start("waits"), one.start("waits")
        pid = [context.first_progress() for context in (first, second)][1]
        if one.executor._running[second].starter is speaker[first]:
            break
        for context in (first, second):
            context.cancel()
            assert isinstance(one.outcome(context), Returned)
        one.executor._idle.reverse()
    one.executor.close()
    first.cancel()
    assert isinstance(one.outcome(first), Returned)
    assert not has_ended(pid, patience=0.3)
    second.cancel()
    assert isinstance(one.outcome(second), Returned)


def test_a_late_cancellation_does_not_reach_the_next_job(pool, monkeypatch):
    one = pool()
    first = one.start("plain")
    one.outcome(first)
    second = one.start("waits")
    second.first_progress()
    line, said = one.executor._running[second].line, []
    with monkeypatch.context() as patch:
        patch.setattr(line, "send", said.append)
        first.cancel()
    assert said == []
    second.cancel_requested = True
    second.cancel()
    assert one.outcome(second).result == b"[true, false, true]"


def test_progress_comes_and_the_newest_wins(pool):
    context = (one := pool()).start("progress", 5_000)
    one.outcome(context)
    assert context.told[0] == {"done": 0}
    assert context.told[-1] == {"done": 4_999}
    assert len(context.told) < 500


def test_progress_that_came_too_soon_is_told_a_little_later(pool):
    one = pool()
    context = one.start("progress_twice")
    while context.told != [1, 2]:
        context.news.clear()
        if context.told != [1, 2]:
            assert context.news.wait(30)
    context.cancel()
    assert isinstance(one.outcome(context), Returned)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("no_such_module:deeds", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("isolated:nothing", "AttributeError: module 'isolated' has no attribute 'nothing'"),
    ],
)
def test_what_cannot_be_imported_is_said_readably(pool, entry, says):
    one = pool()
    outcome = one.run("plain", entry=entry)
    assert outcome.error.startswith(f"UsageError: expected '{entry}' to name what has do_work(ctx, job) and can be")
    assert says in outcome.error
    assert one.value("plain", 1) == 1


def test_what_is_no_task_and_no_worker_is_said_readably(pool):
    outcome = pool().run("plain", entry="isolated:Deeds.plain")
    assert outcome.error.startswith(
        "UsageError: expected 'isolated:Deeds.plain' to be a task, or else what has do_work(ctx, job), but it is a "
        "function; let its module have the task itself under its function's name, as a decorator does"
    )


@pytest.mark.parametrize(
    "push",
    [
        'queue.push("n")',
        'asyncio.run(queue.apush("n"))',
        'queue.push_many("n", [1])',
        "queue.batch(then=queue.task(name='n')(print).s()).seal()",
    ],
)
def test_nothing_is_pushed_while_a_child_imports(pool, tmp_path, monkeypatch, push):
    (tmp_path / "pushes.py").write_text(
        "import asyncio\nfrom isolated import deeds\nfrom workqueue import Queue\n"
        f"queue = Queue({str(tmp_path / 'jobs.db')!r})\n{push}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    one = pool()
    outcome = one.run("plain", entry="pushes:deeds")
    assert "there: UsageError: expected no push while a child process imports the module of its task" in outcome.error
    assert 'belongs under `if __name__ == "__main__":`' in outcome.error
    with workqueue.Queue(tmp_path / "jobs.db") as queue:
        assert queue.jobs() == []
    assert one.value("plain", 1) == 1


def test_a_grandchild_does_not_go_on_as_a_child(pool):
    one = pool()
    assert one.value("fork_returns") == "parent"
    assert one.value("plain", 1) == 1


def test_what_children_print_goes_where_the_parents_words_go(pool, capfd, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    pool().value("prints", "hello from a child")
    assert capfd.readouterr().out == "hello from a child\n"


SCRIPT = """
import ctypes, sys, os, threading, time
from datetime import timedelta
from workqueue.context import Context
from workqueue.executor.children import ChildExecutor
from workqueue.job import Claim, Job
from workqueue.lifecycle import Returned

count = 0

class Deeds:
    def do_work(self, ctx, job):
        global count
        count += 1
        if job.name == "hang unless told":
            ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # no signal when the parent dies
        if job.name.startswith("hang"):
            ctx.progress(os.getpid())
            threading.Event().wait()
        return None

deeds = Deeds()

class Telling(Context):
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "progress_data":
            print(value.decode(), flush=True)

if __name__ == "__main__":
    rung = threading.Event()
    executor = ChildExecutor(processes=2, max_jobs=None, max_memory=None, enough=1, ready=rung.set)
    for number, name in enumerate(sys.argv[1:]):
        context = Telling(Claim(Job(id=number, name=name, data=b"null"), 1, timedelta(0), 0), None, 0.0)
        context.entry = "__main__:deeds"
        executor.submit([context])
    if sys.argv[1] == "hang unless killed":
        sys.stdin.readline()
        if os.fork() == 0:  # which keeps all lines open
            print(os.getpid(), flush=True)
            time.sleep(600)
    rung.wait()
    print(executor.collect()[0][1], flush=True)
    executor.close()
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "a script without suffix"
    path.write_text(SCRIPT)
    running: list[subprocess.Popen] = []

    def start(*names):
        environment = os.environ | {"PYTHONPATH": str(Path(workqueue.__file__).parents[1])}
        command = [sys.executable, str(path), *names]
        running.append(
            subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_a_script_is_loaded_by_its_path_and_not_run_again(script):
    said, _ = script("plain").communicate(timeout=60)
    assert said.startswith("Returned("), said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["hang", "hang unless told", "hang unless killed"])
def test_children_die_with_their_parent(script, name):
    """By the kernel's signal, or by the end of their line; each is enough."""
    parent = script(name, name)
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    holder = None
    if name == "hang unless killed":
        parent.stdin.write("\n")
        parent.stdin.flush()
        holder = int(parent.stdout.readline())
    parent.kill()
    assert all(has_ended(pid) for pid in pids)
    if holder is not None:
        os.kill(holder, signal.SIGKILL)

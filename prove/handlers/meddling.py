"""Deeds that meddle with the process, its threads, the loop, or the queue itself."""

from __future__ import annotations

import asyncio
import ctypes
import decimal
import gc
import io
import locale
import logging
import os
import resource
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
import warnings
from contextlib import suppress
from types import FrameType

from workqueue import Context, Job, LeaseLost, Queue

_kept: list[object] = []  # what a program forgets in some global


def _raiser(*_: object) -> None:
    raise RuntimeError("a hook that raises")


# the process


def closes_streams(ctx: Context, job: Job, queue: Queue) -> None:
    for number in (0, 1, 2):
        os.close(number)
    raise ValueError("into the dark")


def closes_stderr(ctx: Context, job: Job, queue: Queue) -> None:
    sys.stderr.close()
    raise ValueError("into the dark")


def replaces_streams(ctx: Context, job: Job, queue: Queue) -> None:
    sys.stdout = sys.stderr = io.StringIO()


def moves_away(ctx: Context, job: Job, queue: Queue) -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def surroundings(ctx: Context, job: Job, queue: Queue) -> None:
    os.environ.clear()
    os.environ["TZ"] = "Australia/Lord_Howe"
    time.tzset()
    os.umask(0o777)
    os.nice(1)
    locale.setlocale(locale.LC_ALL, "C")
    decimal.getcontext().prec = 1
    socket.setdefaulttimeout(1e-6)
    warnings.simplefilter("error")


def interpreter(ctx: Context, job: Job, queue: Queue) -> None:
    gc.disable()
    sys.setrecursionlimit(100_000)
    sys.setswitchinterval(1)
    sys.unraisablehook = sys.excepthook = threading.excepthook = _raiser  # type: ignore[assignment]


def shallow_recursion(ctx: Context, job: Job, queue: Queue) -> None:
    sys.setrecursionlimit(30)


def signals(ctx: Context, job: Job, queue: Queue) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def masks_signals(ctx: Context, job: Job, queue: Queue) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))


def shuts_logging_down(ctx: Context, job: Job, queue: Queue) -> None:
    logging.shutdown()
    raise ValueError("unheard")


def logging_raises(ctx: Context, job: Job, queue: Queue) -> None:
    logging.getLogger("workqueue.runner").addFilter(_raiser)  # type: ignore[arg-type]
    raise ValueError("unheard")


def traces(ctx: Context, job: Job, queue: Queue) -> None:
    """The well-known way to make a thread killable, here with a killer that comes too late."""

    def trace(frame: FrameType, event: str, argument: object) -> None:
        if "workqueue" in frame.f_code.co_filename:
            raise SystemExit

    sys.settrace(trace)  # type: ignore[arg-type]


def traces_new_threads(ctx: Context, job: Job, queue: Queue) -> None:
    threading.setprofile(_raiser)
    threading.settrace(_raiser)


def late_timeout(ctx: Context, job: Job, queue: Queue) -> None:
    """The well-known timeout for threads: an exception thrown into them, which here comes after the end."""
    thread = threading.get_ident()

    def throw() -> None:
        time.sleep(0.05)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeoutError))

    threading.Thread(target=throw, daemon=True).start()


def hogs_memory(ctx: Context, job: Job, queue: Queue) -> None:
    """Fills the address space to the last page, and stays there for some beats."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 64 * 1024 * 1024, before[1]))
    held: list[object] = []
    size = 1024 * 1024
    try:
        while size >= 512:
            try:
                held.append(bytearray(size))
            except MemoryError:
                size //= 2
        time.sleep(1)
        held.append(bytearray(1024 * 1024 * 1024))
    finally:
        held.clear()
        resource.setrlimit(resource.RLIMIT_AS, before)


def floods_stdout(ctx: Context, job: Job, queue: Queue) -> None:
    for _ in range(20_000):
        print("\x1b[2J" * 20)


def holds_interpreter(ctx: Context, job: Job, queue: Queue) -> None:
    """C code that keeps the interpreter lock for longer than the lease."""
    ctypes.PyDLL(None).usleep(1_500_000)


# its end


def aborts(ctx: Context, job: Job, queue: Queue) -> None:
    os.abort()


def exits(ctx: Context, job: Job, queue: Queue) -> None:
    os._exit(7)


def segfaults(ctx: Context, job: Job, queue: Queue) -> None:
    ctypes.string_at(0)


def kills(ctx: Context, job: Job, queue: Queue) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def closes_line(ctx: Context, job: Job, queue: Queue) -> None:
    """As whoever becomes a daemon does."""
    os.closerange(3, 256)


def talks_into_line(ctx: Context, job: Job, queue: Queue) -> None:
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                os.write(int(name), b"is anybody there? " * 10)
    time.sleep(60)


def alarms(ctx: Context, job: Job, queue: Queue) -> None:
    signal.raise_signal(signal.SIGALRM)


def fork_exits(ctx: Context, job: Job, queue: Queue) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def fork_returns(ctx: Context, job: Job, queue: Queue) -> None:
    """The child runs on, out of the handler, into whoever called it."""
    _kept.append(os.fork())


def fork_leaves(ctx: Context, job: Job, queue: Queue) -> None:
    """As many do it: the child ends by sys.exit()."""
    if os.fork() == 0:
        sys.exit(0)


# threads


def daemon_thread(ctx: Context, job: Job, queue: Queue) -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def plain_thread(ctx: Context, job: Job, queue: Queue) -> None:
    threading.Thread(target=threading.Event().wait, daemon=False).start()


def threads_that_raise(ctx: Context, job: Job, queue: Queue) -> None:
    def work(error: BaseException) -> None:
        raise error

    for error in (ValueError("in a thread"), SystemExit(3), KeyboardInterrupt()):
        for daemon in (True, False):
            threading.Thread(target=work, args=(error,), daemon=daemon).start()


def never_ends(ctx: Context, job: Job, queue: Queue) -> None:
    while True:
        ctx.wait(0.05)
        time.sleep(0.05)


def prints_for_ever(ctx: Context, job: Job, queue: Queue) -> None:
    while True:
        print("still here", file=sys.stderr)
        time.sleep(0.001)


async def never_ends_async(ctx: Context, job: Job, queue: Queue) -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


async def swallows_cancellation(ctx: Context, job: Job, queue: Queue) -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        pass


# the loop


async def blocks_loop(ctx: Context, job: Job, queue: Queue) -> None:
    time.sleep(0.3)


async def stops_loop(ctx: Context, job: Job, queue: Queue) -> None:
    asyncio.get_running_loop().stop()


async def closes_loop(ctx: Context, job: Job, queue: Queue) -> None:
    asyncio.get_running_loop().close()


async def exits_in_task(ctx: Context, job: Job, queue: Queue) -> None:
    async def work() -> None:
        sys.exit(1)

    _kept.append(asyncio.get_running_loop().create_task(work()))
    await asyncio.sleep(0.01)


async def raises_in_callback(ctx: Context, job: Job, queue: Queue) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_raiser)
    loop.call_soon(_raiser)
    await asyncio.sleep(0.01)


async def cancels_everybody(ctx: Context, job: Job, queue: Queue) -> None:
    """What clean-up snippets do, on a loop that is not theirs."""
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()


async def breaks_task_factory(ctx: Context, job: Job, queue: Queue) -> None:
    asyncio.get_running_loop().set_task_factory(_raiser)  # type: ignore[arg-type]


def runs_a_loop(ctx: Context, job: Job, queue: Queue) -> None:
    asyncio.run(asyncio.sleep(0.001))


def runs_a_loop_first(ctx: Context, job: Job, queue: Queue) -> None:
    """Sleeps on a loop of its own, then works on without one until it is told to end."""
    asyncio.run(ctx.sleep(0.001))
    while not ctx.cancelled:
        time.sleep(0.01)


# the queue


def stops_queue(ctx: Context, job: Job, queue: Queue) -> None:
    queue.stop()


def stops_queue_in_thread(ctx: Context, job: Job, queue: Queue) -> None:
    thread = threading.Thread(target=queue.stop, daemon=True)
    thread.start()
    thread.join()


def closes_queue(ctx: Context, job: Job, queue: Queue) -> None:
    queue.close()


def uses_queue_as_manager(ctx: Context, job: Job, queue: Queue) -> None:
    with queue:
        pass


def pushes_children(ctx: Context, job: Job, queue: Queue) -> None:
    queue.push_many("child", range(1000))


def cancels_itself(ctx: Context, job: Job, queue: Queue) -> None:
    queue.cancel(job.id)
    raise ValueError("cancelled by its own hand")


def transaction_twice(ctx: Context, job: Job, queue: Queue) -> None:
    for _ in range(2):
        with ctx.transaction():
            pass


def transaction_nested(ctx: Context, job: Job, queue: Queue) -> None:
    with ctx.transaction(), ctx.transaction():
        pass


def transaction_dropped(ctx: Context, job: Job, queue: Queue) -> None:
    """Entered, and forgotten at once."""
    ctx.transaction().__enter__()


def transaction_left_open(ctx: Context, job: Job, queue: Queue) -> None:
    transaction = ctx.transaction()
    transaction.__enter__()
    _kept.append(transaction)


def transaction_commits_itself(ctx: Context, job: Job, queue: Queue) -> None:
    with ctx.transaction() as database:
        database.execute("COMMIT")


def deletes_itself(ctx: Context, job: Job, queue: Queue) -> None:
    with queue.transaction() as database:
        database.execute("DELETE FROM jobs WHERE id = ?", (job.id,))


def loses_its_lease(ctx: Context, job: Job, queue: Queue) -> None:
    deletes_itself(ctx, job, queue)
    try:
        with ctx.transaction():
            pass
    except LeaseLost:
        pass


def locks_file(ctx: Context, job: Job, queue: Queue) -> None:
    """A connection of its own keeps the write lock for a second."""
    other = sqlite3.connect(queue.path, isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(1)
    other.execute("ROLLBACK")
    other.close()

"""What the tests run in child processes: objects with a do_work, found there by name."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from datetime import timedelta

from workqueue import RecoverableWorkerError
from workqueue.control import Cancel, Retry, Snooze
from workqueue.executor.child import in_child
from workqueue.lifecycle import Returned

TENANT = ContextVar("tenant", default="nobody")
TENANT.set("everybody")  # as a module may, when it is imported


class Deeds:
    """Calls the deed of the job's name with its data."""

    def do_work(self, ctx, job):
        ctx.give = lambda value: Returned(json.dumps(value).encode(), timedelta(hours=1))
        return getattr(self, job.name)(ctx, job.decode())

    def plain(self, ctx, data):
        return data

    def pid(self, ctx, data):
        return os.getpid()

    def surroundings(self, ctx, data):
        return {
            "stdin": os.readlink("/proc/self/fd/0"),
            "child": in_child(),
            "leads": os.getsid(0) == os.getpgid(0) == os.getpid(),
            "path": sys.path,
            "argv": sys.argv,
            "thread": threading.current_thread() is threading.main_thread(),
        }

    def segfault(self, ctx, data):
        ctypes.string_at(0)

    def exits(self, ctx, data):
        os._exit(data)

    def sys_exits(self, ctx, data):
        sys.exit(3)

    def raises(self, ctx, data):
        raise ValueError("no good")

    def recoverable(self, ctx, data):
        raise RecoverableWorkerError("again", delay=data)

    def snooze(self, ctx, data):
        raise Snooze(data)

    def cancel(self, ctx, data):
        raise Cancel(data)

    def policy(self, ctx, data):
        ctx.policy = lambda error: Retry(timedelta(seconds=data))
        raise ValueError("by policy")

    def no_json(self, ctx, data):
        return object()

    def transaction(self, ctx, data):
        with ctx.transaction():
            pass

    def prints(self, ctx, data):
        print(data)

    def sets_tenant(self, ctx, data):
        before = TENANT.get(), os.getpid()
        TENANT.set(data)
        return before

    def starts_a_program(self, ctx, data):
        return subprocess.run([sys.executable, "-c", data], check=True, capture_output=True, text=True).stdout

    def hog(self, ctx, data):
        ctx.progress(os.getpid())
        held = bytearray(data * 1024 * 1024)
        while True:
            held[0] = 1
            time.sleep(0.01)

    def grows(self, ctx, data):
        self.held = bytearray(data * 1024 * 1024)
        return os.getpid()

    def hang(self, ctx, data):
        """Deaf to everything, and with a child of its own."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        ctx.progress([os.getpid(), helper.pid])
        while True:
            time.sleep(600)

    def waits(self, ctx, data):
        ctx.progress(os.getpid())
        cancelled = ctx.wait(60)
        return [cancelled, ctx.deadline is not None, ctx.cancel_requested]

    def time_left(self, ctx, data):
        return ctx.time_left()

    def progress(self, ctx, data):
        for number in range(data):
            ctx.progress({"done": number})

    def progress_twice(self, ctx, data):
        ctx.progress(1)
        ctx.progress(2)
        ctx.wait(60)

    def fork_leaves(self, ctx, data):
        """The grandchild keeps the line open, and this process dies."""
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        os._exit(5)

    def fork_returns(self, ctx, data):
        """The grandchild runs on, out of the handler."""
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return "parent" if child else "grandchild"

    def closes_all(self, ctx, data):
        os.closerange(3, 256)

    def shuts_all(self, ctx, data):
        for descriptor in range(3, 64):
            try:
                socket.socket(fileno=os.dup(descriptor)).shutdown(socket.SHUT_WR)
            except OSError:
                pass
        time.sleep(600)

    def counts(self, ctx, data):
        """Note that it ran, and then that it has talked nonsense."""
        with open(data, "a") as file:
            file.write("ran\n")
        self.talk_nonsense()
        with open(f"{data} and talked", "w"):
            pass
        time.sleep(600)

    def babbles(self, ctx, data):
        self.talk_nonsense()
        time.sleep(600)

    def mutters(self, ctx, data):
        self.talk_nonsense(b"\n")

    def talk_nonsense(self, words=b"hello, is anybody there? " * 10):
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, words)
            except OSError:
                pass


class AsyncDeeds:
    async def do_work(self, ctx, job):
        ctx.progress("here")
        return await ctx.sleep(60) if job.name == "sleep" else await asyncio.sleep(0, "slept")


deeds = Deeds()
async_deeds = AsyncDeeds()

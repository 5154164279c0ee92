"""Workers for the signal tests: `python handlers.py KIND FILE`; each line they print is an event."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

from workqueue import Context, Job, LeaseLost, Queue


def say(word: str, *values: object) -> None:
    os.write(1, f"{' '.join(map(str, (word, *values)))}\n".encode())  # one piece, whatever other threads say


class Handler:
    def id(self) -> str:
        return "handler"

    def do_work(self, ctx: Context, job: Job) -> None:
        say("began", job.id, job.attempt)
        getattr(self, job.name)(ctx, job)
        say("ended", job.id, job.attempt)

    def good(self, ctx: Context, job: Job) -> None:
        pass

    def held(self, ctx: Context, job: Job) -> None:
        """Goes on when a line comes, at the first attempt only."""
        if job.attempt == 1:
            sys.stdin.readline()

    def frozen(self, ctx: Context, job: Job) -> None:
        if job.attempt == 1:
            # In its own turn to write, so that no other thread of this process is inside a commit: whoever is frozen
            # there keeps the file's write lock (see "Not promised" in docs/guarantees.md). And by this thread's own
            # hand: a signal to the process may let this thread run on for a while.
            with queue._store._database._turn():
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        try:
            with ctx.transaction() as database:
                database.execute("INSERT INTO effects VALUES (?, ?)", (job.id, job.attempt))
        except LeaseLost as error:
            say("refused", error.job_id, error.attempt)
            raise

    def deadly(self, ctx: Context, job: Job) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def segfault(self, ctx: Context, job: Job) -> None:
        ctypes.string_at(0)

    def forks(self, ctx: Context, job: Job) -> None:
        """The child pushes, or only looks, and ends without a word to SQLite."""
        for push in (True, False):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    if push:
                        queue.push("good", "from a child")
                    code = 0 if queue.size().waiting else 2
                finally:
                    os._exit(code)
            say("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


kind, path = sys.argv[1:]
options = {"stop": {"lease": 1, "poll_rate": 0.1}, "fast": {"poll_rate": 0.1, "batch_size": 10, "concurrency": 2}}
queue = Queue(path, Handler(), **options[kind])
say("up")
threading.Event().wait()

"""run: a process that works. It imports the user's queue, runs it, and ends it in three steps.

How urgently to end is a level that only rises: 1 drain, 2 hand back at once, 3 now. It comes from signals to this
process (the nth means level n) and, through the leash, from the process that started it; the higher one counts. So
Ctrl-C in a terminal and a service manager, which signal parent and children alike, are not heard twice.

With --watch a change of the code drains too, and then the process becomes itself once more. A service manager that
asked for it is told how things are; of several processes, by their parent.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

import click

from workqueue.cli.codes import Code
from workqueue.cli.command import examples
from workqueue.cli.inbox import Inbox
from workqueue.cli.loading import App, app_named, load
from workqueue.cli.logs import format_option, level_option
from workqueue.cli.notifying import Manager
from workqueue.cli.options import duration_option
from workqueue.cli.output import complain
from workqueue.cli.probing import Itself
from workqueue.cli.reload import Sources, start_anew, watch_imports, when_changed
from workqueue.errors import UsageError, WorkqueueError
from workqueue.logs import Log
from workqueue.probes import QueueProbes
from workqueue.queue import Queue
from workqueue.stderr import Format, log_to_stderr

if TYPE_CHECKING:
    from workqueue.cli.listening import Ask, Listener

log = Log("workqueue.cli")

DRAIN: Final = 1
HAND_BACK: Final = 2
NOW: Final = 3
KILLED: Final = Code.INTERRUPTED  # of level 3
_STOPPED: Final = 0  # no level: the queue has stopped, and the wait is over
_BEAT: Final = -1  # nor is this: the service manager is to hear that all is well
OUR_SWITCH: Final = 0.0005  # seconds that the runner waits at each statement, beside a job that computes on a thread


@click.command(
    short_help="Run the jobs of a program, until a signal.",
    epilog=examples(
        "workqueue run app.tasks:queue",
        "workqueue run app.tasks:queue --processes 2 --grace 30s",
        "workqueue run app.tasks:queue --metrics-port 9464 --log-format json",
        "workqueue run --watch                # the app of pyproject.toml, anew at each change of its code",
    ),
)
@click.argument("target", metavar="[MODULE:QUEUE]", required=False)
@click.option("--processes", type=click.IntRange(1, 1024), default=1, show_default=True, help="Worker processes.")
@duration_option("--grace", "How long running jobs may take to end: 30s, 5m.  [default: the queue's]")
@click.option("--watch", is_flag=True, help="For development: start anew when the code changes.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Answer /metrics, /livez and /readyz there; one port for all --processes.",
)
@click.option(
    "--metrics-host", default="127.0.0.1", show_default=True, help="Of --metrics-port; 0.0.0.0 lets others ask, too."
)
@format_option
@level_option
@click.option("--probes", type=int, hidden=True, help="A line from the parent: what it is asked.")
@click.option("--leash", type=int, hidden=True, help="A pipe from the parent: levels to end at; its end is level 1.")
@click.pass_context
def run(
    ctx: click.Context,
    target: str | None,
    *,
    processes: int,
    grace: timedelta | None,
    watch: bool,
    metrics_port: int | None,
    metrics_host: str,
    log_format: Format | None,
    log_level: str | None,
    probes: int | None,
    leash: int | None,
) -> None:
    """Run the jobs of a Queue object, such as app.tasks:queue, until a signal.

    The current folder is on the import path. SIGTERM or Ctrl-C drains: no new jobs, running ones may end within the
    grace. A second one hands them back at once; a third one ends the process. Without MODULE:QUEUE it is the app in
    [tool.workqueue] of pyproject.toml, and that one's folder is on the import path too.
    """
    app = app_named(target)
    listen = None if metrics_port is None else partial(listen_at, metrics_host, metrics_port)
    manager = Manager(os.environ)
    if processes > 1:
        from workqueue.cli.processes import Processes

        if watch:
            raise UsageError("expected --watch or --processes, got both; --watch is for development, by one process")
        log_to_stderr(log_format, log_level)
        said = {
            "--grace": None if grace is None else f"{grace // timedelta(milliseconds=1)}ms",
            "--log-format": log_format,
            "--log-level": log_level,
        }
        options = [word for name, value in said.items() if value is not None for word in (name, value)]
        place = [] if target is None else [target]  # else the children find it where we did
        ctx.exit(Processes([*place, *options], processes, manager, listen=listen).run())
    itself = Itself()
    if probes is not None:
        itself.answer_parent(probes)
    listener = None if listen is None else listen(itself.ask)
    if listener is not None:
        listener.start()

    def set_up_logging() -> None:
        log_to_stderr(log_format, log_level)
        if listener is not None:
            listener.tell()

    process = _Process(grace, leash, watch_imports() if watch else None, itself, manager)
    code = process.run(app, set_up_logging)
    if listener is not None:
        listener.close()
    _leave_threads(code)
    ctx.exit(code)


def listen_at(host: str, port: int, ask: Ask) -> Listener:
    """Give what answers probes at this place."""
    from workqueue.cli.listening import Listener

    return Listener(host, port, ask)


def _leave_threads(code: int) -> None:
    """End the process without the threads that jobs left behind: Python would wait for them for ever."""
    left = [
        thread.name for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]
    if left:
        log.warning("process %d ends without threads that jobs left: %s", os.getpid(), ", ".join(left))
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


class _Process:
    """This process as a worker, from the import to the exit code.

    sources: what to watch for changes, if anything. itself: is told when it works.
    """

    def __init__(
        self, grace: timedelta | None, leash: int | None, sources: Sources | None, itself: Itself, manager: Manager
    ) -> None:
        self._itself = itself
        self._manager = manager
        self._grace = grace
        self._sources = sources
        self._changed = ""  # the file for which to start anew
        self._signalled = False
        self._events: Inbox[int] = Inbox()
        self._events.listen(self._hear)
        # Threads that a handler's threading.settrace cannot reach, because they run before any handler does.
        self._stops: SimpleQueue[tuple[Queue, timedelta | None]] = SimpleQueue()
        self._watched: SimpleQueue[Queue] = SimpleQueue()
        for level in (DRAIN, HAND_BACK):
            threading.Thread(target=self._stop, name=f"workqueue-stop-{level}", daemon=True).start()
        threading.Thread(target=self._watch, name="workqueue-watch", daemon=True).start()
        if leash is not None:
            os.set_inheritable(leash, False)
            threading.Thread(target=self._hold, args=(leash,), name="workqueue-leash", daemon=True).start()
        manager.watch(itself.ask, partial(self._events.put, _BEAT))

    def run(self, app: App, set_up_logging: Callable[[], None]) -> int:
        interval = sys.getswitchinterval()
        if self._sources is not None:
            self._sources.look_around(app.folder, app.module)
        try:
            queue = _with_work(load(app), app)
        except WorkqueueError as error:
            if self._sources is None:
                raise
            return self._wait_for_change(self._sources, error)
        self._events.listen(self._hear)  # again: the import may have set handlers of its own
        if sys.getswitchinterval() == interval:  # else the program has a mind of its own
            sys.setswitchinterval(OUR_SWITCH)
        set_up_logging()  # now: the import may have done so itself
        depth = sys.getrecursionlimit()
        queue.start()
        self._itself.probes = QueueProbes(queue)
        log.info("process %d runs %r of %s", os.getpid(), queue.id, queue.path)
        self._manager.tell(f"runs {queue.id!r} of {queue.path}")
        self._watched.put(queue)
        if self._sources is not None:
            when_changed(self._sources, self._reload)
        if not self._until_stopped(queue):
            log.warning("process %d: the queue was stopped by its own program; ending", os.getpid())
            self._manager.tell("stopped by its own program", stopping=True)
        sys.setrecursionlimit(max(depth, sys.getrecursionlimit()))  # a job may have left less than closing takes
        try:
            queue.close()
        except WorkqueueError as error:
            log.error("could not close %s: %s", queue.path, error)
        log.info("process %d has ended its work", os.getpid())
        if self._changed and not self._signalled:
            self._start_anew()
        return Code.WELL

    def _wait_for_change(self, sources: Sources, error: Exception) -> int:
        """Say what is wrong with the code, and start anew once it was changed."""
        complain(f"{error}; waiting for a change")
        when_changed(sources, self._reload, around=True)
        self._events.get()
        if not self._signalled:
            self._start_anew()
        return Code.WELL

    def _start_anew(self) -> None:
        self._manager.hand_on(os.environ)
        start_anew()

    def _reload(self, file: str) -> None:
        self._changed = file
        self._reach(DRAIN)

    def _hear(self, level: int) -> None:
        """Take the nth signal. Called from signal handlers."""
        self._signalled = True
        self._reach(level)

    def _until_stopped(self, queue: Queue) -> bool:
        """Wait until the queue has stopped; say whether that was asked for by a signal or the parent."""
        level = 0
        while wanted := self._events.get():
            if wanted == _BEAT:
                self._manager.beat()
                continue
            if wanted <= level:
                if self._changed and self._signalled:
                    log.info("ending after that, and not starting anew")
                    self._manager.tell("draining", stopping=True)
                continue
            level = wanted
            if self._changed and not self._signalled:
                log.info("%s changed: draining, then starting anew", os.path.relpath(self._changed))
            elif level == DRAIN:
                log.info("draining: no new jobs; a second signal hands the running ones back at once")
                self._manager.tell("draining", stopping=True)
            else:
                log.info("handing back what still runs")
                self._manager.tell("handing back what still runs", stopping=True)
            self._stops.put((queue, self._grace if level == DRAIN else timedelta(0)))
        return level > 0

    def _stop(self) -> None:
        queue, grace = self._stops.get()
        queue.stop(grace)

    def _watch(self) -> None:
        self._watched.get().wait_stopped()
        self._events.put(_STOPPED)

    def _hold(self, leash: int) -> None:
        while heard := os.read(leash, 1):
            self._reach(heard[0])
        self._reach(DRAIN)  # the parent is gone

    def _reach(self, level: int) -> None:
        """Ask for this level. Called from signal handlers too."""
        if level >= NOW:
            os._exit(KILLED)
        self._events.put(level)


def _with_work(queue: Queue, app: App) -> Queue:
    """Give it back, if it has jobs to run. Raises UsageError."""
    if queue.worker is None and not queue.task.names():
        raise UsageError(
            f"expected {app} to have tasks (@{app.attribute}.task), or a worker: Queue(path, worker); it can only push"
        )
    return queue

"""The table: each hostile handler by name, and what must come of its job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from prove.handlers import meddling as m
from prove.handlers import raising as r

Deed: TypeAlias = Callable[..., Any]
"""(ctx, job, queue) → what do_work gives back; awaited where the worker is asynchronous and it can be."""

THREAD: Final = "thread"
ASYNCIO: Final = "asyncio"
CHILD: Final = "child"
EXECUTORS: Final = (THREAD, ASYNCIO, CHILD)
BOTH: Final = frozenset({THREAD, ASYNCIO})
ONLY_THREAD: Final = frozenset({THREAD})
ONLY_ASYNCIO: Final = frozenset({ASYNCIO})
ONLY_CHILD: Final = frozenset({CHILD})


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One hostile handler.

    ends: the statuses its job may end in; "gone" is completed, or out of the file by its own hand. says: a pattern of
    the job's message. data: its payload. alone: meddles with the process, so no other row shares it. lease: seconds.
    code: its process ends with this (a signal's number below zero). stays: never ends by itself. quits: the worker ends
    by itself, and well. known: an open bug of the package: told as a remark, and not as a failure, while it shows.
    """

    name: str
    deed: Deed
    ends: tuple[str, ...] = ("gone",)
    says: str = ""
    data: bytes = b"null"
    executors: frozenset[str] = BOTH
    alone: bool = False
    lease: float = 60
    code: int | None = None
    stays: bool = False
    quits: bool = False
    known: str = ""


def _fails(name: str, deed: Deed, says: str, **more: Any) -> Row:
    return Row(name=name, deed=deed, ends=("failed",), says=says, **more)


def _raising(error: type[BaseException], says: str, *said: object, known: str = "") -> Row:
    return _fails(error.__name__, r.raises(error, *said), says, known=known)  # type: ignore[arg-type]


_NOT_JSON: Final = "^InvalidPayload: expected data that is JSON"

_ISOLATED_TOO: Final = frozenset(  # with the same end, for a child is told of as a thread is
    """
    ValueError, Base, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, StopIteration, StopAsyncIteration,
    CancelledError, UnicodeError, UnprintableError, UnshownError, ClasslessError, HeavyError, AskMeLaterError,
    recursion, long message, nested group, cause cycle, cause chain, notes raise, nonsense delay, broken import,
    not JSON, deep JSON, deep tree, unclean garbage, returns generator, returns much, closes streams, closes stderr,
    replaces streams, moves away, interpreter, masks signals, floods stdout, fork exits, fork returns, fork leaves,
    daemon thread, plain thread, threads that raise, never ends, pushes children, locks file
    """.replace("\n    ", " ")
    .strip()
    .split(", ")
)


def _died(name: str, deed: Deed, says: str) -> Row:
    """Give the row of a deed that ends its process: isolated, it is only the job's own end."""
    return _fails(f"{name}, isolated", deed, f"^ChildDied: the child process {says}", executors=ONLY_CHILD)


_ALL: Final[tuple[Row, ...]] = (
    # what it raises
    _raising(ValueError, "^ValueError: no good$", "no good"),
    _raising(r.Base, "^Base$"),
    _raising(SystemExit, "^SystemExit: 3$", 3),
    _raising(KeyboardInterrupt, "^KeyboardInterrupt$"),
    _raising(GeneratorExit, "^GeneratorExit$"),
    _raising(MemoryError, "^MemoryError$"),
    _raising(StopIteration, "^(StopIteration|RuntimeError: coroutine raised StopIteration)$"),
    _raising(StopAsyncIteration, "^(StopAsyncIteration|RuntimeError: coroutine raised StopAsyncIteration)$"),
    _raising(asyncio.CancelledError, "^CancelledError"),
    _raising(UnicodeError, r"^UnicodeError: \\ud800, \\x00 and \x1b\[31m$", "\ud800, \0 and \x1b[31m"),
    _raising(r.UnprintableError, "^UnprintableError: <its __str__ raised ValueError>$"),
    _raising(r.UnshownError, "^UnshownError: <its __str__ raised SystemExit>$"),
    _raising(r.ClasslessError, "^ClasslessError"),
    _raising(r.HeavyError, "^HeavyError"),
    _raising(r.AskMeLaterError, "^(ValueError|AskMeLaterError)"),
    _fails("recursion", r.recurses, "^RecursionError: "),
    _fails("long message", r.long_message, "^ValueError: x{900,}…$"),
    _fails("nested group", r.nested_group, "^ExceptionGroup: layer"),
    _fails("cause cycle", r.cause_cycle, "^ValueError: first$"),
    _fails("cause chain", r.cause_chain, "^ValueError: 19999$"),
    _fails("notes raise", r.notes_raise, "^ValueError: noted$"),
    _fails("nonsense delay", r.nonsense_delay, "^InvalidOption: expected delay"),
    _fails("spoils backoff", r.spoils_backoff, "", alone=True),
    _fails("broken import", r.broken_import, "^SyntaxError: "),
    _fails("not JSON", r.decodes, _NOT_JSON, data=b"\xff\xfe"),
    _fails("deep JSON", r.decodes, _NOT_JSON, data=b"[" * 100_000),
    _fails("deep tree", r.decodes_tree, _NOT_JSON, data=b"[" * 500_000 + b"]" * 500_000),
    Row(name="unclean garbage", deed=r.unclean_garbage),
    # what it gives back
    _fails("returns coroutine", r.returns_coroutine, "declare it `async def`", executors=ONLY_THREAD),
    _fails("returns generator", r.returns_generator, "^UsageError: ", executors=ONLY_THREAD),
    _fails("returns async generator", r.returns_async_generator, "^UsageError: ", executors=ONLY_THREAD),
    Row(name="returns much", deed=r.returns_much),
    _fails("awaits nothing", r.awaits_nothing, "^TypeError: ", executors=ONLY_ASYNCIO),
    _fails("cancelled of its own", r.raises_cancelled_of_its_own, "^CancelledError", executors=ONLY_ASYNCIO),
    Row(name="cancelled and back", deed=r.cancelled_and_back, executors=ONLY_ASYNCIO),
    # the process
    _fails("closes streams", m.closes_streams, "^ValueError: into the dark$", alone=True),
    _fails("closes stderr", m.closes_stderr, "^ValueError: into the dark$", alone=True),
    Row(name="replaces streams", deed=m.replaces_streams, alone=True),
    Row(name="moves away", deed=m.moves_away),
    Row(name="surroundings", deed=m.surroundings, alone=True),
    Row(name="interpreter", deed=m.interpreter, alone=True),
    Row(name="shallow recursion", deed=m.shallow_recursion, ends=("gone", "failed"), alone=True),
    _fails("signals", m.signals, "^ValueError: signal only works in main thread"),
    Row(name="masks signals", deed=m.masks_signals),
    _fails("shuts logging down", m.shuts_logging_down, "^ValueError: unheard$", alone=True),
    _fails("logging raises", m.logging_raises, "^ValueError: unheard$", alone=True),
    Row(name="traces", deed=m.traces, ends=("gone", "failed"), alone=True),
    Row(name="traces new threads", deed=m.traces_new_threads, alone=True),
    Row(name="late timeout", deed=m.late_timeout, ends=("gone", "failed"), alone=True),
    _fails("hogs memory", m.hogs_memory, "^MemoryError", alone=True, lease=2),
    Row(name="floods stdout", deed=m.floods_stdout),
    Row(name="holds interpreter", deed=m.holds_interpreter, alone=True, lease=1),
    Row(name="aborts", deed=m.aborts, code=-6, alone=True),
    Row(name="exits", deed=m.exits, code=7, alone=True),
    Row(name="segfaults", deed=m.segfaults, code=-11, alone=True),
    Row(name="kills", deed=m.kills, code=-9, alone=True),
    Row(name="alarms", deed=m.alarms, code=-14, alone=True),
    Row(name="fork exits", deed=m.fork_exits),
    Row(name="fork returns", deed=m.fork_returns, alone=True),
    Row(name="fork leaves", deed=m.fork_leaves, alone=True),
    # threads and the loop
    Row(name="daemon thread", deed=m.daemon_thread),
    Row(name="plain thread", deed=m.plain_thread, alone=True),
    Row(name="threads that raise", deed=m.threads_that_raise),
    Row(name="never ends", deed=m.never_ends, stays=True, executors=ONLY_THREAD),
    Row(name="prints for ever", deed=m.prints_for_ever, stays=True, executors=ONLY_THREAD),
    Row(name="ignores cancellation", deed=m.never_ends_async, stays=True, executors=ONLY_ASYNCIO),
    Row(name="swallows cancellation", deed=m.swallows_cancellation, stays=True, executors=ONLY_ASYNCIO),
    Row(name="blocks loop", deed=m.blocks_loop, executors=ONLY_ASYNCIO),
    Row(name="stops loop", deed=m.stops_loop, ends=("gone", "failed"), executors=ONLY_ASYNCIO, alone=True),
    _fails("closes loop", m.closes_loop, "^RuntimeError: Cannot close a running", executors=ONLY_ASYNCIO),
    Row(
        name="exits in task",
        deed=m.exits_in_task,
        ends=("gone", "failed"),
        executors=ONLY_ASYNCIO,
        alone=True,
    ),
    Row(name="raises in callback", deed=m.raises_in_callback, executors=ONLY_ASYNCIO, alone=True),
    Row(name="cancels everybody", deed=m.cancels_everybody, executors=ONLY_ASYNCIO, alone=True),
    Row(name="breaks task factory", deed=m.breaks_task_factory, executors=ONLY_ASYNCIO, alone=True),
    Row(name="runs a loop", deed=m.runs_a_loop, executors=ONLY_THREAD),
    _fails("runs a loop in a loop", m.runs_a_loop, "^RuntimeError: asyncio.run", executors=ONLY_ASYNCIO),
    Row(name="runs a loop first", deed=m.runs_a_loop_first, stays=True, executors=ONLY_THREAD),
    # in a child process
    _died("aborts", m.aborts, "ended with signal SIGABRT"),
    _died("exits", m.exits, "ended with exit code 7"),
    _died("segfaults", m.segfaults, "ended with signal SIGSEGV"),
    _died("kills", m.kills, "ended with signal SIGKILL"),
    _died("alarms", m.alarms, "ended with signal SIGALRM"),
    _died("closes the line", m.closes_line, "ended with exit code 1"),
    _died("talks into the line", m.talks_into_line, "wrote into its line to the queue"),
    _fails("transaction, isolated", m.transaction_twice, "^UsageError: expected ctx.transaction", executors=ONLY_CHILD),
    Row(name="signals, isolated", deed=m.signals, executors=ONLY_CHILD),
    # the queue
    Row(name="stops queue", deed=m.stops_queue, quits=True, alone=True),
    Row(
        name="stops queue in thread",
        deed=m.stops_queue_in_thread,
        ends=("gone", "pending"),
        quits=True,
        alone=True,
    ),
    _fails("closes queue", m.closes_queue, "^UsageError: expected close"),
    _fails("queue as manager", m.uses_queue_as_manager, "^UsageError: expected close"),
    Row(name="pushes children", deed=m.pushes_children),
    Row(
        name="cancels itself",
        deed=m.cancels_itself,
        ends=("failed", "cancelled"),
        says="^(|cancelled|.*ValueError: .*)$",
    ),
    Row(name="transaction twice", deed=m.transaction_twice),
    _fails("transaction nested", m.transaction_nested, "^UsageError: expected one transaction"),
    Row(name="transaction dropped", deed=m.transaction_dropped, ends=("gone", "failed")),
    _fails("transaction left open", m.transaction_left_open, "^UsageError: ", alone=True),
    _fails("commits itself", m.transaction_commits_itself, "^UsageError: expected the transaction to be open"),
    Row(name="deletes itself", deed=m.deletes_itself),
    Row(name="loses its lease", deed=m.loses_its_lease),
    Row(name="locks file", deed=m.locks_file),
)
ROWS: Final = tuple(
    msgspec.structs.replace(row, executors=row.executors | ONLY_CHILD) if row.name in _ISOLATED_TOO else row
    for row in _ALL
)
TABLE: Final[dict[str, Row]] = {row.name: row for row in ROWS}
assert len(TABLE) == len(ROWS), "each row has a name of its own"
assert {name for name in TABLE if CHILD in TABLE[name].executors} >= _ISOLATED_TOO, "each of them names a row"

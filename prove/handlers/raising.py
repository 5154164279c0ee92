"""Deeds that end a handler in an odd way: what it raises, and what it gives back."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from workqueue import Context, Job, Queue, RecoverableWorkerError


class UnprintableError(Exception):
    """Has no words for itself."""

    def __str__(self) -> str:
        raise ValueError("no words for it")

    def __repr__(self) -> str:
        raise SystemExit(3)


class UnshownError(Exception):
    """Is told by an argument that cannot be told."""

    def __init__(self) -> None:
        super().__init__(UnprintableError(), UnprintableError())


class ClasslessError(Exception):
    """Cannot be asked of what class it is."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise ValueError("no class")


class HeavyText(str):
    """Text that fails at whatever is done with it."""

    def __len__(self) -> int:
        raise MemoryError("too long to measure")

    def __format__(self, spec: str) -> str:
        raise ValueError("not to be formatted")


class HeavyError(Exception):
    def __str__(self) -> str:
        return HeavyText("heavy")


class AskMeLaterError(RecoverableWorkerError):
    """Works its delay out when asked for it, from what it was told; and was told nonsense."""

    @property
    def delay(self) -> float:  # type: ignore[override]
        return float("Retry-After: soon")

    @delay.setter
    def delay(self, value: object) -> None:
        pass


class Noted(list[str]):
    def __iter__(self) -> Generator[str]:  # type: ignore[override]
        raise ZeroDivisionError("notes")


class Base(BaseException):
    pass


def raises(error: type[BaseException], *said: object) -> object:
    """Give the deed that raises such an error."""

    def deed(ctx: Context, job: Job, queue: Queue) -> None:
        raise error(*said)

    return deed


def recurses(ctx: Context, job: Job, queue: Queue) -> None:
    recurses(ctx, job, queue)


def long_message(ctx: Context, job: Job, queue: Queue) -> None:
    raise ValueError("x" * 10_000_000)


def nested_group(ctx: Context, job: Job, queue: Queue) -> None:
    error: Exception = ValueError("innermost")
    for _ in range(2_000):
        error = ExceptionGroup("layer", [error])
    raise error


def cause_cycle(ctx: Context, job: Job, queue: Queue) -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    first.__context__, second.__context__ = second, first
    raise first


def cause_chain(ctx: Context, job: Job, queue: Queue) -> None:
    error: Exception | None = None
    for number in range(20_000):
        after = ValueError(number)
        after.__cause__ = error
        error = after
    assert error is not None
    raise error


def notes_raise(ctx: Context, job: Job, queue: Queue) -> None:
    error = ValueError("noted")
    error.__notes__ = Noted(["one"])
    raise error


def nonsense_delay(ctx: Context, job: Job, queue: Queue) -> None:
    error = RecoverableWorkerError("again")
    error.delay = "soon"  # type: ignore[assignment]
    raise error


def spoils_backoff(ctx: Context, job: Job, queue: Queue) -> None:
    """The constructor takes seconds, so why not the attribute."""
    job.backoff.max = 60  # type: ignore[assignment]
    raise RecoverableWorkerError("again")


def unclean_garbage(ctx: Context, job: Job, queue: Queue) -> None:
    class Litter:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            raise SystemExit("from __del__")

    Litter()
    gc.collect()


def broken_import(ctx: Context, job: Job, queue: Queue) -> None:
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, "broken_by_intent.py")
        module.write_text("def f(:\n")
        spec = importlib.util.spec_from_file_location("broken_by_intent", module)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def decodes(ctx: Context, job: Job, queue: Queue) -> None:
    job.decode()


def decodes_tree(ctx: Context, job: Job, queue: Queue) -> None:
    """The type is recursive, and the data are nested deeper than any stack."""
    job.decode(list)


async def _never_awaited() -> None:
    pass


def returns_coroutine(ctx: Context, job: Job, queue: Queue) -> object:
    return _never_awaited()


def returns_generator(ctx: Context, job: Job, queue: Queue) -> object:
    """A `yield` has slipped into do_work: calling it runs nothing of it."""

    def work() -> Generator[int]:
        yield 1

    return work()


def returns_async_generator(ctx: Context, job: Job, queue: Queue) -> object:
    async def work() -> AsyncGenerator[int]:
        yield 1

    return work()


def returns_much(ctx: Context, job: Job, queue: Queue) -> object:
    return [bytearray(1_000_000), sys.modules, object()]


async def awaits_nothing(ctx: Context, job: Job, queue: Queue) -> None:
    await 5  # type: ignore[misc]


async def raises_cancelled_of_its_own(ctx: Context, job: Job, queue: Queue) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def cancelled_and_back(ctx: Context, job: Job, queue: Queue) -> None:
    """Asks to be cancelled, and is done before that comes."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()

"""Running claims: a kind of executor for each kind of handler, all with the shape of `Executor`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from workqueue.context import Context
from workqueue.lifecycle import Outcome


class Executor(Protocol):
    """Runs contexts, `concurrency` at once, and keeps their outcomes until collected. One per runner.

    `ready` is rung when there is something to collect: at the first outcome, and again when `enough` of them wait or
    there is nothing left to run; and when there is more `capacity`.
    """

    def submit(self, contexts: Iterable[Context]) -> None:
        """Take these to be run, in order."""
        ...

    def collect(self) -> list[tuple[Context, Outcome]]:
        """Give the outcomes since the last call."""
        ...

    def finished(self) -> int:
        """Say how many outcomes wait to be collected."""
        ...

    def is_pressing(self) -> bool:
        """Say whether outcomes should be settled now and not gathered a little longer."""
        ...

    def halt(self) -> None:
        """Start nothing more, from this instant on. Safe from any thread, also from a handler's."""
        ...

    def take_back(self) -> list[Context]:
        """Give back those that were not started; they will not be."""
        ...

    def interrupt(self, context: Context) -> None:
        """Stop a running one by force: async handlers are cancelled, children killed; threads cannot be stopped."""
        ...

    def owns_current_thread(self) -> bool:
        """Say whether the caller is a handler that runs here."""
        ...

    def capacity(self) -> int:
        """Say how many can run at once just now: fewer than `concurrency` while too many are abandoned."""
        ...

    def abandoned(self) -> int:
        """Say how many handlers run on past their timeouts, because nothing can stop them."""
        ...

    def close(self) -> None:
        """Let go of the threads once they are idle. Does not wait for handlers."""
        ...

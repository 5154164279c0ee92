"""Reading: the look at a file that all threads of a process share, one at a time.

A worker with nothing to do asks the same again and again. So an answer can be kept until somebody writes: SQLite says
for next to nothing whether anybody has.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeAlias, TypeVar, cast

from workqueue.errors import SchemaOutdated
from workqueue.store.sqlite import schema
from workqueue.store.sqlite.connection import Connection, patiently, translated
from workqueue.store.sqlite.handles import Handles

T = TypeVar("T")
Read: TypeAlias = Callable[[Connection], T]


class Reading:
    """Safe from any thread. Raises SchemaOutdated for a file that a newer program has migrated."""

    def __init__(self, handles: Handles, path: str) -> None:
        self._handles = handles
        self._path = path
        self._reader: Connection | None = None  # of whom the rest is known
        self._version = 0  # of what is committed; it means something to that connection alone
        self._answers: dict[Hashable, object] = {}

    def read(self, work: Read[T]) -> T:
        """Run `work(connection)`, which must fetch all it reads."""
        with self._handles.reading, translated(self._path):
            return _ask(self._look(), work)

    def read_again(self, question: Hashable, work: Read[T]) -> T:
        """As `read`, but give the same answer again until somebody has written. question: its name, for this work."""
        with self._handles.reading, translated(self._path):
            reader = self._look()
            if question not in self._answers:
                self._answers[question] = _ask(reader, work)
            return cast("T", self._answers[question])

    def _look(self) -> Connection:
        """Give the reader, and forget what it was told before somebody wrote."""
        reader = self._handles.reader()
        version = _ask(reader, lambda asked: int(asked.ask("data_version").fetchone()[0]))
        if (reader, version) != (self._reader, self._version):
            self._answers.clear()
            self._reader = None
            found = _ask(reader, schema.version)
            if found > schema.VERSION:
                raise SchemaOutdated(path=self._path, found=found, known=schema.VERSION)
            self._reader, self._version = reader, version
        return reader


def _ask(reader: Connection, work: Read[T]) -> T:
    return patiently(lambda: work(reader))

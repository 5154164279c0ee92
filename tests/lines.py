"""Lines that processes write into a pipe, each read within a deadline: how tests wait for events of other processes."""

from __future__ import annotations

import os
import re
import select
import time

PATIENCE = 60.0


class Lines:
    """Reads lines from a pipe, each within a deadline."""

    def __init__(self, source: int) -> None:
        self._source = source
        self._rest = b""
        self.seen: list[str] = []

    def line(self) -> str | None:
        """Give the next line; None at the end."""
        until = time.monotonic() + PATIENCE
        while b"\n" not in self._rest:
            assert select.select([self._source], [], [], max(0.0, until - time.monotonic()))[0], self.seen
            more = os.read(self._source, 65536)
            if not more:
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        self.seen.append(line.decode())
        return self.seen[-1]

    def until(self, pattern: str) -> re.Match[str]:
        """Read up to the line that has `pattern`."""
        while (line := self.line()) is not None:
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"expected a line with {pattern!r}, got: {self.seen}")

    def to_end(self) -> None:
        """Read until nobody holds the other end any more."""
        while self.line() is not None:
            pass

"""Other processes: `python -m bench.<noun> …`, spoken to in lines of JSON, and never left behind."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[1]
_speaking = threading.Lock()


class Child:
    """A process that says "ready" when it is set up, and begins when told to."""

    def __init__(self, module: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def read(self) -> Any:
        """Give the next thing it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"expected {self._process.args!r} to say something, but it ended")
        return json.loads(line)

    def tell(self, word: str = "go") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()


def say(thing: object) -> None:
    """Tell the parent; for the child's side. Safe from any thread: what two say is not mixed up."""
    with _speaking:
        sys.stdout.write(f"{json.dumps(thing)}\n")
        sys.stdout.flush()


def ready() -> None:
    """Say so, and wait for the parent's word; ends the process when the parent is gone."""
    say("ready")
    if not sys.stdin.readline():
        sys.exit(1)

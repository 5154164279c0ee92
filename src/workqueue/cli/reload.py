"""run --watch: whether code that this process has imported was changed since.

Files are asked for their times, twice a second: that is the same on every system and file system, also where a
container sees a folder of its host and the kernel tells nothing of changes. docs/decisions/0024 says more.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Final, TypeAlias

Stamp: TypeAlias = tuple[int, int] | None
"""The time of a file and its size; None where there is none."""

_EVERY: Final = 0.5  # seconds
_INSTALLED: Final = tuple(
    os.path.join(os.path.realpath(path), "")
    for name, path in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)


class Sources(MetaPathFinder):
    """The source files of a program, as they were when Python asked for them; those of installed packages do not count.

    It stands before Python's own finders, and finds nothing itself: so it hears of each module just before that is
    loaded, also of one that then cannot be. Safe from any thread.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Stamp] = {}
        self._folders: list[str] = []
        self._around: dict[str, Stamp] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.has_location and spec.origin is not None:
            self.note(os.path.realpath(spec.origin))
        return None

    def note(self, file: str) -> None:
        """Watch a file, as it is now."""
        if not file.startswith(_INSTALLED):
            self._seen.setdefault(file, _stamp(file))

    def look_around(self, folder: str, module: str) -> None:
        """Note what stands where a module is to be imported from: it may not be there yet."""
        packages = module.split(".")[:-1]
        places = [os.getcwd(), *(os.path.join(folder, *packages[:depth]) for depth in range(len(packages) + 1))]
        self._folders = sorted({os.path.realpath(place) for place in places})
        self._around = self._beside()

    def _beside(self) -> dict[str, Stamp]:
        return {file: _stamp(file) for folder in self._folders for file in _in(folder)}

    def changed(self, *, around: bool = False) -> str | None:
        """Give a file that is not as it was. around: also one that nobody asked for, or that was not there."""
        for file, stamp in list(self._seen.items()):
            if _stamp(file) != stamp:
                return file
        now = self._beside() if around else self._around
        return next((file for file in sorted({*now, *self._around}) if now.get(file) != self._around.get(file)), None)

    def now(self) -> dict[str, Stamp]:
        """Give the files as they are now."""
        return {file: _stamp(file) for file in list(self._seen)}


def watch_imports() -> Sources:
    """Begin to note what is imported."""
    sources = Sources()
    sys.meta_path.insert(0, sources)
    # A compiled file knows its source by size and whole seconds: of two saves in one second it may keep the first.
    sys.dont_write_bytecode = True
    return sources


def when_changed(sources: Sources, tell: Callable[[str], None], *, around: bool = False) -> None:
    """Call `tell` with the name of a file, on a thread of its own, once one has changed and all stay as they are."""

    def look() -> None:
        while (file := sources.changed(around=around)) is None:
            pause.wait(_EVERY)
        # Whoever writes a file may write others, or write this one twice: so wait for a look without a change.
        before = None
        while (now := sources.now()) != before:
            before = now
            pause.wait(_EVERY / 2)
        tell(file)

    pause = threading.Event()
    threading.Thread(target=look, name="workqueue-reload", daemon=True).start()


def start_anew() -> None:
    """Become the same command once more: Python, its options, and what it was told."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command, no shell


def _in(folder: str) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(folder) if entry.name.endswith(".py"))
    except OSError:
        return []


def _stamp(file: str) -> Stamp:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size

"""The queues that ours is measured beside: R, and the embedded peers, each behind the same three verbs.

Each stands there twice: `flushed`, when what is pushed survives a power cut, and not. Whatever a peer does by default,
it is told which, by its own option or by SQLite's `synchronous`; and it gets its housekeeping, so that it stays fast.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from bench.work import objects


class Peer(Protocol):
    """One open queue of a peer; each module of this folder has one, and `VERSION`."""

    def __init__(self, path: Path, *, flushed: bool) -> None: ...

    def push(self, obj: object) -> None: ...

    def drain(self) -> int:
        """Run the jobs until none waits, as the peer's own worker does but for its waiting; give how many."""
        ...

    def close(self) -> None: ...


class Served(Protocol):
    """One open queue of a peer that lives in a server."""

    def install(self) -> None:
        """Make its tables, in an empty database."""
        ...

    def push(self, obj: object) -> None: ...
    def push_many(self, objs: Iterable[object]) -> None: ...

    def drain(self) -> int:
        """Run the jobs until none waits; give how many."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Contender:
    """A peer in one of its two ways."""

    module: str
    flushed: bool

    @property
    def key(self) -> str:
        """What `find` takes; fit for a file's name."""
        return f"{self.module}-{'flushed' if self.flushed else 'unflushed'}"

    @property
    def name(self) -> str:
        return f"{_MODULES[self.module]}, {'flushed' if self.flushed else 'not flushed'}"

    def open(self, path: Path) -> Peer:
        made: Peer = import_module(f"bench.peers.{self.module}").Queue(path, flushed=self.flushed)
        return made

    def fill(self, path: Path, count: int) -> None:
        """Push `count` jobs, not flushed: how they came there is not measured."""
        peer = Contender(self.module, flushed=False).open(path)
        for obj in objects(count):
            peer.push(obj)
        peer.close()


_MODULES: Mapping[str, str] = {
    "huey": "huey",
    "persist_queue": "persist-queue",
    "litequeue": "litequeue",
}
_SERVED: Mapping[str, str] = {"pgqueuer": "PgQueuer", "procrastinate": "procrastinate"}
_ALL: Mapping[str, str] = {**_MODULES, **_SERVED}


def here() -> Iterator[Contender]:
    """Give the contenders whose package is installed."""
    for module in _MODULES:
        if _why_missing(module) is None:
            yield from (Contender(module, flushed=True), Contender(module, flushed=False))


def find(key: str) -> Contender:
    [found] = [contender for contender in here() if contender.key == key]
    return found


def served() -> list[str]:
    """Name the peers in a server whose package is installed."""
    return [name for module, name in _SERVED.items() if _why_missing(module) is None]


def open_served(name: str, url: str) -> Served:
    [module] = [module for module, known in _SERVED.items() if known == name]
    made: Served = import_module(f"bench.peers.{module}").Queue(url)
    return made


def missing() -> list[str]:
    """Name each embedded peer that cannot be measured here, with the reason."""
    return _missing(_MODULES)


def missing_served() -> list[str]:
    """Name each peer in a server that cannot be measured here, with the reason."""
    return _missing(_SERVED)


def _missing(modules: Mapping[str, str]) -> list[str]:
    return [f"{modules[module]}: {reason}" for module in modules if (reason := _why_missing(module)) is not None]


def versions() -> list[str]:
    """Give name and version of those that can."""
    return [
        f"{name} {import_module(f'bench.peers.{module}').VERSION}"
        for module, name in _ALL.items()
        if _why_missing(module) is None
    ]


def _why_missing(module: str) -> str | None:
    try:
        import_module(f"bench.peers.{module}")
    except ImportError as error:
        return str(error)
    return None

"""Part: what one program of the loop is told to be; the word that all of its files share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec
from workqueue.store import is_url
from workqueue.store.contract import Durability

LOG: Final = "programs.log"
SERVICE = "PROVE_CRASH_PART"  # the variable that hands a part to a program that is not forked


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """slot: a name of its own, such as `worker.7`. kind: what it does there, as `by` knows: "module:function".

    path: the file, or the URL of the database. journal: it stands in the folder of the unit, as what else is written.
    seed: what is drawn from. plant: "module:function", called with the open queue before anything is done; a bug to be
    caught. service: what `workqueue run` runs, where that is its kind. tracer: the command that is to trace it from its
    first step on, but for the process's id.
    """

    slot: str
    kind: str
    path: str
    journal: str
    seed: str
    by: str = "prove.crash.programs:play"
    service: str = "prove.crash.service:queue"
    lease: float = 60.0
    durability: Durability = "full"
    timing: bool = False
    concurrency: int = 1
    plant: str = ""
    tracer: list[str] = []

    @property
    def folder(self) -> Path:
        return Path(self.journal).parent

    @property
    def log(self) -> Path:
        """Where the programs write what they say to people."""
        return self.folder / LOG

    @property
    def on_server(self) -> bool:
        """Say whether the store may be away for a while: then who asks for it asks again."""
        return is_url(self.path)

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


def decode(text: str | bytes) -> Part:
    return msgspec.json.decode(text, type=Part)


def now() -> int:
    """Give the microseconds since 1970: the clock of every `at` in the journal, and of the store."""
    return time.time_ns() // 1000

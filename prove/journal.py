"""Journal: what pushers, runners and handlers did, written down outside the store and before anything depends on it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from workqueue.job import Terms


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """at: microseconds, by a clock that all who write the journal share and that never steps back.

    by: the runner that did it, by any name that is used only once in a journal.
    """

    at: int = 0


class Pushing(Event, frozen=True, kw_only=True):
    """A push of so many jobs is about to be made; whether it came about, the next event tells, or nobody."""

    jobs: int = 1


class Pushed(Event, frozen=True, kw_only=True):
    """`push` returned the id. not_before: the job's run_at, on the clock of `at`.

    transactional: its handler writes exactly one effect, which commits with the job.
    """

    job: int
    not_before: int = 0
    transactional: bool = False


class Claimed(Event, frozen=True, kw_only=True):
    """The store gave this attempt to the runner.

    turn: a number common to the claims of one turn, which are noted in the order given; 0 is none. place: what decides
    among equal priorities: run_at in a queue by time, 0 in one by turn. clock: the store's, as it claimed.
    """

    job: int
    attempt: int
    by: str
    turn: int = 0
    priority: int = 0
    place: int = 0
    clock: int = 0


class Started(Event, frozen=True, kw_only=True):
    """The handler began.

    Of a task, its name; about: the argument that its terms depend on; got: what the job before it in a chain gave.
    """

    job: int
    attempt: int
    by: str
    task: str = ""
    about: str = ""
    got: str = ""


class Ended(Event, frozen=True, kw_only=True):
    """The handler came to its end: how is one of "returned", "again" (it will be retried), "failed", "cancelled".

    gave: its result, where one follows that is to get it.
    """

    job: int
    attempt: int
    by: str
    how: str = "returned"
    gave: str = ""


class Settled(Event, frozen=True, kw_only=True):
    """The store accepted a settlement of this attempt. to: the status by its word; by: whoever settled.

    due: by the store's clock, where it is to run again.
    """

    job: int
    attempt: int
    to: str
    by: str = ""
    due: int = 0


class Refused(Event, frozen=True, kw_only=True):
    """The store refused a settlement of this attempt: the lease was lost."""

    job: int
    attempt: int
    by: str = ""


class Vanished(Event, frozen=True, kw_only=True):
    """The runner died, or was frozen past its leases, or was stopped while it held jobs: others may take over."""

    by: str
    why: str = "killed"


class Batched(Event, frozen=True, kw_only=True):
    """A batch of so many jobs was stored, with one that follows it."""

    batch: str
    jobs: int


class Forgiven(Event, frozen=True, kw_only=True):
    """A person took the job out: cleaned, cancelled or restored; it need not end by itself.

    to: the status it has now, if that changed; why: what the store says of it. clock: the store's. Others than persons
    cancel, too: what has expired, what is replaced, what follows a job that failed.
    """

    job: int
    to: str = ""
    why: str = ""
    clock: int = 0


# What jobs ask for beyond their turn. These must be noted in the order of the commits; only a simulation can do so.


class Asked(Event, frozen=True, kw_only=True):
    """The job was stored. due, clock: its run_at and the time, by the store's clock. unique_until: its key is taken."""

    job: int
    queue: str
    name: str
    terms: Terms
    due: int = 0
    clock: int = 0
    unique_until: int = 0


class Paused(Event, frozen=True, kw_only=True):
    """Jobs of this name (empty: all of the queue) are not to start, or may again."""

    queue: str
    name: str
    on: bool


class Sealed(Event, frozen=True, kw_only=True):
    """No more jobs come into the batch."""

    batch: int


class Fired(Event, frozen=True, kw_only=True):
    """The job of a schedule's slot was stored. slot: by the store's clock."""

    job: int
    queue: str
    name: str
    slot: int


class SetBack(Event, frozen=True, kw_only=True):
    """The store's clock was set back: what it counted by time, it may have forgotten."""


HANDLER = "its handler"  # as `Settled.by`: the transaction of the job's own handler completed it

AnyEvent = (
    Pushing
    | Pushed
    | Claimed
    | Started
    | Ended
    | Settled
    | Refused
    | Vanished
    | Forgiven
    | Asked
    | Paused
    | Sealed
    | Batched
    | Fired
    | SetBack
)
_decoder = msgspec.json.Decoder(AnyEvent)
_encode = msgspec.json.encode


class Journal:
    """A file of events, one JSON object a line; any number of processes may append to it at once.

    durable: flush each line to the disk; wanted where the machine may die, and not only processes.
    """

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self._durable = durable
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(self, *events: AnyEvent) -> None:
        """Append the events in one write, so that lines of several processes never mix."""
        os.write(self._file, b"".join(_encode(event) + b"\n" for event in events))
        if self._durable:
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def read(path: Path) -> Sequence[AnyEvent]:
    """Give the events in the order written. A last line that a death cut short is left out."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [_decoder.decode(line) for line in whole.splitlines()]

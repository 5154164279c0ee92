"""The records of a job: what is pushed, what is stored, what a runner holds. Frozen; the verbs are the queue's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final, Literal, NoReturn, TypeAlias, TypeVar, overload

import msgspec

from workqueue import payload
from workqueue.backoff import Backoff
from workqueue.errors import InvalidPayload

T = TypeVar("T")
OnConflict: TypeAlias = Literal["keep", "replace", "error"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class JobStatus(IntEnum):
    """Where a job stands; `str()` is the word for people. UACK, ACK and NACK are the seed's names."""

    PENDING = 0
    COMPLETED = 1
    RETRYING = 2
    FAILED = 3
    RUNNING = 4
    CANCELLED = 5
    UACK = 0
    ACK = 1
    NACK = 2

    def __str__(self) -> str:
        return self.name.lower()


class Headers(dict[str, str]):
    """What a job carries for its way: names and texts. Nobody can change it; a dict, so that msgspec knows it."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("expected the headers of a job to be looked at only; an observer adds some, by push.carry()")

    __setitem__ = __delitem__ = __ior__ = _refuse  # pyright: ignore[reportAssignmentType]
    clear = pop = popitem = setdefault = update = _refuse  # pyright: ignore[reportAssignmentType]

    def __reduce__(self) -> tuple[type[Headers], tuple[dict[str, str]]]:
        return Headers, (dict(self),)


NO_HEADERS: Final = Headers()


class Job(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One unit of work, as the store knew it at one moment.

    attempt: how often it was claimed; rises for ever, so (id, attempt) is a fencing token for foreign systems.
    retry_count: how often its handler failed. lost: how often its runner died under it.
    message: the last error, in one line. terms: what it asks for beyond its turn, if anything. runner: who runs it, or
    completed it; claimed_at: since when, where that is known (a job that is handed to its handler says neither).
    headers: what observers gave it for its way, as the context of a trace; they steer nothing here. All instants
    are aware datetimes in UTC.
    """

    id: int
    name: str
    data: bytes
    status: JobStatus = JobStatus.PENDING
    queue: str = "default"
    priority: int = 0
    run_at: datetime = _EPOCH
    pushed_at: datetime = _EPOCH
    settled_at: datetime | None = None
    attempt: int = 0
    retry_count: int = 0
    lost: int = 0
    cancel_requested: bool = False
    message: str = ""
    backoff: Backoff = msgspec.field(default_factory=Backoff)
    terms: Terms | None = None
    claimed_at: datetime | None = None
    runner: str = ""
    headers: Mapping[str, str] = NO_HEADERS

    @property
    def duration(self) -> timedelta | None:
        """How long the attempt took that completed the job, from the claim to its end; None where that is not known."""
        if self.claimed_at is None or self.settled_at is None:
            return None
        return max(timedelta(0), self.settled_at - self.claimed_at)

    @property
    def expect_at(self) -> int:
        """`run_at` in milliseconds since 1970, as the seed has it."""
        return (self.run_at - _EPOCH) // timedelta(milliseconds=1)

    @overload
    def decode(self) -> payload.Json: ...
    @overload
    def decode(self, type: type[T]) -> T: ...
    def decode(self, type: type[T] | None = None) -> T | payload.Json:
        """Give the object that was pushed; with `type`, checked and built as that type.

        Raises InvalidPayload when the data are not JSON, or not of that type; unhandled, that fails the job.
        """
        return payload.decode(self.data) if type is None else payload.decode(self.data, type)

    @classmethod
    def from_bytes(cls, data: bytes) -> Job:
        """Read what `bytes(job)` wrote. Raises InvalidPayload for anything else."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidPayload(f"expected the bytes of a Job, got {data[:40]!r}: {error}") from error

    def __bytes__(self) -> bytes:
        return msgspec.json.encode(self)

    def __str__(self) -> str:
        return bytes(self).decode()


class Lane(msgspec.Struct, frozen=True):
    """Jobs of a queue that share a limit are in one lane of this name.

    most: how many of the lane may run at once; None: any number. starts: how many may start within any `per`.
    """

    name: str
    most: int | None = None
    starts: int | None = None
    per: timedelta = timedelta(0)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a job asks for beyond its turn in the queue; most jobs ask for nothing.

    key: no second job of this queue, name and key while this one waits or runs. expires_at: not run after it.
    limit, rate: the lanes it is in, one of each kind. order: runs after all earlier jobs of this name for an order.
    batch: the batch it belongs to. follows: the job that it waits for, whose result goes into its data as `into`; or
    the batch (follows_batch).
    """

    key: str | None = None
    expires_at: datetime | None = None
    limit: Lane | None = None
    rate: Lane | None = None
    order: str | None = None
    batch: int | None = None
    followed: bool = False
    follows: int | None = None
    follows_batch: int | None = None
    into: str | None = None


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job about to be pushed.

    run_at: not before this instant; delay: not before now + delay, by the store's clock. At most one of the two.
    timing: stands in its queue by its `run_at`, and not by its turn. expires: sets the terms' `expires_at`, so long
    after now. unique_for: the terms' key stays taken for at least so long after now. on_conflict: when it is taken,
    `keep` gives the id of the job that has it, `replace` cancels that job if it still waits (if it runs: as keep),
    `error` raises DuplicateJob. headers: as of `Job`.
    """

    queue: str
    name: str
    data: bytes
    priority: int = 0
    run_at: datetime | None = None
    delay: timedelta | None = None
    timing: bool = False
    backoff: Backoff = msgspec.field(default_factory=Backoff)
    terms: Terms | None = None
    expires: timedelta | None = None
    unique_for: timedelta | None = None
    on_conflict: OnConflict = "keep"
    headers: Mapping[str, str] = NO_HEADERS


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A runner's hold on one attempt of a job: (job.id, job.attempt) is what settling must name.

    age: from the push to the claim, by the store's clock. lease_until: the store's own mark (opaque to others);
    given back when a rescuer settles, so that a lease renewed meanwhile is seen.
    """

    job: Job
    runner: int
    age: timedelta
    lease_until: int


class Attempt(msgspec.Struct, frozen=True):
    """One attempt that did not complete, kept with its job until the job leaves the file.

    outcome: `raised`, `lost` or `cancelled`; error: one line; traceback: as Python prints it, from the user's code
    on, or empty.
    """

    attempt: int
    runner: str
    started_at: datetime
    duration: timedelta
    outcome: str
    error: str
    traceback: str


class Size(msgspec.Struct, frozen=True):
    """waiting: pushed and not yet settled, running ones included. failed: kept in the archive."""

    waiting: int
    failed: int

    def __iter__(self) -> Iterator[int]:
        return iter((self.waiting, self.failed))

"""What a MemoryStore knows beside its rows: of keys, lanes, batches and results. Keeping and others change it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from workqueue.store.batching import BatchStanding

Key: TypeAlias = tuple[str, str, str]
_Place: TypeAlias = tuple[str, str]


@dataclass
class Beside:
    """By queue and name: pauses; and key: taken, (job, until, since).

    By queue and lane: starts, and the closed lanes of a rate, (most, opens_at, since). By id: batches, when they were
    done, results with their end (and the queue where they are counted), progress.
    """

    pauses: set[_Place] = field(default_factory=set[_Place])
    taken: dict[Key, tuple[int, int, int]] = field(default_factory=dict[Key, tuple[int, int, int]])
    starts: dict[_Place, tuple[int, ...]] = field(default_factory=dict[_Place, tuple[int, ...]])
    closed: dict[_Place, tuple[int, int, int]] = field(default_factory=dict[_Place, tuple[int, int, int]])
    batches: dict[int, BatchStanding] = field(default_factory=dict[int, BatchStanding])
    done_at: dict[int, int] = field(default_factory=dict[int, int])
    results: dict[int, tuple[bytes, int, str | None]] = field(default_factory=dict[int, tuple[bytes, int, str | None]])
    progress: dict[int, bytes] = field(default_factory=dict[int, bytes])

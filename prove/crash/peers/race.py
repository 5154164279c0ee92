"""The plain loop: kill at random instants, start anew, become quiet, and see what of the acknowledged was run."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from workqueue import Job, JobStatus

from prove.audit import Ending, audit
from prove.crash import judge
from prove.crash.part import Part
from prove.crash.peers import PEERS, Peer, open_peer, title
from prove.crash.stage import Actor, Stage
from prove.journal import AnyEvent, Ended, Pushed, read
from prove.verdict import Verdict

_ROLES: Final = {"push-1": "push", "work-1": "work", "work-2": "work"}
NO_CHANGE: Final = 13.0  # seconds in which nothing changes: ours waits 10 s after a second loss, others 2 s
_LONGEST: Final = 90.0  # seconds to become quiet in


def run_peers(seconds: float, seed: int, peers: Sequence[str] = PEERS) -> list[Verdict]:
    """Give one verdict for ours and for each peer, each for its share of the time; the same is drawn for all."""
    return [run_one(name, seconds / len(peers), seed) for name in peers]


def run_one(name: str, seconds: float, seed: int) -> Verdict:
    began = time.monotonic()
    try:
        called = title(name)
    except ImportError as error:
        return Verdict(
            harness=f"crash: {name}", seed=seed, seconds=0, counts={}, remarks=[f"{name} is not here: {error}"]
        )
    with TemporaryDirectory(prefix="workqueue-prove-") as folder:
        counts, failures = Race(Path(folder), name, seed).play(seconds)
    return Verdict(
        harness=f"crash: {called}",
        seed=seed,
        seconds=time.monotonic() - began,
        counts=counts,
        failures=[f"{text} (python -m prove repeat crash ours {seed} {seconds:.0f})" for text in failures]
        if name == "ours"
        else [],
    )


class Race:
    """One peer's turn. Its file and all that belongs to it are in `folder`.

    no_change: seconds of standstill after which it is quiet, whatever waits. paths: where a module of another's is.
    """

    def __init__(
        self, folder: Path, name: str, seed: int, *, no_change: float = NO_CHANGE, paths: Sequence[Path] = ()
    ) -> None:
        self._folder = folder
        self._name = name
        self._draw = random.Random(seed)
        self._path = folder / "queue" / "jobs.db"
        self._path.parent.mkdir()
        self._stage = Stage(folder, folder / "journal", list(paths))
        self._no_change = no_change
        self._started = Counter[str]()
        self._kills = 0

    def play(self, seconds: float) -> tuple[dict[str, int], list[str]]:
        """Give the figures, and what is broken by the invariants that hold for any queue."""
        peer = open_peer(self._name, self._path, works=False)  # makes the file
        with self._stage:
            for role in _ROLES:
                self._start(role)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                self._round()
            self._stage.kill(self._stage.actors.pop("push-1"))
            self._become_quiet(peer)
            for role in ("work-1", "work-2"):  # fresh ones, whose rescue sees nobody alive
                self._stage.kill(self._stage.actors[role])
            for role in ("work-1", "work-2"):
                self._start(role)
            self._become_quiet(peer)
        return self._judged(peer.left())

    def _start(self, role: str) -> None:
        self._started[role] += 1
        part = Part(
            slot=f"{role}.{self._started[role]}",
            kind=f"{self._name}:{_ROLES[role]}",
            by="prove.crash.peers.program:play",
            path=str(self._path),
            journal=str(self._folder / "journal"),
            seed="",
        )
        self._stage.start(role, part)

    def _round(self) -> None:
        draw, stage = self._draw, self._stage
        stage.listen(draw.uniform(0.02, 0.2))
        self._revive()
        for role in draw.sample(list(_ROLES), draw.choice([1, 1, 2, 3])):
            stage.kill(stage.actors[role])
            self._kills += 1
            self._start(role)

    def _revive(self) -> None:
        for role, actor in list(self._stage.actors.items()):
            if actor.status is not None:  # an error of its own
                self._start(role)

    def _become_quiet(self, peer: Peer) -> None:
        """Wait until all that was acknowledged has ended, or nothing changes any more for long."""
        seen, changed_at, deadline = -1, time.monotonic(), time.monotonic() + _LONGEST
        while time.monotonic() < min(deadline, changed_at + self._no_change):
            self._stage.listen(0.1)
            self._revive()
            events = read(self._folder / "journal")
            if len(events) != seen:
                seen, changed_at = len(events), time.monotonic()
            if not _unfinished(events) and not peer.left():
                return

    def _judged(self, left: set[int]) -> tuple[dict[str, int], list[str]]:
        events = sorted(read(self._folder / "journal"), key=lambda event: event.at)
        # Ours keeps what was lost three times in its archive, where it waits for a person, as others' stuck jobs do.
        jobs = [Job(id=number, name="number", data=b"", status=JobStatus.FAILED, run_at=_EPOCH) for number in left]
        found = audit(events, Ending(jobs=jobs))
        unfinished = _unfinished(events)
        again = list(judge.unexplained(events))
        counts = {
            "processes killed": self._kills,
            "jobs acknowledged": found.counts["jobs acknowledged"],
            "gone and never run to the end": len(unfinished - left),
            "left for a person to bring back": len(unfinished & left),
            "run more than once": found.counts["run more than once"],
            "run again with no death to explain it": len(again),
            "programs ended by an error": sum(_failed(actor) for actor in self._stage.all),
        }
        return counts, [*found.broken, *again]


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _unfinished(events: Sequence[AnyEvent]) -> set[int]:
    """Give what was acknowledged, and has not come to the end of a run."""
    pushed = {event.job for event in events if isinstance(event, Pushed)}
    return pushed - {event.job for event in events if isinstance(event, Ended)}


def _failed(actor: Actor) -> bool:
    return not actor.wanted and actor.status not in (None, -9)

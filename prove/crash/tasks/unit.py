"""A unit of the loop whose processes run tasks, with children of their own to be killed too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from workqueue import Attempt, Job

from prove.crash import judge as crash_judge
from prove.crash.ground import Ground
from prove.crash.loop import Unit
from prove.crash.part import Part
from prove.crash.stage import Actor
from prove.crash.tasks import judge
from prove.crash.tasks.terms import APART, ROOMS
from prove.journal import AnyEvent

ROUNDS: Final = 30
HURTS: Final = {"kill": 85, "stop": 10, "freeze": 5}
PACE: Final = (0.05, 0.4)  # a child needs 0.3 s to start
_SPARED: Final = 0.3  # how often a child is killed, and the runner above it is not


class TaskUnit(Unit):
    """See the module; its arguments are those of `Unit`, on a calm file."""

    beside = Unit.beside | {ROOMS}
    threads = 4  # the loop's, one for each child, and the deadlines'

    def __init__(
        self,
        folder: Path,
        seed: int,
        number: int,
        *,
        ground: Ground | None = None,
        rounds: int = ROUNDS,
        plant: str = "",
        paths: Sequence[Path] = (),
        cast: Sequence[str] = (),
        hurts: Mapping[str, float] = HURTS,
        pace: tuple[float, float] = PACE,
    ) -> None:
        super().__init__(
            folder, seed, number,
            ground=ground, rounds=rounds, plant=plant, paths=paths, cast=cast, hurts=hurts, calm=True, pace=pace,
        )  # fmt: skip
        self._children_killed = 0

    def _cast(self) -> list[str]:
        cast = self._fixed_cast or ["push-1", "work-1", "work-2"]
        if not self._fixed_cast:
            cast = [*cast, self._draw.choice(["work-3", "pair-1", "push-2"])]
            if self._ground.needs_watchers:
                cast.append("elder-1")
        return cast

    def _part(self, role: str, *, traced: bool) -> Part:
        return msgspec.structs.replace(
            super()._part(role, traced=traced),
            by="prove.crash.tasks.programs:play",
            service="prove.crash.tasks.app:queue",
            # Three at least: what meets in one lane must have a place each, though one runner took all of it.
            concurrency=self._draw.choice([1, 3] if role.startswith("push") else [3, 4, 6]),
        )

    def _hurt(self, role: str, actor: Actor) -> None:
        if self._draw.random() >= _SPARED or not self._kill_a_child(actor):
            super()._hurt(role, actor)

    def _kill_a_child(self, actor: Actor) -> bool:
        """Kill one that runs isolated jobs, and nobody else; False when there is none."""
        below = [(f"{name}{APART}{child}", child) for pid, name in actor.runners for child in self._stage.children(pid)]
        if actor.part.kind == "push" or not below:
            return False
        self._stage.kill_child(*self._draw.choice(below))
        self._children_killed += 1
        return True

    def _quieten(self) -> list[str]:
        complaints = super()._quieten()
        if not complaints:
            filler = self._start("fill-1")
            filler.wanted = "stopped"
            if not self._stage.bury(filler):
                self._stage.kill(filler)
                complaints.append("as many jobs as a lane takes do not run at once when all is quiet: a slot is lost")
            del self._stage.actors["fill-1"]
        return complaints

    def _implied(self, events: Sequence[AnyEvent]) -> list[AnyEvent]:
        return judge.children_vanish(events)

    def _judge(
        self,
        events: Sequence[AnyEvent],
        jobs: Sequence[Job],
        histories: Mapping[int, Sequence[Attempt]],
        effects: Sequence[tuple[int, str]],
        orders: Sequence[tuple[int, int | None]],
    ) -> tuple[list[str], dict[str, int]]:
        del orders
        story = judge.Story(events)
        broken = [
            *(f"P8: {text}" for text in crash_judge.blamed(events, jobs, histories)),
            *(f"I7: {text}" for text in crash_judge.unexplained(events)),
            *judge.all_of(story, jobs, effects),
        ]
        return broken, {"children killed alone": self._children_killed, **judge.figures(story)}

"""The crash loop on tasks passes what is right, and sees bugs that are planted into the programs it kills."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from prove.crash import tasks
from prove.crash.loop import Told
from prove.crash.tasks import judge
from prove.crash.tasks.unit import PACE, TaskUnit
from prove.journal import AnyEvent, Batched, Claimed, Ended, Pushed, Settled, Started, Vanished
from workqueue import Job, JobStatus

HERE = Path(__file__).parent
TURNS = 6


def play(folder: Path, *, plant: str = "", rounds: int = 8, pace: tuple[float, float] = PACE) -> Told:
    cast = ["push-1", "work-1", "work-2"]
    planted = f"crash_plants:{plant}" if plant else ""
    return TaskUnit(folder, 1, 0, rounds=rounds, plant=planted, paths=[HERE], cast=cast, pace=pace).play()


def test_a_small_loop_passes(tmp_path: Path) -> None:
    told = play(tmp_path)
    assert told.broken == []
    assert told.counts["processes killed"] > 0
    assert told.counts["of them seen full"] == told.counts["lanes"] > 0


@pytest.mark.parametrize(
    ("plant", "seen", "rounds", "pace"),
    [
        ("minds_no_terms", ["I13: ", "I15: ", "I16: ", "I17: ", "I18: ", "I19: "], 4, (0.5, 1.0)),
        ("keeps_the_slots_of_who_was_killed", ["I11: "], 20, PACE),  # many kills: two places of one lane must go
    ],
)
def test_planted_bugs_are_seen(
    tmp_path: Path,
    plant: str,
    seen: list[str],
    rounds: int,
    pace: tuple[float, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("prove.crash.loop._QUIET", 3)  # what is stuck stays so
    broken: list[str] = []
    for turn in range(TURNS):  # whether all of them show is chance; that one never does is not to be expected
        folder = tmp_path / str(turn)
        folder.mkdir()
        broken += play(folder, plant=plant, rounds=rounds, pace=pace).broken
        if all(any(text.startswith(number) for text in broken) for number in seen):
            return
    raise AssertionError(f"expected {seen} within {TURNS} turns, got: {broken}")


def test_one_unit_can_be_repeated_by_its_words() -> None:
    with pytest.raises(ValueError, match="SEED UNIT"):
        tasks.FILE.repeat(["7"])


# what is judged


def run(
    job: int, began: int, ended: int | None, *, task: str = "visit", about: str = "a", got: str = "", by: str = "r"
) -> list[AnyEvent]:
    """Give the first attempt of a job; ended None: nobody says so."""
    start = Started(at=began, job=job, attempt=1, by=by, task=task, about=about, got=got)
    return [start] if ended is None else [start, Ended(at=ended, job=job, attempt=1, by=by)]


def broken(*stories: list[AnyEvent], jobs: list[Job] | None = None, effects: list[tuple[int, str]] | None = None):
    events = sorted((event for story in stories for event in story), key=lambda event: event.at)
    return judge.all_of(judge.Story(events), jobs or [], effects or [])


def claims(*instants: int) -> list[list[AnyEvent]]:
    """Give a job for each of them, rated, claimed then."""
    return [
        [Claimed(at=at, job=number, attempt=1, by="r"), *run(number, at + 1, at + 2, task="call")]
        for number, at in enumerate(instants, 1)
    ]


BATCH = [*run(1, 0, 10, task="part", about="b"), *run(2, 0, 20, task="part", about="b"), Batched(batch="b", jobs=2)]
CALLED = run(3, 30, 40, task="callback", about="b")


@pytest.mark.parametrize(
    "stories",
    [
        [run(1, 0, 10), run(2, 0, 10), run(3, 10, 20), run(4, 0, 20, about="b")],
        [run(1, 0, None), [Vanished(at=5, by="r")], run(2, 0, 9, by="s"), run(3, 6, 9, by="s")],  # a place of the dead
        [run(1, 0, None), [Settled(at=5, job=1, attempt=1, to="retrying")], run(2, 0, 9), run(3, 6, 9)],
        claims(0, 0, 0, 0, 250_000, 250_000),
        [run(1, 0, 10, task="book"), run(2, 10, 20, task="book"), run(3, 5, 6, task="book", about="b")],
        [run(1, 0, 10, task="mail"), [Pushed(at=11, job=2)], run(2, 12, 13, task="mail")],
        [run(1, 0, 10, task="link", got=""), run(2, 10, 20, task="link_apart", got="1:1")],
        [run(1, 0, 9, by="r+7"), [Vanished(at=5, by="r")]],
    ],
)
def test_what_is_kept_passes(stories: list[list[AnyEvent]]) -> None:
    assert broken(*stories) == []


@pytest.mark.parametrize(
    ("stories", "said"),
    [
        ([run(1, 0, 10), run(2, 0, 10), run(3, 9, 20)], "I15: 3 runs of visit a at once, of at most 2"),
        (
            [run(1, 0, None), [Vanished(at=5, by="r", why="stopped")], run(2, 0, 9, by="s"), run(3, 6, 9, by="s")],
            "I15: 3 runs of visit a at once, of at most 2",
        ),
        (claims(0, 0, 0, 0, 249_999), "I16: 5 claims of call a within 249,999 us"),
        ([run(1, 0, 10, task="book"), run(2, 9, 20, task="book")], "I13: job 2 of a began before the end of job 1"),
        ([run(2, 0, 10, task="book"), run(1, 10, 20, task="book")], "I13: job 2 of a began before the end of job 1"),
        (
            [run(1, 0, 10, task="mail"), [Pushed(at=9, job=2)], run(2, 12, 13, task="mail")],
            "I17: job 2 of key a was stored before job 1 ended",
        ),
        (
            [run(1, 0, 10, task="link"), run(2, 10, 20, task="link", got="1:2")],
            "I19: job 2 of chain a got '1:2', expected '1:1' once that had ended",
        ),
        (
            [run(1, 0, 10, task="link"), run(2, 9, 20, task="link", got="1:1")],
            "I19: job 2 of chain a got '1:1', expected '1:1' once that had ended",
        ),
        (
            [[Vanished(at=0, by="r")], run(1, 9_000_000, 9_000_001, by="r+7")],
            "I20: job 1 began in a child of r 9.0 s after its death",
        ),
    ],
)
def test_what_is_broken_is_seen(stories: list[list[AnyEvent]], said: str) -> None:
    assert broken(*stories) == [said]


@pytest.mark.parametrize(
    ("stories", "effects", "said"),
    [
        ([BATCH, CALLED], [(3, "b")], []),
        ([BATCH, CALLED, run(4, 50, 60, task="callback", about="b")], [(3, "b")], ["called back by 2 jobs, with 1"]),
        ([BATCH, CALLED], [(3, "b"), (3, "b")], ["called back by 1 jobs, with 2 effects"]),
        ([BATCH], [], ["batch b was never called back"]),
        ([BATCH[:2], BATCH[4:], CALLED], [(3, "b")], ["1 jobs of batch b ran, of 2"]),
        ([BATCH, run(3, 15, 40, task="callback", about="b")], [(3, "b")], ["called back before its jobs [2] ended"]),
        ([BATCH[:4]], [], []),  # whoever began it died before it was said to be whole
    ],
)
def test_what_follows_a_batch(stories: list[list[AnyEvent]], effects: list[tuple[int, str]], said: list[str]) -> None:
    found = broken(*stories, effects=effects)
    assert len(found) == len(said)
    assert all(words in text for words, text in zip(said, found, strict=True))


def failed(job: int, name: str) -> Job:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    data = b'{"batch":"b"}'
    return Job(id=job, name=name, data=data, status=JobStatus.FAILED, lost=3, run_at=now, settled_at=now)


def test_what_was_lost_too_often_has_nothing_to_show() -> None:
    assert broken(BATCH, CALLED[:1], jobs=[failed(3, "callback")]) == []
    assert broken(BATCH, jobs=[failed(3, "callback")]) == []
    assert broken(BATCH[:2], BATCH[4:], CALLED, jobs=[failed(2, "part")], effects=[(3, "b")]) == []


def test_the_children_of_a_runner_vanish_with_it() -> None:
    events = [*run(1, 0, None, by="r+7"), *run(2, 0, 1, by="s+8"), Vanished(at=5, by="r")]
    assert judge.children_vanish(events) == [Vanished(at=5, by="r+7")]

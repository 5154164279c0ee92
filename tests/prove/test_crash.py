"""The crash loop passes on a small scale, and sees bugs that are planted in the programs that it kills."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prove.crash import injection, judge
from prove.crash.ground import DatabaseGround, Ground
from prove.crash.handlers import Task
from prove.crash.injection import Sweep
from prove.crash.loop import Told, Unit
from prove.crash.part import Part
from prove.crash.peers.race import Race
from prove.crash.stage import Actor
from prove.journal import AnyEvent, Ended, Pushed, Started, Vanished
from prove.postgres.server import PostgresServer
from workqueue import Attempt, Job, JobStatus
from workqueue.payload import encode

from prove import crash

HERE = Path(__file__).parent
KILL = {"kill": 1.0}
TURNS = 5  # whether a kill hits the bug is chance; that none of so many does is not to be expected


def play(
    folder: Path,
    *cast: str,
    plant: str = "",
    rounds: int = 14,
    hurts: Mapping[str, float] = KILL,
    ground: Ground | None = None,
) -> Told:
    return Unit(
        folder,
        1,
        0,
        ground=ground,
        rounds=rounds,
        plant=f"crash_plants:{plant}" if plant else "",
        paths=[HERE],
        cast=cast or ("push-1", "work-1", "work-2"),
        hurts=hurts,
        calm=True,
        pace=(0.02, 0.08) if ground is None else (0.1, 0.5),  # who begins there opens connections first
    ).play()


def test_a_small_loop_passes(tmp_path: Path) -> None:
    told = play(tmp_path, "push-1", "work-1", "async-1")
    assert told.broken == []
    assert told.counts["processes killed"] >= 14
    assert told.counts["jobs acknowledged"] > 0


def test_a_planted_bug_is_seen_on_postgres(
    tmp_path: Path, postgres_server: PostgresServer, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That without one the loop passes is shown by `python -m prove run quick`."""
    monkeypatch.setattr("prove.crash.loop._QUIET", 10)
    monkeypatch.setattr(DatabaseGround, "lease", 3.0)
    database = DatabaseGround(postgres_server, postgres)
    broken: list[str] = []
    for turn in range(TURNS):
        folder = tmp_path / str(turn)
        folder.mkdir()
        broken += play(
            folder, "push-1", "work-1", "work-2", "work-3", plant="claims_what_others_claim", rounds=4, ground=database
        ).broken
        if any("lived with it" in text for text in broken):
            return
    raise AssertionError(f"expected jobs that two run within {TURNS} turns, got: {broken}")


@pytest.mark.parametrize(
    ("plant", "seen", "cast", "hurts"),
    [
        ("acknowledges_before_it_pushes", ("I1: ", "P1: "), (), KILL),
        ("completes_outside_the_transaction", ("I6: ",), (), KILL),
        ("completes_without_the_fence", ("I3: ", "I4: ", "I10: "), (), {"begin anew": 9, "kill": 1}),
        ("opens_files_and_forgets_them", ("I14: a worker had",), ("push-1", "elder-1"), KILL),
    ],
)
def test_a_planted_bug_is_seen(
    tmp_path: Path, plant: str, seen: tuple[str, ...], cast: tuple[str, ...], hurts: Mapping[str, float]
) -> None:
    broken: list[str] = []
    for turn in range(TURNS):
        folder = tmp_path / str(turn)
        folder.mkdir()
        broken += play(folder, *cast, plant=plant, hurts=hurts).broken
        if any(text.startswith(seen) for text in broken):
            return
    raise AssertionError(f"expected {seen} within {TURNS} turns, got: {broken}")


def test_a_queue_that_forgets_is_seen_in_the_plain_loop(tmp_path: Path) -> None:
    counts, broken = Race(tmp_path, "crash_plants", 1, no_change=0.3, paths=[HERE]).play(0.5)
    assert counts["gone and never run to the end"] > 0
    assert any(text.startswith("I1: ") for text in broken)


@pytest.mark.parametrize("sweep", [injection.FILE, injection.CONNECTION])
def test_the_sweep_goes_through_all_calls_and_upwards(sweep: Sweep) -> None:
    points = [sweep.point(number) for number in range(3 * len(sweep.calls))]
    assert {call for call, _ in points} == set(sweep.calls)
    for call in sweep.calls:
        nths = [nth for one, nth in points if one == call]
        assert nths == sorted(set(nths))


# what is judged beside the shared invariants


def begun(job: int, attempt: int, by: str, at: int) -> Started:
    return Started(job=job, attempt=attempt, by=by, at=at)


STORY: list[AnyEvent] = [begun(1, 1, "a", 10), Vanished(by="a", at=20), begun(1, 2, "b", 30)]


def test_a_job_may_run_again_when_its_runner_is_dead() -> None:
    assert list(judge.unexplained(STORY)) == []
    again = [begun(1, 1, "a", 10), Ended(job=1, attempt=1, by="a", how="again", at=11), begun(1, 2, "a", 12)]
    assert list(judge.unexplained(again)) == []


def test_a_job_that_runs_again_before_its_runner_dies_is_seen() -> None:
    late = [begun(1, 1, "a", 10), Vanished(by="a", at=40), begun(1, 2, "b", 30)]
    assert list(judge.unexplained(late)) == ["job 1: attempt 2 began by b while a lived with it"]
    assert list(judge.unexplained(late, traced=["a"])) == []  # of whose death one hears late


def failed(name: str = "plain", lost: int = 3) -> Job:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    data = encode(Task(batch="x#1/3"))
    return Job(id=1, name=name, data=data, status=JobStatus.FAILED, lost=lost, run_at=now, settled_at=now)


def losses(count: int) -> list[Attempt]:
    at = datetime(2024, 1, 1, tzinfo=UTC)
    return [Attempt(number, "", at, timedelta(0), "lost", "", "") for number in range(1, count + 1)]


def judged(events: list[AnyEvent], job: Job, count: int) -> list[str]:
    effects = [(2, "x#1/3"), (3, "x#1/3")]
    return judge.all_of(events, [job], {1: losses(count)}, effects, [], [])


def deaths(*why: str) -> list[AnyEvent]:
    return [
        event
        for number, reason in enumerate(why, 1)
        for event in (
            begun(1, number, f"r{number}", number * 10),
            Vanished(by=f"r{number}", why=reason, at=number * 10),
        )
    ]


def test_three_deaths_fail_a_job() -> None:
    assert judged(deaths("job 7", "killed", "killed"), failed(), 3) == []
    assert judged(deaths("job 1", "job 1", "job 1"), failed("deadly"), 3) == []


@pytest.mark.parametrize(
    ("events", "job", "count", "said"),
    [
        (deaths("killed", "job 7", "killed"), failed(), 3, "was the doing of job 7"),
        (deaths("killed", "killed"), failed(lost=2), 2, "failed after 2 losses"),
        ([*deaths("killed", "killed"), begun(1, 3, "c", 90)], failed(), 3, "but c lived"),
        (deaths("job 1", "job 1"), failed("deadly", lost=2), 2, "kills its process, but is"),
    ],
)
def test_a_job_that_is_blamed_wrongly_is_seen(events: list[AnyEvent], job: Job, count: int, said: str) -> None:
    assert any(said in text for text in judged(events, job, count) if text.startswith("P8: "))


def test_an_id_that_is_given_out_twice_is_seen() -> None:
    found = judge.all_of([Pushed(job=4), Pushed(job=4)], [], {}, [], [], [])
    assert found == ["P1: job 4 was acknowledged 2 times"]


def test_a_torn_push_and_a_second_child_are_seen() -> None:
    found = judge.all_of([], [], {}, [(2, "x#1/3"), (3, "x#1/3")], [(8, 4), (9, 4)], [])
    assert found == [
        "P2: 2 of 3 jobs of push_many x#1/3 are there",
        "P6: job 4 pushed 2 children in its one transaction",
    ]


def test_a_program_that_ends_by_itself_and_what_it_said_are_seen() -> None:
    actor = Actor(Part(slot="work-1.1", kind="work", path="", journal="", seed=""))
    actor.status = 70
    place = 'File "engine.py", line 1, in push'
    log = f"job 1: fine\nTraceback (most recent call last):\n  {place}\nsqlite3.OperationalError: locked\n"
    assert list(judge.programs([actor], [], log)) == [
        "work-1.1 ended with 70, wanted nothing",
        f"a program logged: sqlite3.OperationalError: locked ({place})",
    ]


def test_one_unit_can_be_repeated_by_its_words() -> None:
    with pytest.raises(ValueError, match="SEED UNIT"):
        crash.repeat(["7"])

"""The auditor passes a good run, and sees each invariant broken: one story for each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prove.asked import Periodic, Standing
from prove.audit import INVARIANTS, Ending, audit
from prove.journal import (
    HANDLER,
    AnyEvent,
    Asked,
    Claimed,
    Ended,
    Fired,
    Forgiven,
    Journal,
    Paused,
    Pushed,
    Pushing,
    Refused,
    Sealed,
    SetBack,
    Settled,
    Started,
    Vanished,
    read,
)
from workqueue import Job, JobStatus
from workqueue.job import Lane, Terms


def left(job: int, status: JobStatus) -> Job:
    return Job(id=job, name="task", data=b"", status=status, run_at=datetime(2024, 1, 1, tzinfo=UTC))


def attempt(job: int, number: int, by: str = "a", *, at: int = 0, how: str = "returned") -> list[AnyEvent]:
    to = {"returned": "completed", "again": "retrying"}[how]
    return [
        Claimed(job=job, attempt=number, by=by, at=at),
        Started(job=job, attempt=number, by=by, at=at + 1),
        Ended(job=job, attempt=number, by=by, how=how, at=at + 2),
        Settled(job=job, attempt=number, to=to, by=by, at=at + 3),
    ]


def asked(job: int, *, due: int = 0, clock: int = 0, until: int = 0, name: str = "n", **terms: object) -> Asked:
    return Asked(job=job, queue="q", name=name, terms=Terms(**terms), due=due, clock=clock, unique_until=until)  # type: ignore[arg-type]


def begun(job: int, number: int = 1, by: str = "a", *, clock: int = 0, got: str = "") -> list[AnyEvent]:
    return [
        Claimed(job=job, attempt=number, by=by, at=500, clock=clock),
        Started(job=job, attempt=number, by=by, at=500, got=got),
    ]


def done(
    job: int, number: int = 1, by: str = "a", *, to: str = "completed", gave: str = "", due: int = 0
) -> list[AnyEvent]:
    how = "failed" if to == "failed" else "returned" if to == "completed" else "again"
    return [
        Ended(job=job, attempt=number, by=by, how=how, at=500, gave=gave),
        Settled(job=job, attempt=number, to=to, at=500, due=due),
    ]


ONE = {"limit": Lane("one", most=1)}
SLOW = {"rate": Lane("slow", starts=1, per=timedelta(microseconds=10))}
ORDER = {"order": "o"}
KEY = {"key": "k"}
EXPIRES = {"expires_at": datetime(1970, 1, 1, microsecond=7, tzinfo=UTC)}
GIVEN = [asked(11, followed=True), asked(12, follows=11)]
GOOD_TERMS: list[AnyEvent] = [
    Pushing(jobs=100),
    *[asked(11, **ONE), asked(12, **ONE), *begun(11), *done(11), *begun(12)],
    *[
        Vanished(by="a"),
        Settled(job=12, attempt=1, to="retrying"),
        asked(13, **ONE),
        *begun(13, by="b"),
        *done(13, by="b"),
    ],
    *[asked(14, **ONE), *begun(14, by="b"), Settled(job=14, attempt=1, to="completed", by=HANDLER)],
    *[asked(15, **ONE), *begun(15, by="b")],
    *[asked(21, **SLOW), asked(22, **SLOW), *begun(21, clock=5), *begun(22, clock=15)],
    *[asked(23, **SLOW), SetBack(), *begun(23, clock=12)],
    *[asked(31, due=50, **ORDER), asked(32, **ORDER), *begun(32, clock=40), *done(32), *begun(31, clock=50)],
    *[asked(41, until=20, **KEY), *begun(41), *done(41), asked(42, clock=20, **KEY)],
    *[Paused(queue="q", name="p", on=True), Paused(queue="q", name="p", on=False), asked(51, name="p", **EXPIRES)],
    *[*begun(51, clock=6), asked(52, **EXPIRES), Forgiven(job=52, to="cancelled", why="expired", clock=7)],
    *[asked(61, batch=1), asked(62, batch=1), asked(63, follows_batch=1), *begun(61), *done(61), *begun(62)],
    *[Sealed(batch=1), *done(62, to="failed"), *begun(63)],
    *[asked(71, followed=True), asked(72, follows=71), *begun(71), *done(71, gave="[7]"), *begun(72, got="[7]")],
    *[asked(73, followed=True), asked(74, follows=73), *begun(73), *done(73, to="failed")],
    Forgiven(job=74, to="cancelled", why="job 73, which it follows, is failed"),
    *[Fired(job=81, queue="q", name="tick", slot=10), Fired(job=82, queue="q", name="tick", slot=20)],
]
GOOD_END = Ending(
    jobs=[],
    batches={1: Standing(2, 1, 1, 0)},
    periodic=[Periodic(queue="q", name="tick", every=10, since=10, until=29)],
)


def test_a_good_run_of_terms_passes() -> None:
    assert audit(GOOD_TERMS, GOOD_END).broken == []


GOOD: list[AnyEvent] = [
    Pushing(jobs=4),
    Pushed(job=1, transactional=True),
    Pushed(job=2, not_before=100),
    Pushed(job=3),
    *attempt(1, 1, at=10),
    *attempt(2, 1, at=100, how="again"),
    *attempt(2, 2, at=200),
    Claimed(job=3, attempt=1, by="b", at=20),
    Started(job=3, attempt=1, by="b", at=21),
    Vanished(by="b", at=30),
    *attempt(3, 2, at=40),
    Refused(job=3, attempt=1, by="b"),
    *attempt(4, 1, at=50),  # its push was cut short before it returned
]


def test_a_good_run_passes() -> None:
    found = audit(GOOD, Ending(jobs=[], effects={1: 1}))
    assert found.broken == []
    assert found.counts == {
        "jobs acknowledged": 3,
        "run more than once": 2,
        "lost": 0,
        "settled twice": 0,
        "effects doubled": 0,
        "stuck": 0,
    }


BROKEN: dict[str, list[tuple[list[AnyEvent], Ending]]] = {
    "I1": [([Pushed(job=9)], Ending(jobs=[]))],
    "I2": [(attempt(9, 1), Ending(jobs=[], effects={1: 1}))],
    "I3": [
        ([Settled(job=2, attempt=1, to="retrying")], Ending(jobs=[])),
        ([Pushed(job=9), *attempt(9, 1), *attempt(9, 2)], Ending(jobs=[])),
    ],
    "I4": [([Settled(job=3, attempt=1, to="retrying", at=60)], Ending(jobs=[]))],
    "I5": [
        ([Claimed(job=2, attempt=2, by="c", at=300)], Ending(jobs=[])),
        ([Started(job=2, attempt=2, by="c", at=300)], Ending(jobs=[])),
    ],
    "I6": [
        ([], Ending(jobs=[], effects={1: 2})),
        ([], Ending(jobs=[], effects={})),
        ([], Ending(jobs=[left(1, JobStatus.FAILED)], effects={1: 1})),
        ([Pushed(job=1, transactional=True)], Ending(jobs=[left(1, JobStatus.COMPLETED)], effects={})),
    ],
    "I7": [
        ([Started(job=2, attempt=3, by="a", at=300)], Ending(jobs=[])),
        ([Started(job=2, attempt=3, by="b", at=150)], Ending(jobs=[])),
    ],
    "I8": [([Pushed(job=9, not_before=5), *attempt(9, 1)], Ending(jobs=[]))],
    "I9": [([], Ending(jobs=[left(1, JobStatus.RUNNING)])), ([], Ending(jobs=[left(1, JobStatus.RETRYING)]))],
    "I10": [([Claimed(job=1, attempt=2, by="a", at=300)], Ending(jobs=[]))],
    "I11": [([], Ending(jobs=[], complaints=["row 3 missing from index"]))],
    "I12": [
        (
            [
                Pushed(job=8),
                Pushed(job=9),
                Claimed(job=8, attempt=1, by="a", turn=1),
                Claimed(job=9, attempt=1, by="a", turn=1, priority=1),
            ],
            Ending(jobs=[]),
        )
    ],
    "I13": [
        ([asked(11, **ORDER), asked(12, **ORDER), *begun(11), *begun(12)], Ending(jobs=[])),
        ([asked(11, **ORDER), asked(12, **ORDER), *begun(12), *done(12)], Ending(jobs=[])),
        (
            [asked(11, **ORDER), asked(12, **ORDER), *begun(11), *done(11, to="retrying", due=99), *begun(12)],
            Ending(jobs=[]),
        ),
    ],
    "I15": [
        ([asked(11, **ONE), asked(12, **ONE), *begun(11), *begun(12)], Ending(jobs=[])),
        (  # settled while its handler runs
            [asked(11, **ONE), asked(12, **ONE), *begun(11), Settled(job=11, attempt=1, to="retrying"), *begun(12)],
            Ending(jobs=[]),
        ),
    ],
    "I16": [
        ([asked(11, **SLOW), asked(12, **SLOW), *begun(11, clock=1), *done(11), *begun(12, clock=10)], Ending(jobs=[]))
    ],
    "I17": [
        ([asked(11, **KEY), asked(12, **KEY)], Ending(jobs=[])),
        ([asked(11, until=20, **KEY), *begun(11), *done(11), asked(12, clock=19, **KEY)], Ending(jobs=[])),
        (
            [
                *[asked(11, **KEY), *begun(11), *done(11, to="failed"), asked(12, **KEY)],
                Forgiven(job=11, to="pending"),
            ],
            Ending(jobs=[]),
        ),
    ],
    "I18": [
        ([Paused(queue="q", name="n", on=True), asked(11), *begun(11)], Ending(jobs=[])),
        ([Paused(queue="q", name="", on=True), asked(11), *begun(11)], Ending(jobs=[])),
        ([asked(11, **EXPIRES), *begun(11, clock=7)], Ending(jobs=[])),
        ([asked(11, **EXPIRES), Forgiven(job=11, to="cancelled", why="expired", clock=6)], Ending(jobs=[])),
    ],
    "I19": [
        ([asked(11, batch=1), asked(12, follows_batch=1), *begun(11), *done(11), *begun(12)], Ending(jobs=[])),
        ([asked(11, batch=1), asked(12, follows_batch=1), Sealed(batch=1), *begun(12)], Ending(jobs=[])),
        ([Sealed(batch=1), asked(11, batch=1)], Ending(jobs=[])),
        ([asked(11, batch=1)], Ending(jobs=[], batches={1: Standing(1, 1, 0, 0)})),
    ],
    "I20": [
        ([*GIVEN, *begun(12)], Ending(jobs=[])),
        ([*GIVEN, *begun(11), *done(11, gave="[1]"), *begun(12, got="[2]")], Ending(jobs=[])),
        (
            [*GIVEN, *begun(11), *done(11), Forgiven(job=12, to="cancelled", why="job 11, which it follows, is …")],
            Ending(jobs=[]),
        ),
    ],
    "I21": [
        ([Fired(job=8, queue="q", name="t", slot=10), Fired(job=9, queue="q", name="t", slot=10)], Ending(jobs=[])),
        (
            [Fired(job=8, queue="q", name="t", slot=10)],
            Ending(jobs=[], periodic=[Periodic(queue="q", name="t", every=10, since=10, until=20)]),
        ),
    ],
    "I14": [([], Ending(jobs=[], leaks=["3 more files open than at the start"]))],
}


@pytest.mark.parametrize(
    ("invariant", "story", "ending"),
    [(invariant, *case) for invariant, cases in BROKEN.items() for case in cases],
)
def test_each_invariant_is_seen_broken(invariant: str, story: list[AnyEvent], ending: Ending) -> None:
    found = audit([*GOOD, *story], ending)
    assert any(text.startswith(f"{invariant}: ") for text in found.broken), found.broken


def test_no_invariant_is_without_a_story() -> None:
    assert BROKEN.keys() == INVARIANTS.keys()


def test_what_a_person_did_excuses_a_second_end() -> None:
    again = [Forgiven(job=1, at=300), *attempt(1, 2, at=310)]
    assert audit([*GOOD, *again], Ending(jobs=[], effects={1: 1})).broken == []


def test_with_nobody_dead_attempts_have_no_gaps() -> None:
    found = audit([Pushed(job=1), *attempt(1, 2)], Ending(jobs=[]))
    assert found.broken == ["I5: job 1: expected attempts 1, 2, 3, …, got: [2]"]


def test_a_journal_gives_back_what_was_noted_but_for_a_torn_last_line(tmp_path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.note(*GOOD)
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"type":"Pushed","jo')
    assert read(path) == GOOD

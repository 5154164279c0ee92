"""The auditor passes a good run, and sees each invariant broken: one story for each."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prove.audit import INVARIANTS, Ending, audit
from prove.journal import (
    AnyEvent,
    Claimed,
    Ended,
    Forgiven,
    Journal,
    Pushed,
    Pushing,
    Refused,
    Settled,
    Started,
    Vanished,
    read,
)
from workqueue import Job, JobStatus


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

"""Queue: the jobs that match, listed, cancelled, restored and deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from workqueue import InvalidOption, JobStatus, Queue, StoreUnavailable
from workqueue.store.paging import Changed


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with Queue(tmp_path / "jobs.db") as queue:
        yield queue


def fail_all(queue: Queue) -> None:
    class Failing:
        def id(self) -> str:
            return "failing"

        def do_work(self, ctx: object, job: object) -> None:
            raise ValueError("no luck")

    with Queue(queue.path, Failing(), id=queue.id) as working:
        assert working.wait_idle(30)


def test_jobs_are_listed_by_what_their_data_say_either_way(queue):
    ids = queue.push_many("mail", [{"to": f"{name}@example.org"} for name in ("ada", "bob", "ada")])
    assert [job.id for job in queue.jobs(text="ada@")] == [ids[0], ids[2]]
    assert [job.id for job in queue.jobs(text="ada@", newest_first=True, limit=1)] == [ids[2]]
    assert [job.id for job in queue.jobs(newest_first=True, before=ids[2])] == [ids[1], ids[0]]
    assert queue.jobs(text="%") == queue.jobs(name="'") == []


@pytest.mark.parametrize(
    "wrong",
    [
        *({"text": text} for text in (5, "x" * 1001, "\ud800")),
        *({"before": before} for before in (-1, 2**63)),
        *({"batch": batch} for batch in (0, True, "1", 2**63)),
        {"status": "done"},
    ],
)
def test_what_cannot_be_looked_for_is_refused(queue, wrong):
    with pytest.raises(InvalidOption):
        queue.jobs(**wrong)


def test_all_that_match_are_cancelled_restored_and_deleted(queue):
    queue.push_many("a", range(1200))
    queue.push_many("b", range(10))
    assert queue.cancel_jobs(name="a", text="7") == sum("7" in str(number) for number in range(1200))
    assert queue.cancel_jobs(status="pending", name="a") == sum("7" not in str(number) for number in range(1200))
    assert queue.restore_jobs() == 0
    assert queue.restore_jobs(status="cancelled", text="11") == sum("11" in str(number) for number in range(1200))
    fail_all(queue)
    assert queue.restore_jobs(name="b", text="5") == 1
    assert queue.clean_jobs(status="failed", name="b") == 9
    assert queue.restore_jobs(status=None, name="a") == 1200
    assert queue.clean_jobs(status=None) == 0
    assert queue.size().waiting == 1201


def test_all_that_match_are_tried_again_now(queue):
    later, other = queue.push_after("a", 1, 3600), queue.push_after("b", 1, 3600)
    queue.cancel(cancelled := queue.push("a", 2))
    assert queue.retry_jobs(status="pending", name="a") == 1
    assert queue.get(later).run_at <= queue._store.now() < queue.get(other).run_at
    assert queue.retry(later, cancelled, other, other, 99, 2**63 - 1) == 2
    assert queue.retry_jobs(status=None) == 0
    assert queue.get(cancelled).status is JobStatus.PENDING
    with Queue(queue.path, id="elsewhere") as elsewhere:
        assert elsewhere.retry(elsewhere.push_after("a", 1, 3600), queue.push_after("a", 1, 3600)) == 1


def test_the_jobs_of_a_batch_are_listed_and_changed_together(queue):
    @queue.task(name="part")
    def part(n: int) -> None: ...

    queue.push("part", {"n": 0})
    with queue.batch() as batch:
        for number in range(3):
            batch.add(part.s(number))
    inside = queue.jobs(batch=batch.id)
    assert [job.decode() for job in inside] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert queue.jobs(batch=batch.id + 1) == []
    assert [job.id for job in queue.jobs(batch=batch.id, newest_first=True, limit=1)] == [inside[-1].id]
    assert queue.cancel_jobs(batch=batch.id) == 3
    assert queue.restore_jobs(status="cancelled", batch=batch.id, text="1") == 1
    assert queue.retry_jobs(status=None, batch=batch.id, text="2") == 1
    assert queue.clean_jobs(status=None, batch=batch.id) == 1
    assert queue.size().waiting == 3
    with Queue(queue.path, id="elsewhere") as elsewhere:
        assert elsewhere.jobs(batch=batch.id) == []


def test_those_of_another_queue_are_left_alone(queue):
    queue.push("n")
    with Queue(queue.path, id="other") as other:
        assert other.cancel_jobs() == other.clean_jobs(status=None) == 0
        other.push("n")
        assert other.cancel_jobs() == 1
    assert queue.clean_jobs(status="cancelled") == 0


@pytest.mark.parametrize(
    ("act", "status"),
    [
        ("cancel_jobs", "failed"),
        ("cancel_jobs", "completed"),
        ("retry_jobs", "running"),
        ("restore_jobs", "completed"),
        ("restore_jobs", JobStatus.RUNNING),
        ("clean_jobs", "pending"),
        ("clean_jobs", "nonsense"),
    ],
)
def test_what_cannot_be_done_to_jobs_of_a_status_is_refused(queue, act, status):
    with pytest.raises(InvalidOption, match="expected status to be one of"):
        getattr(queue, act)(status=status)


def test_what_was_done_before_an_error_is_told(queue, monkeypatch):
    queue.push_many("n", range(1200))
    change = queue._store.change
    changes: list[Changed] = []

    def failing(*arguments: object) -> Changed:
        if changes:
            raise StoreUnavailable("gone", path=queue.path)
        changes.append(change(*arguments))
        return changes[0]

    monkeypatch.setattr(queue._store, "change", failing)
    with pytest.raises(StoreUnavailable) as caught:
        queue.cancel_jobs()
    assert caught.value.__notes__ == ["500 jobs had been cancelled before this"]
    assert len(queue.jobs(status="cancelled", limit=1000)) == 500


def test_jobs_pushed_while_all_are_cancelled_are_not_met(queue, monkeypatch):
    queue.push_many("n", range(1200))
    change = queue._store.change

    def beside(*arguments: object) -> Changed:
        late.append(queue.push("n"))
        return change(*arguments)

    late: list[int] = []
    monkeypatch.setattr(queue._store, "change", beside)
    assert queue.cancel_jobs() == 1201  # the first of them was there before it began to look
    assert [job.id for job in queue.jobs(status="pending")] == late[1:]

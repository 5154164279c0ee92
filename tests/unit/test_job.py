"""The records of a job: frozen, told apart by value, and back from their own bytes."""

from __future__ import annotations

import copy
import json
import operator
import pickle
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from workqueue.backoff import Backoff
from workqueue.errors import InvalidPayload
from workqueue.job import Attempt, Claim, Headers, Job, JobStatus, NewJob, Size

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)


def job(**changes: object) -> Job:
    return Job(**({"id": 7, "name": "resize", "data": b'{"width":3}'} | changes))


FULL = job(
    status=JobStatus.CANCELLED,
    queue="Größe 🐙",
    priority=-4,
    run_at=NOON,
    pushed_at=NOON - timedelta(days=1),
    settled_at=NOON,
    attempt=5,
    retry_count=3,
    lost=2,
    cancel_requested=True,
    message="a\nb 'c' \"d\"",
    backoff=Backoff(3, True, timedelta(seconds=1), timedelta(days=2), timedelta(hours=1), 9, 4),
)


# status


@pytest.mark.parametrize(
    ("status", "number", "word"),
    [
        (JobStatus.PENDING, 0, "pending"),
        (JobStatus.COMPLETED, 1, "completed"),
        (JobStatus.RETRYING, 2, "retrying"),
        (JobStatus.FAILED, 3, "failed"),
        (JobStatus.RUNNING, 4, "running"),
        (JobStatus.CANCELLED, 5, "cancelled"),
    ],
)
def test_a_status_has_a_number_for_the_file_and_a_word_for_people(status, number, word):
    assert (int(status), str(status), f"{status}") == (number, word, word)
    assert JobStatus(number) is status


def test_the_seeds_names_are_the_same_statuses():
    assert JobStatus.UACK is JobStatus.PENDING
    assert JobStatus.ACK is JobStatus.COMPLETED
    assert JobStatus.NACK is JobStatus.RETRYING
    assert str(JobStatus.NACK) == "retrying"
    assert len(JobStatus) == 6


# records


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (job(), "status"),
        (NewJob(queue="q", name="n", data=b""), "data"),
        (Claim(job(), 1, timedelta(0), 0), "runner"),
        (Attempt(1, "r", NOON, timedelta(0), "lost", "", ""), "error"),
        (Size(1, 2), "failed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_records_are_frozen(record, field):
    with pytest.raises(AttributeError):
        setattr(record, field, None)


def test_records_are_equal_by_value():
    assert job() == job()
    assert job() != job(attempt=1)
    assert Size(1, 2) == Size(1, 2) != Size(2, 1)


def test_two_jobs_do_not_share_their_default_backoff():
    one, other = job(), job()
    assert one.backoff is not other.backoff
    assert NewJob(queue="q", name="n", data=b"").backoff is not NewJob(queue="q", name="n", data=b"").backoff


def test_a_job_has_plain_defaults():
    plain = job()
    assert (plain.status, plain.queue, plain.priority) == (JobStatus.PENDING, "default", 0)
    assert (plain.run_at, plain.pushed_at, plain.settled_at) == (EPOCH, EPOCH, None)
    assert (plain.attempt, plain.retry_count, plain.lost, plain.message) == (0, 0, 0, "")
    assert plain.cancel_requested is False


@pytest.mark.parametrize(
    ("run_at", "milliseconds"),
    [
        (EPOCH, 0),
        (NOON, 1_709_208_000_123),
        (EPOCH - timedelta(microseconds=1), -1),
        (NOON.astimezone(timezone(timedelta(hours=5, minutes=30))), 1_709_208_000_123),
    ],
)
def test_expect_at_is_run_at_in_whole_milliseconds(run_at, milliseconds):
    assert job(run_at=run_at).expect_at == milliseconds


# data


def test_decode_gives_what_was_pushed():
    assert job().decode() == {"width": 3}
    assert job().decode(dict[str, int]) == {"width": 3}


def test_decode_builds_and_checks_a_type():
    class Size(msgspec.Struct):
        width: int

    assert job().decode(Size) == Size(3)
    with pytest.raises(InvalidPayload, match="Expected `int`"):
        job(data=b'{"width":"3"}').decode(Size)


def test_decoding_data_that_are_no_json_says_so():
    with pytest.raises(InvalidPayload, match="expected data that is JSON"):
        job(data=b"\xff\x00").decode()


# bytes and back


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff\xfe", bytes(range(256)), b"{}"])
def test_a_job_comes_back_from_its_bytes(data):
    original = msgspec.structs.replace(FULL, data=data)
    assert Job.from_bytes(bytes(original)) == original
    assert Job.from_bytes(str(original).encode()) == original


def test_a_job_with_nothing_but_its_defaults_comes_back():
    assert Job.from_bytes(bytes(job())) == job()


def test_the_bytes_are_json_that_names_each_field():
    told = json.loads(bytes(FULL))
    assert set(told) == set(Job.__struct_fields__)
    assert (told["id"], told["name"], told["status"], told["run_at"]) == (7, "resize", 5, "2024-02-29T12:00:00.123456Z")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b"not json",
        b"\xff\xfe",
        b'{"id":1,"name":"n"}',
        b'{"id":"1","name":"n","data":""}',
        b'{"id":1,"name":"n","data":"","status":9}',
        b'{"id":1,"name":"n","data":"?"}',
        b'{"id":1,"name":"n","data":"","name":"\xff"}',
        b"[" * 100_000,
        bytes(FULL)[:-1],
    ],
    ids=lambda data: repr(data[:30]),
)
def test_other_bytes_are_refused_with_a_reason(data):
    with pytest.raises(InvalidPayload) as caught:
        Job.from_bytes(data)
    assert str(caught.value).startswith("expected the bytes of a Job, got ")
    assert repr(data[:40]) in str(caught.value)
    assert caught.value.__cause__ is not None
    assert len(str(caught.value)) < 500


def test_a_backoff_outside_its_range_is_refused_too():
    broken = bytes(job()).replace(b'"factor":2.0', b'"factor":0.5')
    assert broken != bytes(job())
    with pytest.raises(InvalidPayload):
        Job.from_bytes(broken)


def test_headers_cannot_be_changed_and_go_wherever_a_job_goes():
    headers = Headers(a="b")
    for change in (
        lambda: headers.__setitem__("a", "c"),
        lambda: headers.__delitem__("a"),
        lambda: operator.ior(headers, {"a": "c"}),
        headers.clear,
        lambda: headers.pop("a"),
        headers.popitem,
        lambda: headers.setdefault("c", "d"),
        lambda: headers.update(a="c"),
    ):
        with pytest.raises(TypeError, match="expected the headers of a job to be looked at only"):
            change()
    assert headers == {"a": "b"}
    assert pickle.loads(pickle.dumps(headers)) == copy.deepcopy(headers) == headers
    job = Job(id=1, name="n", data=b"", headers=headers)
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job

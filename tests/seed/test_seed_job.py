"""The seed's Job and JobStatus, row by row of docs/from-go.md."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from workqueue import Backoff, InvalidPayload, Job, JobStatus

NEVER_YET = datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def test_job(open_queue):
    backoff = Backoff(min=timedelta(seconds=1), max=timedelta(minutes=1), limit=7)
    queue = open_queue(backoff=backoff)
    job_id = queue.push("mail", {"to": "ada"}, run_at=NEVER_YET)
    job = queue.get(job_id)
    assert (job.status, job.id, job.name, job.data) == (JobStatus.PENDING, job_id, "mail", b'{"to":"ada"}')
    assert (job.retry_count, job.message, job.run_at, job.backoff) == (0, "", NEVER_YET, backoff)
    assert job.run_at.utcoffset() == timedelta(0)
    assert job.expect_at == 32503679999999
    assert job.decode() == {"to": "ada"}
    assert job.decode(dict[str, str]) == {"to": "ada"}
    with pytest.raises(AttributeError):
        job.name = "other"


def test_decode_job(open_queue):
    queue = open_queue(backoff=Backoff(factor=3, jitter=True, expiration=timedelta(days=1), limit=3))
    queue.push_bytes("bytes", bytes(range(256)), run_at=NEVER_YET, priority=-5)
    queue.push("text", "žluťoučký 🐎\n\0")
    for job in queue.jobs():
        assert Job.from_bytes(bytes(job)) == job
        assert Job.from_bytes(bytearray(bytes(job))) == job
        assert str(job) == bytes(job).decode()
        assert json.loads(str(job))["name"] == job.name


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"null", b"{}", b"[1]", b'{"id":"x","name":"n","data":""}', b'{"id":1,"name":"n"}', b"[" * 5000],
)
def test_decode_job_refuses_other_bytes(data):
    with pytest.raises(InvalidPayload, match="expected the bytes of a Job, got ") as caught:
        Job.from_bytes(data)
    assert caught.value.path == "$"


def test_job_status():
    assert [(status.name, int(status)) for status in JobStatus] == [
        ("PENDING", 0),
        ("COMPLETED", 1),
        ("RETRYING", 2),
        ("FAILED", 3),
        ("RUNNING", 4),
        ("CANCELLED", 5),
    ]
    assert (JobStatus.UACK, JobStatus.ACK, JobStatus.NACK) == (0, 1, 2)
    assert JobStatus.UACK is JobStatus.PENDING
    assert JobStatus.ACK is JobStatus.COMPLETED
    assert JobStatus.NACK is JobStatus.RETRYING
    assert [str(status) for status in JobStatus] == [
        "pending",
        "completed",
        "retrying",
        "failed",
        "running",
        "cancelled",
    ]
    assert f"{JobStatus.FAILED}" == "failed"

"""Each error: its place in the tree, its message to the letter, and its values as attributes."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta

import pytest
import workqueue
from workqueue import Cancel, RecoverableWorkerError, Snooze, errors
from workqueue.errors import (
    BatchNotFound,
    ChildDied,
    DuplicateJob,
    InvalidOption,
    InvalidPayload,
    JobCancelled,
    JobFailed,
    JobNotFound,
    LeaseLost,
    QueueClosed,
    QueueFull,
    QueueMoved,
    RaisedInChild,
    ResultNotKept,
    ScheduleNotFound,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
    TimedOut,
    UnsuitableFile,
    UsageError,
    WorkqueueError,
)

PARENTS = {
    WorkqueueError: (Exception,),
    UsageError: (WorkqueueError,),
    InvalidOption: (UsageError, ValueError),
    InvalidPayload: (UsageError, ValueError),
    JobNotFound: (UsageError, LookupError),
    ScheduleNotFound: (UsageError, LookupError),
    QueueClosed: (UsageError,),
    StoreError: (WorkqueueError,),
    StoreUnavailable: (StoreError,),
    QueueFull: (StoreUnavailable,),
    UnsuitableFile: (StoreError,),
    QueueMoved: (StoreError,),
    SchemaOutdated: (StoreError,),
    DuplicateJob: (UsageError,),
    ResultNotKept: (UsageError, LookupError),
    BatchNotFound: (UsageError, LookupError),
    LeaseLost: (WorkqueueError,),
    JobFailed: (WorkqueueError,),
    JobCancelled: (WorkqueueError,),
    TimedOut: (WorkqueueError, TimeoutError),
    ChildDied: (WorkqueueError,),
    RaisedInChild: (WorkqueueError,),
    RecoverableWorkerError: (WorkqueueError,),
}


@pytest.mark.parametrize("kind", PARENTS, ids=lambda kind: kind.__name__)
def test_each_error_has_its_place_in_the_tree(kind):
    assert kind.__bases__ == PARENTS[kind]


def test_the_tree_has_no_error_that_is_not_named_here():
    found = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)}
    assert found | {RecoverableWorkerError} == set(PARENTS)


def test_the_picture_in_the_docstring_names_them_all_in_the_right_depth():
    depth = {
        name: len(branch) // 4 for branch, name in re.findall(r"^([│├└─ ]*)([A-Z]\w+)", errors.__doc__, re.MULTILINE)
    }
    for kind in PARENTS:
        assert depth[kind.__name__] == len([base for base in kind.__mro__ if issubclass(base, WorkqueueError)]) - 1


def test_users_can_catch_every_error_by_a_public_name():
    assert [kind.__name__ for kind in PARENTS if getattr(workqueue, kind.__name__, None) is not kind] == []


@pytest.mark.parametrize("kind", [WorkqueueError, UsageError])
def test_a_plain_error_says_what_it_was_given(kind):
    assert str(kind("expected a, got b")) == "expected a, got b"


def test_an_invalid_option_carries_its_name_and_value():
    value = object()
    error = InvalidOption("expected x to be 1, got: 2", name="x", value=value)
    assert str(error) == "expected x to be 1, got: 2"
    assert (error.name, error.value) == ("x", value)


def test_an_invalid_payload_carries_the_path_of_the_bad_value():
    error = InvalidPayload("expected JSON, got at $.to[3]: nan", path="$.to[3]")
    assert str(error) == "expected JSON, got at $.to[3]: nan"
    assert error.path == "$.to[3]"
    assert InvalidPayload("expected JSON").path == "$"


def test_a_job_that_is_not_found_is_named():
    error = JobNotFound(42)
    assert str(error) == "expected the id of a job in this file, got: 42; completed jobs leave the file"
    assert error.job_id == 42


def test_a_schedule_that_is_not_found_is_named_with_its_queue():
    error = ScheduleNotFound("mail", "report")
    assert str(error) == (
        "expected the name of a schedule of queue 'mail', got: 'report'; it was forgotten, or never registered"
    )
    assert (error.queue, error.name) == ("mail", "report")


def test_a_closed_queue_is_named():
    error = QueueClosed("jobs.db")
    assert str(error) == "expected an open queue, but 'jobs.db' was closed; create a new Queue to go on"
    assert error.path == "jobs.db"


@pytest.mark.parametrize("kind", [StoreError, StoreUnavailable, QueueFull, UnsuitableFile])
def test_an_error_of_the_store_names_its_file(kind):
    error = kind("expected room, got none", path="/tmp/jobs.db")
    assert str(error) == "expected room, got none"
    assert error.path == "/tmp/jobs.db"


def test_an_outdated_program_is_told_both_versions():
    error = SchemaOutdated(path="jobs.db", found=3, known=2)
    assert str(error) == (
        "expected 'jobs.db' to have schema version 2 or older, got: 3; "
        "it was opened by a newer workqueue: upgrade this program (nothing was changed)"
    )
    assert (error.path, error.found, error.known) == ("jobs.db", 3, 2)


def test_a_queue_that_was_moved_says_how_to_go_on():
    error = QueueMoved("jobs.db")
    assert str(error) == (
        "expected 'jobs.db' to be open, but `workqueue copy` has closed it; `workqueue status` says what was moved "
        "where. Point this program there; or finish the copy that was interrupted; or say `workqueue reopen` to give "
        "it up"
    )
    assert error.path == "jobs.db"


def test_a_lost_lease_names_the_attempt():
    error = LeaseLost(7, 2)
    assert str(error) == (
        "expected job 7 to be running as attempt 2, but it was taken back meanwhile "
        "(its lease ended, or its runner was thought dead); nothing of this attempt was written"
    )
    assert (error.job_id, error.attempt) == (7, 2)


@pytest.mark.parametrize(
    ("words", "kind", "said"), [("ValueError: a: b", "ValueError", "a: b"), ("KeyError", "KeyError", "")]
)
def test_what_was_raised_in_a_child_has_its_words(words, kind, said):
    error = RaisedInChild(words, "Traceback …")
    assert (str(error), error.kind, error.said, error.traceback) == (words, kind, said, "Traceback …")


def test_a_recoverable_error_carries_its_delay():
    assert RecoverableWorkerError().delay is None
    assert str(RecoverableWorkerError()) == ""
    error = RecoverableWorkerError("later", delay=timedelta(seconds=3))
    assert (str(error), error.delay) == ("later", timedelta(seconds=3))
    assert RecoverableWorkerError("at once", timedelta(0)).delay == timedelta(0)


def test_a_recoverable_error_has_no_negative_delay():
    with pytest.raises(InvalidOption) as caught:
        RecoverableWorkerError("x", delay=timedelta(seconds=-1))
    assert (caught.value.name, caught.value.value) == ("delay", timedelta(seconds=-1))
    assert "zero or more" in str(caught.value)


MADE = {
    WorkqueueError: WorkqueueError("w"),
    UsageError: UsageError("u"),
    InvalidOption: InvalidOption("o", name="limit", value=0),
    InvalidPayload: InvalidPayload("p", path="$.to"),
    JobNotFound: JobNotFound(3),
    BatchNotFound: BatchNotFound(3),
    ScheduleNotFound: ScheduleNotFound("mail", "report"),
    QueueClosed: QueueClosed("jobs.db"),
    DuplicateJob: DuplicateJob("once", 3),
    ResultNotKept: ResultNotKept(3),
    StoreError: StoreError("s", path="jobs.db"),
    StoreUnavailable: StoreUnavailable("s", path="jobs.db"),
    QueueFull: QueueFull("s", path="jobs.db"),
    UnsuitableFile: UnsuitableFile("s", path="jobs.db"),
    QueueMoved: QueueMoved("jobs.db"),
    SchemaOutdated: SchemaOutdated(path="jobs.db", found=3, known=2),
    LeaseLost: LeaseLost(3, 2),
    JobFailed: JobFailed(3, "ValueError: no"),
    JobCancelled: JobCancelled(3, "410"),
    TimedOut: TimedOut(1.5),
    ChildDied: ChildDied("c", -9),
    RaisedInChild: RaisedInChild("ValueError: no", "Traceback …"),
    RecoverableWorkerError: RecoverableWorkerError("x", timedelta(seconds=1)),
    Snooze: Snooze(1, "later"),
    Cancel: Cancel("410"),
}


def kinds(root: type[WorkqueueError]) -> set[type[WorkqueueError]]:
    """Give this kind of error and those below it that users can name."""
    below = {kind for child in root.__subclasses__() for kind in kinds(child)}
    return {kind for kind in below | {root} if getattr(workqueue, kind.__name__, None) is kind}


def test_each_public_error_is_made_here_once():
    assert set(MADE) == kinds(WorkqueueError)
    assert [kind for kind, error in MADE.items() if type(error) is not kind] == []


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
def test_each_error_is_the_same_after_a_trip_between_processes_and_as_a_copy(kind, again):
    error = MADE[kind]
    back = again(error)
    assert back is not error
    assert (type(back), str(back), back.args, vars(back)) == (kind, str(error), error.args, vars(error))


class Busy(Snooze):
    def __init__(self, *, until: int) -> None:
        super().__init__(until, "busy")
        self.until = until


def test_an_error_that_a_program_derives_survives_as_well_with_its_notes():
    error = Busy(until=3)
    error.add_note("at noon")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (Busy, str(error), vars(error))
    assert (back.until, back.__notes__) == (3, ["at noon"])


def test_an_error_leaves_a_process_of_a_pool_and_the_pool_goes_on():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(JobFailed, match="^expected a result of job 3, but it failed: ValueError: no$") as caught:
            pool.submit(_failed).result()
        assert (caught.value.job_id, caught.value.error) == (3, "ValueError: no")
        assert pool.submit(len, "ab").result() == 2


def _failed() -> None:
    raise JobFailed(3, "ValueError: no")

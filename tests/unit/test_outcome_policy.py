"""What a handler's return, and what it raises, come to: control, the retry policy, the encoded result."""

from __future__ import annotations

from datetime import timedelta

import pytest
from workqueue import InvalidPayload, RecoverableWorkerError, StoreUnavailable, UsageError
from workqueue.context import Context
from workqueue.control import Cancel, Retry, Snooze
from workqueue.executor.outcome import of_exception, of_result
from workqueue.job import Claim, Job
from workqueue.lifecycle import Cancelled, Postponed, Raised, Returned

MINUTE = timedelta(minutes=1)


@pytest.fixture
def context():
    return Context(Claim(Job(id=1, name="n", data=b"null"), 1, timedelta(0), 0), None, 0.0)


def test_snoozing_puts_off_and_cancelling_cancels(context):
    context.policy = lambda error: pytest.fail("control is no error")
    assert of_exception(context, Snooze(60)) == Postponed(MINUTE)
    cancelled = of_exception(context, Cancel("no \ud800 use"))
    assert isinstance(cancelled, Cancelled)
    assert cancelled.reason == "no \\ud800 use"
    assert len(of_exception(context, Cancel("x" * 5_000)).reason) == 1_000


@pytest.mark.parametrize("delay", ["soon", -1, None])
def test_a_snooze_of_nonsense_fails(context, delay):
    snooze = Snooze(1)
    snooze.delay = delay
    outcome = of_exception(context, snooze)
    assert isinstance(outcome, Raised)
    assert outcome.error.startswith("InvalidOption: expected delay")
    assert not outcome.recoverable


def test_a_snooze_of_a_job_that_a_person_cancelled_is_left_to_the_store(context):
    context.cancel_requested = True
    assert of_exception(context, Snooze(60)) == Postponed(MINUTE)
    assert isinstance(of_exception(context, ValueError("x")), Cancelled)


@pytest.mark.parametrize(
    ("answer", "recoverable", "delay"),
    [(None, False, None), (Retry(), True, None), (Retry(MINUTE), True, MINUTE)],
)
def test_the_policy_is_asked_of_errors(context, answer, recoverable, delay):
    asked = []
    context.policy = lambda error: asked.append(error) or answer
    error = ValueError("x")
    outcome = of_exception(context, error)
    assert (outcome.recoverable, outcome.delay, asked) == (recoverable, delay, [error])


@pytest.mark.parametrize(
    ("error", "recoverable"),
    [(RecoverableWorkerError("x"), True), (StoreUnavailable("x", path="p"), True), (SystemExit(1), False)],
)
def test_the_policy_is_not_asked_of_what_says_it_itself(context, error, recoverable):
    asked = []
    context.policy = asked.append
    assert of_exception(context, error).recoverable is recoverable
    assert asked == []


def exits(error):
    raise SystemExit(7)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (exits, "SystemExit: 7"),
        (lambda error: 5, "AttributeError: 'int' object has no attribute 'delay'"),
        (lambda error: Retry("soon"), "InvalidOption: expected delay"),
    ],
)
def test_a_policy_that_fails_is_told_beside_the_error(context, policy, says):
    context.policy = policy
    outcome = of_exception(context, ValueError("x" * 3_000))
    assert outcome.error.startswith("ValueError: xxx")
    assert f"…; its retry policy raised {says}" in outcome.error
    assert len(outcome.error) <= 1_000
    assert not outcome.recoverable
    assert "ValueError: xxx" in outcome.traceback
    assert says.split(":")[0] in outcome.traceback


def test_a_result_is_what_give_makes_of_it(context):
    assert of_result(context, 5) == Returned()
    context.give = lambda result: Returned(repr(result).encode(), MINUTE)
    assert of_result(context, 5) == Returned(b"5", MINUTE)
    assert of_result(context, None) == Returned(b"None", MINUTE)


def test_a_result_that_cannot_be_encoded_is_not_tried_again(context):
    def give(result):
        raise InvalidPayload("no such type")

    context.give, context.policy = give, lambda error: pytest.fail("the work was done")
    outcome = of_result(context, object())
    assert (outcome.error, outcome.recoverable) == ("InvalidPayload: no such type", False)


async def later():
    pass


@pytest.mark.parametrize(
    ("task", "what", "says"),
    [
        (None, later, "do_work to return when done, but it returned an awaitable; declare it `async def`"),
        (
            "mail",
            later,
            "task 'mail' to return when done, but it returned an awaitable; declare it `async def`, or ",
        ),
        (None, lambda: iter_of(), "do_work to return when done, but it returned a generator, which nobody runs"),
        ("mail", lambda: iter_of(), "task 'mail' to return when done, but it returned a generator, which nobody runs"),
    ],
)
def test_work_that_was_returned_is_not_given_out_and_not_tried_again(context, task, what, says):
    context.give = lambda result: pytest.fail("no result")
    context.policy = lambda error: pytest.fail("another try would return it again")
    context.task = task
    outcome = of_result(context, what())
    assert outcome.error.startswith(f"UsageError: expected {says}")
    assert not outcome.recoverable


def iter_of():
    yield 1


def test_progress_is_encoded_at_once_and_the_newest_is_kept(context):
    assert context.progress_data is None
    context.progress({"done": 1})
    context.progress({"done": 2})
    assert context.progress_data == b'{"done":2}'
    with pytest.raises(InvalidPayload, match=r"\$.bad"):
        context.progress({"bad": object()})
    assert context.progress_data == b'{"done":2}'


def test_time_left_needs_a_timeout(context):
    assert context.time_left() is None
    context.timeout = 10.0
    assert context.time_left() < 0  # it began when the clock did


def test_who_comes_after_the_cancellation_is_called_at_once(context):
    calls = []
    context.when_cancelled(lambda: calls.append("before"))
    context.cancel()
    context.when_cancelled(lambda: calls.append("after"))
    assert calls == ["before", "after"]


def test_there_is_no_transaction_without_a_store(context):
    with pytest.raises(UsageError, match="isolated job runs in a child"), context.transaction():
        pass

"""What callers may pass: each check gives the value back, or says what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeGuard, TypeVar

from workqueue.duration import as_duration
from workqueue.errors import BatchNotFound, InvalidOption, JobNotFound
from workqueue.job import JobStatus, Terms

T = TypeVar("T")
_NAME_LIMIT: Final = 255
_TEXT_LIMIT: Final = 1000
LARGEST_ID: Final = 2**63 - 1


def as_status(value: JobStatus | str) -> JobStatus:
    """Give the status of this name (`failed`, `FAILED`), or the status itself. Raises InvalidOption."""
    if isinstance(value, JobStatus):
        return value
    try:
        return JobStatus[value.upper()]
    except (KeyError, AttributeError):
        names = ", ".join(str(status) for status in JobStatus)
        raise InvalidOption(
            f"expected status to be one of {names}, got: {value!r}", name="status", value=value
        ) from None


def checked_name(value: object, name: str) -> str:
    """Give `value` if it is text that can name a queue or a job. Raises InvalidOption."""
    if not isinstance(value, str) or not value or len(value) > _NAME_LIMIT:
        raise InvalidOption(
            f"expected {name} to be text of 1 to {_NAME_LIMIT} characters, got: {value!r:.80}",
            name=name,
            value=value,
        )
    return without_nul(_unicode(value, name), name)


def checked_text(value: object, name: str) -> str:
    """Give `value` if it is text that can be looked for. Raises InvalidOption."""
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        raise InvalidOption(
            f"expected {name} to be text of at most {_TEXT_LIMIT} characters, got: {value!r:.80}",
            name=name,
            value=value,
        )
    return _unicode(value, name)


def checked_terms(terms: Terms) -> Terms:
    """Give `terms` if their key and lanes can be kept by every engine. Raises InvalidOption."""
    limit, rate = terms.limit, terms.rate
    texts = {
        "key": terms.key,
        "limit": None if limit is None else limit.name,
        "rate": None if rate is None else rate.name,
        "order": terms.order,
    }
    for name, text in texts.items():
        if text is not None:
            without_nul(text, name)
    return terms


def without_nul(value: str, name: str) -> str:
    """Give `value` if it has no NUL: SQLite's JSON ends a text there, and PostgreSQL has no place for it."""
    if "\0" in value:
        raise InvalidOption(f"expected {name} to be text without NUL, got: {value!r:.80}", name=name, value=value)
    return value


def between(value: object, lowest: int, highest: int, name: str) -> int:
    """Give `value` if it is a whole number of that range. Raises InvalidOption."""
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise InvalidOption(
            f"expected {name} to be a whole number from {lowest} to {highest}, got: {value!r}", name=name, value=value
        )
    return value


def at_least(value: object, lowest: timedelta, name: str) -> timedelta:
    """Give `value` as a timedelta if it is not shorter than `lowest`. Raises InvalidOption."""
    duration = as_duration(value, name)
    if duration < lowest:
        raise InvalidOption(f"expected {name} to be {lowest} or more, got: {value}", name=name, value=value)
    return duration


def positive(value: object, name: str) -> timedelta:
    """Give `value` as a timedelta if it is longer than 0. Raises InvalidOption."""
    duration = as_duration(value, name)
    if not duration:
        raise InvalidOption(
            f"expected {name} to be more than 0, got: {value}; leave it out, or say None, where none is meant",
            name=name,
            value=value,
        )
    return duration


def aware(value: object, name: str) -> datetime:
    """Give `value` in UTC if it is a datetime that says its time zone. Raises InvalidOption."""
    if not isinstance(value, datetime):
        raise InvalidOption(f"expected {name} to be a datetime, got: {value!r}", name=name, value=value)
    if value.utcoffset() is None:
        raise InvalidOption(
            f"expected {name} to be an aware datetime, got the naive {value!r}; say which zone it is in: "
            f"{name}.astimezone() for this machine's, or datetime(..., tzinfo=UTC)",
            name=name,
            value=value,
        )
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise InvalidOption(f"expected {name} to be a date in UTC too, got: {value}", name=name, value=value) from error


def one_of(value: T, values: Sequence[T], name: str) -> T:
    """Give `value` if it is one of `values`. Raises InvalidOption."""
    if value not in values:
        words = ", ".join(map(repr, values))
        raise InvalidOption(f"expected {name} to be one of {words}, got: {value!r}", name=name, value=value)
    return value


def checked_key(value: object) -> str:
    """Give `value` if it is text that can be the key of a job. Raises InvalidOption."""
    if not isinstance(value, str) or not value:
        raise InvalidOption(f"expected key to be text, got: {value!r}", name="key", value=value)
    return _unicode(value, "key")


def _unicode(value: str, name: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidOption(
            f"expected {name} to be Unicode text, got: {value!r:.80}", name=name, value=value
        ) from error
    return value


def job_id(value: int) -> int:
    """Give `value` if it can be the id of a job. Raises InvalidOption, or JobNotFound for a number no job can have."""
    if not may_be_job_id(value):
        raise JobNotFound(value)
    return value


def may_be_job_id(value: int) -> bool:
    """Say whether a job could have this id. Raises InvalidOption when it is no whole number."""
    return _may_be_id(value, "job")


def batch_id(value: int) -> int:
    """Give `value` if it can be the id of a batch. Raises InvalidOption, or BatchNotFound for a number no batch has."""
    if not _may_be_id(value, "batch"):
        raise BatchNotFound(value)
    return value


def _may_be_id(value: object, of: str) -> bool:
    if not _is_whole(value):
        raise InvalidOption(f"expected a {of}'s id to be a whole number, got: {value!r}", name=f"{of}_id", value=value)
    return 0 < value <= LARGEST_ID


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)

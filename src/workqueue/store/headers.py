"""Headers: what a job carries for its way, as the store holds it: an object of texts, as JSON, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from workqueue.job import NO_HEADERS, Headers, NewJob

Encoded: TypeAlias = list[str | None]
"""Those of each new job, or an empty list where none has any."""

_read = msgspec.json.Decoder(dict[str, str])


def headers_of(jobs: Sequence[NewJob]) -> Encoded:
    """Give the headers of new jobs; those that share a mapping are encoded once."""
    if all(job.headers is NO_HEADERS for job in jobs):
        return []
    known: dict[int, str | None] = {}
    for job in jobs:
        if id(job.headers) not in known:
            known[id(job.headers)] = msgspec.json.encode(job.headers).decode() if job.headers else None
    return [known[id(job.headers)] for job in jobs]


def read_headers(said: str | None) -> Mapping[str, str]:
    """Give the headers of a stored job."""
    return NO_HEADERS if said is None else Headers(_read.decode(said))


def frozen(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Give these headers as those of a stored job are: nobody can change them any more."""
    return Headers(headers) if headers else NO_HEADERS

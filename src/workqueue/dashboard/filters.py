"""What people ask for in an address: which jobs, which stretch of time, where to go back to. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

import msgspec

from workqueue.arguments import LARGEST_ID, as_status, checked_name
from workqueue.errors import InvalidOption
from workqueue.job import JobStatus
from workqueue.store.paging import Find

PER_PAGE: Final = 50
LONGEST_TEXT: Final = 200
_MINUTE: Final = timedelta(minutes=1)
_BACK: Final = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to show: None and "" mean any. Newest first; before: only ids below it, the next page's beginning."""

    queue: str | None = None
    status: JobStatus | None = None
    name: str | None = None
    text: str = ""
    batch: int | None = None
    before: int | None = None

    @classmethod
    def read(cls, told: Mapping[str, str]) -> Filter:
        """Read what `query` wrote, or a form sent. Raises InvalidOption, as for all that people type."""
        status, text = told.get("status", ""), told.get("text", "")
        if len(text) > LONGEST_TEXT:
            raise InvalidOption(
                f"expected at most {LONGEST_TEXT} characters to look for, got: {len(text)}", name="text", value=text
            )
        return cls(
            queue=_name(told, "queue"),
            status=as_status(status) if status else None,
            name=_name(told, "name"),
            text=text,
            batch=whole(told, "batch") if told.get("batch") else None,
            before=whole(told, "before") if told.get("before") else None,
        )

    def find(self, limit: int = PER_PAGE) -> Find:
        """Give what to ask the store."""
        return Find(
            queue=self.queue,
            status=self.status,
            name=self.name,
            text=self.text or None,
            batch=self.batch,
            before=self.before,
            newest_first=True,
            limit=limit,
        )

    def fields(self) -> dict[str, str]:
        """Give it as the fields of a form, without those that mean any."""
        status = None if self.status is None else str(self.status)
        told = {"queue": self.queue, "status": status, "name": self.name, "text": self.text}
        numbers = {"batch": self.batch, "before": self.before}
        return {name: str(value) for name, value in {**told, **numbers}.items() if value}

    def with_(self, **changes: object) -> Filter:
        """Give it with these changes, from its first page on."""
        return msgspec.structs.replace(self, **{"before": None, **changes})

    @property
    def is_any(self) -> bool:
        """Whether it lets every job through."""
        return not self.with_().fields()


class Stretch(msgspec.Struct, frozen=True):
    """How far back a chart goes, and how wide its steps are."""

    name: str
    label: str
    length: timedelta
    step: timedelta

    @property
    def points(self) -> int:
        """How many steps there are."""
        return self.length // self.step


STRETCHES: Final = {
    stretch.name: stretch
    for stretch in (
        Stretch("15m", "15 minutes", 15 * _MINUTE, _MINUTE),
        Stretch("1h", "hour", 60 * _MINUTE, _MINUTE),
        Stretch("6h", "6 hours", 360 * _MINUTE, 5 * _MINUTE),
        Stretch("24h", "24 hours", 1440 * _MINUTE, 15 * _MINUTE),
        Stretch("7d", "7 days", 7 * 1440 * _MINUTE, 120 * _MINUTE),
        Stretch("30d", "30 days", 30 * 1440 * _MINUTE, 720 * _MINUTE),
    )
}
_USUAL: Final = "1h"


def stretch(told: Mapping[str, str]) -> Stretch:
    """Give the stretch of time that is asked for. Raises InvalidOption for one that there is not."""
    name = told.get("range") or _USUAL
    if name not in STRETCHES:
        raise InvalidOption(
            f"expected range to be one of {', '.join(STRETCHES)}, got: {name!r:.40}", name="range", value=name
        )
    return STRETCHES[name]


def whole(told: Mapping[str, str], name: str) -> int:
    """Give the id that stands there. Raises InvalidOption."""
    text = told.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and 0 < int(text) <= LARGEST_ID):
        raise InvalidOption(f"expected {name} to be the id of a job or batch, got: {text!r:.40}", name=name, value=text)
    return int(text)


def required_name(told: Mapping[str, str], name: str) -> str:
    """Give the name that stands there. Raises InvalidOption."""
    return checked_name(told.get(name, ""), name)


def back(told: Mapping[str, str], otherwise: str = "/") -> str:
    """Give where to go after a form: a path below the dashboard, whatever was typed there."""
    path = told.get("back", "")
    return path if _BACK.fullmatch(path) else otherwise


def address(path: str, **told: object) -> str:
    """Give a path with a query, leaving out what is None or empty."""
    query = urlencode({name: str(value) for name, value in told.items() if value not in (None, "")})
    return f"{path}?{query}" if query else path


def _name(told: Mapping[str, str], name: str) -> str | None:
    return checked_name(told[name], name) if told.get(name) else None

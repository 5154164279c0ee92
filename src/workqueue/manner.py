"""Manner: how one push differs from the others of its task."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from workqueue.arguments import aware, checked_key, one_of, positive
from workqueue.canonical import bounded
from workqueue.duration import as_duration
from workqueue.errors import InvalidOption
from workqueue.job import OnConflict


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of a push; for what each means see `BaseTask.using`."""

    run_at: datetime | None = None
    delay: timedelta | None = None
    priority: int = 0
    key: str | None = None
    unique_for: timedelta | None = None
    on_conflict: OnConflict | None = None
    expires: timedelta | None = None
    within: object | None = None

    def varied(
        self,
        *,
        after: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int | None = None,
        key: str | None = None,
        unique_for: timedelta | float | None = None,
        on_conflict: OnConflict | None = None,
        expires: timedelta | float | None = None,
        within: object | None = None,
    ) -> Manner:
        """Give it with what is said here; what is not stays as it is. Raises InvalidOption."""
        if at is not None and after is not None:
            raise InvalidOption("expected at or after, got both", name="after", value=after)
        said: dict[str, object] = {
            "priority": priority,
            "key": None if key is None else bounded(checked_key(key)),
            "unique_for": None if unique_for is None else as_duration(unique_for, "unique_for"),
            "on_conflict": None
            if on_conflict is None
            else one_of(on_conflict, ("keep", "replace", "error"), "on_conflict"),
            "expires": None if expires is None else positive(expires, "expires"),
            "within": within,
        }
        changes = {name: value for name, value in said.items() if value is not None}
        if at is not None or after is not None:  # either takes the place of the other
            changes["run_at"] = None if at is None else aware(at, "at")
            changes["delay"] = None if after is None else as_duration(after, "after")
        return msgspec.structs.replace(self, **changes)

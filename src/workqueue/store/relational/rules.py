"""Retry rules: each is stored once, and jobs name it by its id."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from workqueue.backoff import Backoff
from workqueue.store.relational.session import Session

Rule: TypeAlias = tuple[object, ...]

_encode: Final = msgspec.json.encode
_decoder: Final = msgspec.json.Decoder(list[tuple[int, Backoff]])


def rule_of(backoff: Backoff) -> Rule:
    """Give what the stored rule is known by: all but the counter."""
    return (backoff.factor, backoff.jitter, backoff.min, backoff.max, backoff.expiration, backoff.limit)


def stored_id(session: Session, backoff: Backoff) -> int:
    """Give the id of a rule, which is stored where it is not yet."""
    row = {"rule": _encode(backoff.copy()).decode()}
    found = session.ask("backoff_id", row).fetchone()
    if found is None:
        session.ask("add_backoff", row)
        found = session.ask("backoff_id", row).fetchone()
    return int(found[0])


def by_id(session: Session) -> dict[int, Backoff]:
    """Give all that are stored."""
    return dict(_decoder.decode(session.ask("backoff_rules").fetchone()[0]))

"""Rules: the retry rules in a file, each stored once, as far as they were met."""

from __future__ import annotations

from typing import TypeAlias

from workqueue.backoff import Backoff
from workqueue.logs import Log
from workqueue.store.relational.rules import Rule, by_id, rule_of, stored_id
from workqueue.store.relational.session import Session

Ids: TypeAlias = dict[Rule, int]

log = Log("workqueue.store")


class Rules:
    """What is known of one file: in another that was put in its place the ids are others. Safe from any thread."""

    def __init__(self) -> None:
        self._ids: Ids = {}
        self._by_id: dict[int, Backoff] = {}

    def id_of(self, session: Session, backoff: Backoff, new: Ids) -> int:
        """Give the id of a rule, which is stored where it is not yet. new: takes it unless it was known."""
        rule = rule_of(backoff)
        known = self._ids.get(rule)
        if known is not None and not session.is_lent:  # the application may have opened its connection to another file
            return known
        found = new[rule] = stored_id(session, backoff)
        return found

    def note(self, ids: Ids) -> None:
        """Know these from now on: what stored them is committed."""
        self._ids.update(ids)

    def get(self, session: Session, number: int) -> Backoff:
        """Give the rule of this id. Where a damaged file has none, jobs are tried again as a new queue's would be."""
        if number not in self._by_id:
            self._by_id.update(by_id(session))
        if number not in self._by_id:
            log.error("expected a retry rule %d in the file, but there is none; `workqueue check` says more", number)
            self._by_id[number] = Backoff()
        return self._by_id[number]

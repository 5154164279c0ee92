"""Settling what is plainly complete: a statement by itself, without a transaction around it."""

from __future__ import annotations

from collections.abc import Sequence

from workqueue.job import Claim, JobStatus
from workqueue.lifecycle import Settlement
from workqueue.store.postgres.connection import Connection
from workqueue.store.postgres.database import Database
from workqueue.store.relational.settling import claimed_at, refused


def is_plain(settlement: Settlement) -> bool:
    """Say whether the job just leaves, or stays as it is: nobody waits for it, and no result is kept."""
    return (
        settlement.to is JobStatus.COMPLETED
        and settlement.claim.job.terms is None
        and (settlement.result is None or not settlement.keep_result)
    )


def columns(settlements: Sequence[Settlement]) -> dict[str, object]:
    """Give the arrays that say which attempts of which jobs these settle, and whose."""
    return {
        "ids": [settlement.claim.job.id for settlement in settlements],
        "attempts": [settlement.claim.job.attempt for settlement in settlements],
        "runners": [settlement.claim.runner for settlement in settlements],
    }


def complete_plain(database: Database, settlements: Sequence[Settlement]) -> list[Claim]:
    """Let these jobs leave, or be kept among those that completed; give the claims that were refused."""
    stay = [settlement for settlement in settlements if settlement.stays]
    rows = {
        "completed": columns([settlement for settlement in settlements if not settlement.stays]),
        "completed_and_kept": {
            **columns(stay),
            "claimed": [claimed_at(settlement.claim) for settlement in stay],
            "now": database.given_now(),
        },
    }

    def attempt(again: bool) -> list[Claim]:
        accepted: list[tuple[int, int]] = []
        with database.pool.lend() as connection:
            for statement, row in rows.items():
                if row["ids"]:
                    accepted += connection.ask(statement, row).fetchall()
            if again:
                return there_still(connection, settlements)
        return refused(settlements, accepted)

    return database.patiently(attempt) if settlements else []


def there_still(connection: Connection, settlements: Sequence[Settlement]) -> list[Claim]:
    """Give the claims whose jobs did not leave."""
    ids = [settlement.claim.job.id for settlement in settlements]
    left = {job for (job,) in connection.ask("present", {"ids": ids}).fetchall()}
    return [settlement.claim for settlement in settlements if settlement.claim.job.id in left]

"""A push within the application's own transaction: what it adds to that, and what a push after it would."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from workqueue import Queue

from bench.postgres import missing, server
from bench.samples import Effort, Sample, costs, rates, ratio, timed
from bench.table import Row
from bench.work import objects

_TABLE = "CREATE TABLE orders (number BIGINT, note TEXT)"
_NOTE = "n" * 100


def in_a_file(effort: Effort, folder: Path) -> list[Row]:
    """One row of the application's and one job, each time, flushed."""
    path = folder / "ours.db"
    with Queue(path) as queue, closing(sqlite3.connect(path)) as connection:
        return [_beside("file", effort, queue, connection, "INSERT INTO orders VALUES (?, ?)")]


def in_a_server(effort: Effort, folder: Path) -> list[Row]:
    """The same in PostgreSQL."""
    del folder
    absent = missing("PostgreSQL: push within the application's transaction")
    if absent:
        return absent
    with server() as databases, databases.lend() as url, Queue(url) as queue, psycopg.connect(url) as connection:
        return [_beside("PostgreSQL", effort, queue, connection, "INSERT INTO orders VALUES (%s, %s)")]


def _beside(where: str, effort: Effort, queue: Queue, connection: Any, insert: str) -> Row:
    connection.execute(_TABLE)
    connection.commit()
    count = effort(500)

    def alone(_job: object) -> None:
        connection.execute(insert, (1, _NOTE))
        connection.commit()

    def within(job: object) -> None:
        connection.execute(insert, (1, _NOTE))
        queue.push("no-op", job, within=connection)
        connection.commit()

    def after(job: object) -> None:
        alone(job)
        queue.push("no-op", job)

    def doing(step: Callable[[object], object]) -> Callable[[], Sample]:
        jobs = list(objects(count))
        return lambda: timed(lambda: [step(job) for job in jobs], count)

    found = effort.in_turn({"within": doing(within), "alone": doing(alone), "after": doing(after)}, rounds=7)
    costing = ratio(rates(found["alone"]), rates(found["within"]))
    return Row(
        f"{where}: INSERT of the application's and a push, one transaction",
        "",
        costing.said("× the time of the INSERT alone"),
        f"{costs(found['within'])}; the INSERT alone {costs(found['alone'])}; "
        f"the push after it, in a second transaction {costs(found['after'])}",
        reached=None,
    )

"""How many connections of a PostgreSQL store are lent at once, and that Ctrl-C keeps none of them for ever."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import FrameType

import pytest
from workqueue.errors import StoreUnavailable
from workqueue.store.postgres import connection
from workqueue.store.postgres.address import parse
from workqueue.store.postgres.connection import MOST, Pool


class Connection:
    """One to nowhere."""

    closed = broken = is_changed = False

    def roll_back(self) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setattr(connection, "connect", lambda _address: Connection())
    monkeypatch.setattr(connection, "_PATIENCE", 0)
    return Pool(parse("postgresql:///nowhere"))


def lend(pool: Pool, count: int, held: ExitStack, **options: int) -> None:
    for _ in range(count):
        held.enter_context(pool.lend(**options))


def test_so_many_are_lent_and_no_more(pool):
    with ExitStack() as held:
        lend(pool, MOST, held)
        with pytest.raises(StoreUnavailable, match="free within 0 s, but transactions hold all 20"), pool.lend():
            pass
    with ExitStack() as held:
        lend(pool, MOST, held)


def test_who_leaves_some_for_others_is_refused_before_them(pool):
    with ExitStack() as held:
        lend(pool, MOST - 4, held, leaving=4)
        with pytest.raises(StoreUnavailable, match="hold all 16"), pool.lend(leaving=4):
            pass
        lend(pool, 4, held)


def test_an_error_that_is_kept_keeps_no_connection(pool):
    kept: list[ValueError] = []
    for _ in range(MOST + 1):
        try:
            with pool.lend():
                raise ValueError
        except ValueError as error:
            kept.append(error)


def test_ctrl_c_may_come_at_any_instant(pool):
    """A signal is handled when a function begins, or right after a call of a built-in one."""
    instant = 0
    struck = True
    while struck:
        instant += 1
        struck = lends_until(pool, instant)
    assert instant > 20
    with ExitStack() as held:
        lend(pool, MOST, held)


def lends_until(pool: Pool, instant: int) -> bool:
    """Lend and take back; say whether it was interrupted before it was done."""
    left = instant

    def interrupt(_frame: FrameType, event: str, _what: object) -> None:
        nonlocal left
        left -= event in ("call", "c_return")
        if left == 0:
            raise KeyboardInterrupt

    sys.setprofile(interrupt)
    try:
        with pool.lend():
            pass
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False

"""What the bench makes of its samples."""

import sqlite3

import pytest
from bench.samples import Effort, percentile, ratio, spread
from bench.table import Row, Section, report

from bench import stopwatch


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    held = ratio([1.0, 10.0, 100.0], [2.0, 10.0, 50.0])
    assert held == (1.0, 0.5, 2.0)
    assert held.said("R") == "1.00 R (0.50 to 2.00)"


def test_the_order_turns_round_at_each_round() -> None:
    order: list[str] = []

    def run(name: str) -> float:
        order.append(name)
        return 1.0

    found = Effort().in_turn({"a": lambda: run("a"), "b": lambda: run("b")}, rounds=3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_a_quick_effort_is_one_round_whatever_is_wanted() -> None:
    assert Effort(one_round=True).rounds(9) == 1
    assert Effort().rounds(9) == 9


def test_the_spread_says_the_median_and_the_range() -> None:
    assert spread([30_500.0, 31_900.0, 31_000.0]) == "31,000/s (30,500 to 31,900)"
    assert spread([1.0, 2.0, 4.0], " ms") == "2.00 ms (1.00 to 4.00)"
    assert spread([5.0], "") == "5.00"
    assert percentile([float(n) for n in range(100)], 99) == 99.0


def test_rows_come_first_then_the_machine_then_the_sections() -> None:
    rows = [
        Row("a", "≥ 1", "2 ×", "f", reached=True),
        Row("b", "≥ 1", "0 ×", "f", reached=False),
        Row("c", "", "–", "f", reached=None),
    ]
    said = report([rows[0], Section("S", "text", ("x",), [("y",)]), *rows[1:]], "- machine")
    assert [line.split("|")[4].strip() for line in said.splitlines()[2:5]] == ["yes", "**no**", "–"]
    assert said.endswith("- machine\n\n## S\n\ntext\n\n| x |\n| - |\n| y |")


def test_the_stopwatch_counts_statements_of_connections_opened_inside() -> None:
    before = sqlite3.connect(":memory:")
    with stopwatch.running():
        connection = sqlite3.connect(":memory:")
    stopwatch.taken.clear()
    before.execute("SELECT 1").fetchone()
    assert connection.execute("SELECT 2").fetchone() == (2,)
    assert connection.execute("SELECT ?", (3,)).fetchall() == [(3,)]
    assert set(stopwatch.taken) == {"SELECT 2", "SELECT ?"}
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("NONSENSE")
    after = sqlite3.connect(":memory:")
    assert type(after) is sqlite3.Connection
    for each in (before, connection, after):
        each.close()

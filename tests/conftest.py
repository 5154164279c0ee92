"""The order of tests, and what they measured: a test says `record_property("figures", "…")`."""

from __future__ import annotations

import signal
from itertools import groupby
from typing import Any

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it has in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else no process of a test would hear a Ctrl-C

pytest_plugins = ["postgres_fixtures"]

# Tests with processes of their own.
_LONG = ("bench", "crash", "dashboard", "deployment", "examples", "faces", "faults", "monitor", "prove", "worker")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what is long, in each of the shares that xdist makes for its workers.

    Else the last minute belongs to one worker with a long test, while the others are done. What is short is left for
    the end, of which those who are done take half.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long, short = [], []
    for module, tests in groupby(items, lambda item: item.path):
        (long if module.parent.name in _LONG else short).append(list(tests))
    rest = [test for tests in short for test in tests]
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        share = [test for tests in long[worker::workers] for test in tests]
        fill = max(0, (len(items) - len(ordered)) // (workers - worker) - len(share))
        ordered += [*share, *rest[:fill]]
        del rest[:fill]
    items[:] = ordered + rest


def pytest_terminal_summary(terminalreporter: Any) -> None:
    figures = [
        text
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, text in report.user_properties
        if name == "figures"
    ]
    if figures:
        terminalreporter.section("measured, not judged")
        for text in sorted(figures):
            terminalreporter.write_line(text)

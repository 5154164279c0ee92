"""Prints what tests measured: a test says `record_property("figures", "…")`."""

from __future__ import annotations

import signal
from typing import Any

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it has in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else no process of a test would hear a Ctrl-C

pytest_plugins = ["postgres_fixtures"]


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

"""Prints what tests measured: a test says `record_property("figures", "…")`."""

from __future__ import annotations

from typing import Any

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

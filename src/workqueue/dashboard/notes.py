"""What was done, told on the next page. The address names one of these sentences, and never brings its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SENTENCES: Final = {
    "retried": ("{n} job is tried again: it is due now.", "{n} jobs are tried again: they are due now."),
    "restored": ("Restored {n} job: it waits again.", "Restored {n} jobs: they wait again."),
    "cancelled": (
        "Cancelled {n} job; if it runs, it is told to stop.",
        "Cancelled {n} jobs; those that run are told to stop.",
    ),
    "deleted": ("Deleted {n} job for good.", "Deleted {n} jobs for good."),
    "edited": ("Saved the new data.", ""),
    "edited-retried": ("Saved the new data. The job is tried again: it is due now.", ""),
    "paused": ("Paused: nothing more is started. What runs goes on.", ""),
    "resumed": ("Resumed.", ""),
    "triggered": ("Pushed one job of the schedule, due now.", ""),
    "batch-cancelled": ("Cancelled {n} job of the batch.", "Cancelled {n} jobs of the batch."),
    "nothing": ("Nothing was changed: no job was chosen, or they had moved on.", ""),
}
_MOST_DIGITS: Final = 12


def note(told: Mapping[str, str]) -> str:
    """Give the sentence that an address asks for, or nothing."""
    one, many = _SENTENCES.get(told.get("said", ""), ("", ""))
    number = told.get("n", "")
    known = number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS
    if "{n}" in one and not known:
        return ""
    chosen = many if many and known and int(number) != 1 else one
    return chosen.format(n=f"{int(number):,}") if "{n}" in chosen else chosen

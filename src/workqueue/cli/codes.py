"""The exit codes, and what each means: `workqueue --help` shows this table, and docs/cli.md has it too."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Code(IntEnum):
    """What the command line exits with."""

    WELL = 0
    NO = 1
    USAGE = 2
    STORE = 3
    GAVE_UP = 4
    INTERRUPTED = 130
    UNREAD = 141
    TERMINATED = 143


MEANINGS: Final[Mapping[Code, str]] = {
    Code.WELL: "all is well",
    Code.NO: "the answer is no: check or copy --verify found something wrong; there was nothing to cancel, retry, "
    "restore, resume or reopen, or none of the jobs named to clean was over; or a question was not answered with yes",
    Code.USAGE: "wrong usage: an option, the JSON, the id of a job, the configuration, a module:queue",
    Code.STORE: "the file or database is missing, or cannot be used or reached",
    Code.GAVE_UP: "run: its worker processes kept dying",
    Code.INTERRUPTED: "ended by Ctrl-C; run: by a third signal",
    Code.UNREAD: "whoever read the output went away",
    Code.TERMINATED: "ended by SIGTERM; bench, backup: with what they had made removed",
}

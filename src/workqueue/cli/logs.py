"""What `run` is told of how to log; `workqueue.stderr` does it."""

from __future__ import annotations

from typing import Final

import click

_LEVELS: Final = ("debug", "info", "warning", "error")

format_option: Final = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Log so, whatever the program has set up.  [default: text]",
)
level_option: Final = click.option(
    "--log-level", type=click.Choice(_LEVELS), help="Log what is as bad as that.  [default: info, of workqueue alone]"
)

"""The monitor: what the jobs of a store do, live on a terminal, and keys to act on them. Extra: `monitor`.

`desk` asks the store, `panels` makes rows of what it says, and both know no terminal; the rest draws, with textual. It
reads figures from `report`, acts through the verbs of `Queue`, and knows no engine.
"""

from __future__ import annotations

from datetime import timedelta

from workqueue.errors import UsageError
from workqueue.monitor.desk import Desk
from workqueue.monitor.once import record, tables

__all__ = ["Desk", "record", "tables", "watch"]


def watch(desk: Desk, interval: timedelta) -> None:
    """Show what happens, on this terminal, until somebody quits. Raises UsageError where textual is not installed."""
    try:
        import textual  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport] - an extra, and half a second
    except ImportError as error:
        raise UsageError(
            f"expected {error.name} for the monitor, but it is not installed; say "
            "pip install '.[monitor]' in a clone of workqueue"
        ) from error
    from workqueue.monitor.app import Monitor  # noqa: PLC0415 - as above

    Monitor(desk, interval).run()

"""Help for the tests of programs that use workqueue: no threads, no sleeps, no file. docs/testing.md shows it at work.

`plugin.py` has the fixtures for pytest; nothing else here imports that.
"""

from workqueue.testing.blocks import in_memory, inline
from workqueue.testing.clock import FakeClock
from workqueue.testing.draining import Drained, drain
from workqueue.testing.pushes import Pushed, assert_not_pushed, assert_pushed, pushed

__all__ = [
    "Drained",
    "FakeClock",
    "Pushed",
    "assert_not_pushed",
    "assert_pushed",
    "drain",
    "in_memory",
    "inline",
    "pushed",
]

"""Inbox: no signal is lost, whenever it comes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

from workqueue.cli.inbox import Inbox

ECHO = """
import os
from workqueue.cli.inbox import Inbox
inbox = Inbox()
inbox.listen(inbox.put)
os.write(1, b"ready\\n")
while True:
    os.write(1, b"%d\\n" % inbox.get())
"""


def test_every_signal_is_heard_at_once():
    """Each is sent at the answer to the one before: just when the main thread goes back to waiting."""
    with subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        giving_up = threading.Timer(60, child.kill)
        giving_up.start()
        heard = 0
        for number in range(1, 10_001):
            child.send_signal(signal.SIGTERM if number % 2 else signal.SIGINT)
            if child.stdout.readline() != b"%d\n" % number:
                break
            heard = number
        giving_up.cancel()
        child.kill()
    assert heard == 10_000


def test_events_come_in_order_and_none_means_that_there_was_nothing():
    inbox: Inbox[int] = Inbox()
    assert inbox.get(0) is None
    for number in range(100_000):  # more than the pipe holds
        inbox.put(number)
    assert [inbox.get() for _ in range(100_000)] == list(range(100_000))
    assert inbox.get(0.001) is None
    threading.Thread(target=inbox.put, args=[7]).start()
    assert inbox.get(30) == 7

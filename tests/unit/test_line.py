"""The line between a runner and a child: messages, whole and in order, whatever else somebody writes into it."""

from __future__ import annotations

import socket

import pytest
from workqueue.executor.messages import Began, Line, to_parent


@pytest.mark.parametrize("junk", [b"is anybody there? ", b"\n       ", b"12 of 20", (2).to_bytes(8, "big") + b"{]"])
def test_what_came_before_junk_is_given_before_that_is_told(junk):
    ours, theirs = socket.socketpair()
    line, other = Line(ours, to_parent), Line(theirs, to_parent)
    other.send(Began())
    theirs.send(junk)
    assert line.receive() == [Began()]
    for _ in range(2):
        with pytest.raises(ValueError, match="expected a message"):
            line.receive()
    line.close()
    other.close()

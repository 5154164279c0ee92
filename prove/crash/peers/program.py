"""The two programs of the plain loop, for whichever peer: one pushes numbers, the others work."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import time
from pathlib import Path
from typing import Final, Never

from prove.crash.part import Part, now
from prove.crash.peers import Peer, open_peer
from prove.crash.programs import say
from prove.journal import Ended, Journal, Pushed, Pushing, Started

_LOOK: Final = 25  # pushes between two looks at how much waits
_ENOUGH: Final = 60  # jobs that wait, beyond which the pusher holds back
_MILLION: Final = 1_000_000


def play(part: Part) -> int:
    """kind: the peer and what to do, "huey:push"; it ends by a kill or an error only."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    name, _, verb = part.kind.partition(":")
    journal = Journal(Path(part.journal))
    by = f"{part.slot}-{os.getpid()}"
    say("up", part.slot, os.getpid(), by)
    peer = open_peer(name, Path(part.path), works=verb == "work")
    if verb == "push":
        _push(peer, journal, int(part.slot.rpartition(".")[2]))

    def handler(number: int) -> None:
        attempt = now()  # peers do not number them; only the order counts
        journal.note(Started(at=attempt, job=number, attempt=attempt, by=by))
        time.sleep(random.Random(number).choice([0, 0, 0.001, 0.02]))
        journal.note(Ended(at=now(), job=number, attempt=attempt, by=by))

    peer.work(handler)
    return 71  # it was to work for ever


def _push(peer: Peer, journal: Journal, incarnation: int) -> Never:
    for number in range(incarnation * _MILLION, (incarnation + 1) * _MILLION):
        journal.note(Pushing(at=now()))
        peer.push(number)
        journal.note(Pushed(at=now(), job=number))
        while number % _LOOK == 0 and len(peer.left()) > _ENOUGH:
            time.sleep(0.02)
    raise AssertionError("a million jobs were pushed by one that was to be killed long before")

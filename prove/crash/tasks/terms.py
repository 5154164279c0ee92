"""What the tasks ask for, as the program and its judge both know it."""

from __future__ import annotations

from typing import Final

HOSTS: Final = ("a", "b")
ACCOUNTS: Final = ("x", "y", "z")
ADDRESSES: Final = ("p", "q", "r")

LIMIT: Final = 2  # of visit, for each host
LIMIT_ASYNC: Final = 3  # of fetch
LIMIT_APART: Final = 2  # of apart, whose runs are children of several processes
LIMITS: Final = {"visit": LIMIT, "fetch": LIMIT_ASYNC, "apart": LIMIT_APART}
RATE: Final = (4, 250)  # of call, for each host: starts, and within how many milliseconds
RATED: Final = "call"
ORDERED: Final = "book"
UNIQUE: Final = "mail"
PARTS: Final = frozenset({"part", "part_apart"})
CALLBACK: Final = "callback"
LINKS: Final = frozenset({"link", "link_apart"})

APART: Final = "+"  # in the name of who runs a job: before it the runner, behind it the process of its child
ROOMS: Final = "rooms"  # the folder where jobs meet

"""A queue with something of everything, and the pages that show it."""

from __future__ import annotations

from datetime import timedelta

from workqueue import Backoff, Queue

PAGES = [
    "/",
    "/?range=7d",
    "/queue?id=default",
    "/queue?id=nothing",
    "/jobs",
    "/jobs?status=failed",
    "/jobs?text=unheard",
    "/jobs/1",
    "/jobs/3",
    "/jobs/9",
    "/tasks",
    "/schedules",
    "/batches",
    "/batches/1",
    "/runners",
    "/confirm?deed=delete&status=failed",
    "/confirm/batch?id=1",
    "/nowhere",
    "/jobs?status=unknown",
]


def furnished(queue: Queue) -> None:
    """1, 2: failed; 3: gone; 4 to 6: of a batch; 7: waits to be tried again; 8: cancelled; 9: later, with terms."""

    @queue.task(name="mail", retry=Backoff(limit=2, min=0.001))
    def mail(to: str, token: str = "hunter2-marker") -> None:
        if to != "fine":
            raise ConnectionError(f"no such user {to}")

    @queue.task(name="part")
    def part(n: int) -> None: ...

    @queue.task(name="slow", retry=Backoff(limit=9, min=timedelta(hours=1)))
    def slow() -> None:
        raise RuntimeError("not yet")

    @queue.task(name="nightly", every="0 4 * * *", timezone="Europe/Berlin")
    def nightly() -> None: ...

    mail.push("ada")
    mail.push("grace")
    mail.push("fine")
    with queue.batch() as batch:
        for number in range(3):
            batch.add(part.s(number))
    slow.push()
    queue.cancel(queue.push_after("never", {"a": [1, 2]}, timedelta(days=1)))
    mail.using(after=timedelta(days=2), key="one", priority=3).push("later")
    queue.pause("part")
    queue.start()
    while queue.size().failed < 2 or str(queue.get(7).status) != "retrying":
        queue.wait_idle(0.01)
    queue.pause()

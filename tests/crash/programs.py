"""The programs that get killed: `python programs.py push|work FILE LOG`. They log what they did, outside the file."""

from __future__ import annotations

import os
import sys
import time

from workqueue import Backoff, Context, Job, Queue, RecoverableWorkerError


def log(file: int, word: str, *ids: int) -> None:
    """Append one line, whole and durable, before anything depends on it."""
    os.write(file, (" ".join([word, *map(str, ids)]) + "\n").encode())
    os.fsync(file)


class Effects:
    """Jobs named `effect` write a row that commits with their completion; the others only log that they ran."""

    def __init__(self, file: int) -> None:
        self._file = file

    def id(self) -> str:
        return "effects"

    def do_work(self, ctx: Context, job: Job) -> None:
        os.write(self._file, f"ran {job.id} {job.attempt}\n".encode())
        if job.name == "flaky" and job.retry_count == 0:
            raise RecoverableWorkerError("the first time")
        if job.name == "effect":
            with ctx.transaction() as database:
                database.execute("INSERT INTO effects VALUES (?, ?)", (job.id, job.attempt))


def push(queue: Queue, file: int) -> None:
    number = 0
    while True:
        number += 1
        log(file, "pushed", *queue.push_many("effect", range(3)))
        log(file, "pushed", queue.push("plain", number), queue.push("flaky", number))
        with queue.transaction() as database:
            database.execute("INSERT INTO orders VALUES (?)", (queue.push("effect", number),))
        if queue.size().waiting > 300:
            queue.wait_idle(0.2)


def main() -> None:
    verb, path, log_path = sys.argv[1:]
    file = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    backoff = Backoff(min=0, max=0.01, limit=50)
    if verb == "push":
        queue = Queue(path, backoff=backoff)
        print("up", flush=True)
        push(queue, file)
    else:
        Queue(path, Effects(file), concurrency=2, batch_size=40)
        print("up", flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()

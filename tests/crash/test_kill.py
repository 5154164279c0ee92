"""Pushers and workers are killed with SIGKILL at random instants; then every acknowledged job is accounted for."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from workqueue import Queue

from crash.audit import audit

KILLS = int(os.environ.get("WORKQUEUE_KILLS", "200"))
ROUNDS = 4
PROGRAMS = Path(__file__).with_name("programs.py")


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_nothing_is_lost_or_doubled_by_kills(seed, tmp_path, record_property):
    chance = random.Random(seed)
    path, log = tmp_path / "jobs.db", tmp_path / "log"
    log.touch()
    queue = Queue(path)
    with queue.transaction() as database:
        database.execute("CREATE TABLE effects (job INTEGER, attempt INTEGER)")
        database.execute("CREATE TABLE orders (job INTEGER)")
    verbs = ["work", "work", "push"]
    running = [start(verb, path, log) for verb in verbs]
    kills = KILLS // ROUNDS
    try:
        for _ in range(kills):
            victim = chance.randrange(3)
            pause(chance.uniform(0, 0.25), running[victim])
            kill(running[victim])
            running[victim] = start(verbs[victim], path, log)
        kill(running.pop())
        assert queue.wait_idle(120)
    finally:
        for process in running:
            kill(process)
    verdict = audit(queue, log)
    queue.close()
    record_property("figures", f"seed {seed}: {kills} kills of 3 processes, {verdict}")
    assert (verdict.lost, verdict.doubled, verdict.stuck, verdict.broken) == ([], [], [], [])
    assert verdict.acknowledged > kills


def start(verb: str, path: Path, log: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, PROGRAMS, verb, path, log], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def pause(seconds: float, process: subprocess.Popen[str]) -> None:
    """Let time pass; it is the instant of the kill that is drawn, and nothing is waited for."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise AssertionError(f"a program ended by itself: {process.args} with {process.returncode}")


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()

"""workqueue bench: what it says, what it leaves alone, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from workqueue import Queue
from workqueue.cli import group
from workqueue.cli.bench import _conclusion
from workqueue.cli.trial import Times, Trial, _times, place
from workqueue.store.contract import Engine
from workqueue.store.sqlite import location

QUICK = ("--seconds", "0.1")


def run(*arguments):
    return CliRunner().invoke(group, [str(a) for a in arguments], prog_name="workqueue")


def command(*arguments):
    return [sys.executable, "-m", "workqueue", "bench", *map(str, arguments)]


def trial(flush):
    times = Times(flush, flush, flush, 1)
    return Trial(
        flush=times,
        commit=times,
        push=1.0,
        push_threads=1.0,
        push_many=1.0,
        drain=1.0,
        pick_up_thread=times,
        pick_up_process=times,
    )


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    assert [name for name in os.listdir(tmp_path) if name.startswith(".workqueue-bench-")] == []


def test_it_measures_beside_a_file_that_need_not_be_there(folder):
    result = run("bench", folder / "jobs.db", *QUICK)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["folder", str(folder)]
    for what in ("flush of 4 KiB", "commit of one job", "pick-up, same process", "pick-up, another process"):
        [line] = [line for line in lines if line.startswith(what)]
        assert " ms, p99 " in line
    for what in ("push, one thread", "push, 32 threads", "push_many", "run jobs that do nothing"):
        [line] = [line for line in lines if line.startswith(what)]
        assert line.endswith(" jobs/s")
    assert any("a flush takes" in line for line in lines)
    assert result.stderr == ""  # no terminal, no progress
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("durability", ["full", "process", "conservative"])
def test_json_has_the_same_as_numbers(folder, durability):
    result = run("bench", folder, *QUICK, "--json", "--durability", durability)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["durability"] == durability
    assert found["folder"] == str(folder)
    assert found["engine"]["name"] == "SQLite"
    for times in (found["flush_seconds"], found["commit_seconds"], *found["pick_up_seconds"].values()):
        assert times["count"] >= 1
        assert 0 < times["median"] <= times["p99"]
    for rate in ("pushes_per_second", "pushes_per_second_32_threads", "push_many_per_second", "drain_per_second"):
        assert found[rate] > 0


def test_a_queue_that_is_there_is_left_alone(folder):
    path = folder / "jobs.db"
    with Queue(path) as queue:
        queue.push("mail")
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    assert run("bench", path, *QUICK).exit_code == 0
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


def test_the_current_folder_is_the_default_and_its_modules_are_not_run(folder):
    (folder / "queue.py").write_text("raise SystemExit('not yours')")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "workqueue", "bench", *QUICK],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert str(folder) in done.stdout


def test_a_folder_that_is_not_there(folder):
    result = run("bench", folder / "no" / "jobs.db", *QUICK)
    assert result.exit_code == 3
    expected = f"workqueue: expected a folder {str(folder / 'no')!r} to measure in, but there is none; create it\n"
    assert result.stderr == expected


def test_a_folder_that_may_not_be_written(folder, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    result = run("bench", folder, *QUICK)
    assert result.exit_code == 3
    assert result.stderr == (
        f"workqueue: expected to be allowed to make a folder in {str(folder)!r}: Permission denied; change its owner "
        "or mode, or name another folder on the same disk\n"
    )


def test_a_network_file_system_is_refused_unless_allowed(folder, tmp_path_factory, monkeypatch):
    mounts = tmp_path_factory.mktemp("proc") / "mountinfo"
    mounts.write_text(f"1 0 0:1 / {folder} rw - nfs4 server:/jobs rw\n")
    monkeypatch.setattr(location, "MOUNTS", mounts)
    result = run("bench", folder, *QUICK)
    assert result.exit_code == 3
    assert "is on a network or shared file system (nfs4)" in result.stderr
    result = run("--allow-network", "bench", folder, *QUICK)
    assert result.exit_code == 0, result.output
    assert "nfs4" in result.stdout


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("mysql://ada:secret@db/jobs", "expected a file, a folder or a postgresql:// URL, got: mysql://…"),
        (":memory:", "expected a file or a folder on the disk to measure, got: ':memory:'"),
        ("", "expected a file or a folder on the disk to measure, got: ''"),
    ],
)
def test_what_has_no_disk_is_wrong_usage(argument, said):
    result = run("bench", argument)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "secret" not in result.stderr


@pytest.mark.parametrize("seconds", ["0", "601", "long"])
def test_seconds_have_a_range(seconds):
    assert run("bench", "--seconds", seconds).exit_code == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_behind(folder, number, code):
    process = subprocess.Popen(command(folder, "--seconds", "60"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 30
        while not any(folder.glob(".workqueue-bench-*/jobs.db-wal")):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        out, error = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert out == b""
    assert b"Traceback" not in error
    if number is signal.SIGINT:
        assert error == b"workqueue: stopped; what it had made is removed\n"


def test_progress_shows_on_a_terminal_and_is_wiped(folder):
    parent, child = pty.openpty()
    try:
        process = subprocess.Popen(command(folder, *QUICK), stdout=subprocess.DEVNULL, stderr=child)
        os.close(child)
        shown = b""
        while True:
            select.select([parent], [], [], 60)
            try:
                more = os.read(parent, 4096)
            except OSError:
                break
            if not more:
                break
            shown += more
        assert process.wait(60) == 0
    finally:
        os.close(parent)
    text = shown.decode()
    assert "measuring: push_many …" in text
    assert text.endswith(" \r")


def test_a_job_that_is_not_begun_ends_it(folder, monkeypatch):
    monkeypatch.setattr("workqueue.cli.trial._LONGEST", 0.01)
    monkeypatch.setattr("workqueue.cli.trial._Stamped.do_work", lambda self, ctx, job: None)
    result = run("bench", folder, *QUICK)
    assert result.exit_code == 3
    assert "expected an idle worker to begin a job within 0 s of its push, but none did" in result.stderr


def test_an_error_of_a_pusher_is_told(folder, monkeypatch):
    calls = iter(range(10**9))
    real = Queue.push

    def push(self, *arguments, **options):
        if next(calls) == 40:
            raise OSError(5, "Input/output error")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Queue, "push", push)
    result = run("bench", folder, *QUICK)
    assert result.exit_code == 3
    assert "Input/output error" in result.stderr


def test_the_place_is_removed_when_the_block_raises(folder):
    with pytest.raises(ZeroDivisionError), place(str(folder)) as path:
        open(path, "w").close()
        raise ZeroDivisionError
    assert list(folder.iterdir()) == []


def test_the_times_of_few_and_of_many():
    assert _times([2.0]) == Times(2.0, 2.0, 2.0, 1)
    assert _times([float(n) for n in range(100)]) == Times(49.5, 50.0, 99.0, 100)


@pytest.mark.parametrize(
    ("durability", "flush", "said"),
    [
        ("full", 0.0002, "a flush takes 0.2 ms here: at most about 5,000 durable pushes/s by one thread; threads"),
        ("process", 0.004, "a flush takes 4 ms here, and durability=process pushes without"),
        ("conservative", 0.004, "a flush takes 4 ms here, and each push without a write-ahead log needs several"),
        ("full", 0.000002, "a flush takes 0.002 ms here, which is faster than disks are: tmpfs keeps it in memory"),
    ],
)
def test_the_conclusion_says_what_the_disk_allows(durability, flush, said):
    assert _conclusion(durability, Engine(name="SQLite", file_system="tmpfs"), trial(flush)).startswith(said)

"""The harnesses of the disk: that they pass on what we ship, and that each sees the bugs it is there to see."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from unittest.mock import patch

import pytest

pytest.importorskip("apsw")

from prove.powercut import cuts, damage, errors, full
from prove.powercut.disk import Disk
from prove.powercut.recording import Create, Delete, Mark, Operation, Sync, SyncFolder, Write
from prove.powercut.session import Recording, Setting, record
from prove.powercut.states import bench
from prove.verdict import Verdict
from workqueue.store.sqlite import connection, database, handles, reserve

from prove import powercut

SHORT = 12  # calls of a life


def cut(setting: Setting) -> Verdict:
    """A short life with this setting, cut at some of its operations."""
    with patch.object(cuts, "SETTINGS", (setting,)):
        return cuts.run(0, seed=4)


def test_a_disk_holds_for_certain_only_what_was_synced():
    disk = Disk({})
    for step in (Create("f"), SyncFolder(), Write("f", 0, b"a" * 1024), Sync("f"), Write("f", 512, b"b" * 1024)):
        disk.follow(step)
    after = {mode: disk.after_a_cut(mode, random.Random(3))["f"] for mode in cuts.MODES}
    assert after["drop"] == b"a" * 1024
    assert after["keep"] == b"a" * 512 + b"b" * 1024
    assert after["torn"] in (b"a" * 1024, b"a" * 512 + b"b" * 512, after["keep"])
    disk.follow(Sync("f"))
    disk.follow(Delete("f"))
    assert disk.after_a_cut("drop", random.Random(3))["f"] == after["keep"], "the folder was not synced"
    disk.follow(SyncFolder())
    assert disk.is_certain()
    assert disk.after_a_cut("drop", random.Random(3)) == {}


def test_what_a_failed_sync_should_have_flushed_is_never_certain_again_unless_it_is_written_again():
    disk = Disk({"f": b""})
    for step in (Write("f", 0, b"a" * 1024), Sync("f", worked=False), Write("f", 0, b"b" * 512), Sync("f")):
        disk.follow(step)
    assert disk.after_a_cut("drop", random.Random(1))["f"] == b"b" * 512
    assert disk.after_a_cut("keep", random.Random(1))["f"] == b"b" * 512 + b"a" * 512


@pytest.mark.parametrize("durability", ["full", "conservative"])
def test_no_cut_loses_what_was_acknowledged(durability):
    verdict = cut(Setting(durability, calls=SHORT))
    assert verdict.failures == []
    assert verdict.counts["cuts"] > 60 < verdict.counts["acknowledged operations checked"]
    assert verdict.counts["of them during recovery"]


def test_a_cut_may_lose_what_was_pushed_with_durability_process_and_is_seen_to():
    verdict = cut(Setting("process", calls=SHORT))
    assert verdict.failures == []
    assert verdict.counts["process mode: cuts that lost something"]


@pytest.mark.parametrize(("durability", "weaker"), [("full", ("wal", 1)), ("conservative", ("delete", 2))])
def test_a_weaker_setting_of_sqlite_is_seen(durability, weaker):
    with patch.dict(connection._JOURNAL, {durability: weaker}):
        verdict = cut(Setting(durability, calls=SHORT))
    assert verdict.counts["lost"]
    assert verdict.failures[0].startswith(durability)
    assert "python -m prove repeat cuts 4 " in verdict.failures[0]


def test_a_failure_is_repeated_by_the_words_it_ends_with():
    with patch.dict(connection._JOURNAL, {"full": ("wal", 1)}), patch.object(cuts, "SETTINGS", (Setting(calls=SHORT),)):
        first = cuts.run(0, seed=4).failures[0]
        words = first.rpartition("prove repeat ")[2].split()
        assert powercut.repeat(words).failures == [first]
    with patch.object(cuts, "SETTINGS", (Setting(calls=SHORT),)):
        assert powercut.repeat(words).failures == []


def test_an_answer_before_its_commit_is_seen(monkeypatch):
    monkeypatch.setattr(cuts, "record", recorded_and(answers_before_commits))
    assert cut(Setting(calls=SHORT)).counts["lost"]


def test_a_checkpoint_without_a_sync_is_seen(monkeypatch):
    def no_sync_of_the_database(log: list[Operation]) -> list[Operation]:
        return [step for step in log if not (isinstance(step, Sync) and step.file == "jobs.db")]

    monkeypatch.setattr(cuts, "record", recorded_and(no_sync_of_the_database))
    verdict = cut(Setting(calls=3 * SHORT))
    assert verdict.counts["corrupt"]
    assert any("opening gave UnsuitableFile" in failure for failure in verdict.failures)


def recorded_and(changed: Callable[[list[Operation]], list[Operation]]) -> Callable[..., Recording]:
    def recorded(*arguments: object, **named: object) -> Recording:
        recording = record(*arguments, **named)  # type: ignore[arg-type]
        recording.log[:] = changed(recording.log)
        return recording

    return recorded


def answers_before_commits(log: list[Operation]) -> list[Operation]:
    changed: list[Operation] = []
    for step in log:
        at = len(changed)
        if isinstance(step, Mark) and step.what == "answered":
            while at and not (isinstance(changed[at - 1], Mark) and changed[at - 1].what == "answered"):
                at -= 1
        changed.insert(at, step)
    return changed


@pytest.mark.parametrize("point", ["read:40:266:once", "write:60:778:lasting", "sync:9:1034:once", "lock:2:3850:once"])
def test_an_error_of_the_disk_undoes_nothing_that_was_answered(point):
    verdict = errors.repeat(["3", point])
    assert verdict.failures == []
    assert verdict.counts["errors given to SQLite"]


def test_a_commit_that_failed_and_is_believed_is_seen(monkeypatch):
    real = database.Database._commit

    monkeypatch.setattr(database.Database, "_commit", lambda self, opened: real(self, opened) or True)
    assert broken_at("3", "sync:9:1034:once", "sync:10:1034:once", "sync:11:1034:once")


def test_a_commit_that_lasted_and_is_done_again_is_seen(monkeypatch):
    """The answer to a COMMIT is lost, though it has lasted; who does not look pushes twice."""
    real, attempt, asked = database.Database._commit, database.Database._attempt, Counter[str]()

    def without_answer(self: database.Database, opened: sqlite3.Connection) -> bool:
        lasts = real(self, opened)
        asked["commits"] += 1
        return lasts and asked["commits"] != 4

    def blind(self: database.Database, work: Callable[..., object], _landed: object) -> object:
        return attempt(self, work, lambda _connection, _result: False)

    monkeypatch.setattr(database.Database, "_commit", without_answer)
    assert not broken_at("3", "read:9999:266:once"), "who looks does not"
    asked.clear()
    monkeypatch.setattr(database.Database, "_attempt", blind)
    assert broken_at("3", "read:9999:266:once")


def test_an_error_of_sqlite_that_is_not_put_into_our_words_is_seen(monkeypatch):
    monkeypatch.setattr(connection, "in_our_words", lambda error, _path: error)
    assert "raised OperationalError" in broken_at("3", "write:65:778:lasting")[0]


def broken_at(seed: str, *points: str) -> list[str]:
    return [failure for point in points for failure in errors.repeat([seed, point]).failures]


def test_a_damaged_log_never_shows_half_a_transaction():
    with bench() as place:
        victim = next(iter(damage._victims(place, 0)))
        counts: Counter[str] = Counter()
        some = [one for one in victim.damages if one.file.endswith("-wal")][:40]
        assert [sentence for one in some for sentence in damage._judged(place, victim, one, counts, 0)] == []
    assert counts["logs cut off"] and counts["logs flipped"] and counts["of them shown up to an earlier commit"]


def test_a_state_that_was_never_committed_is_seen():
    with bench() as place:
        victim = next(iter(damage._victims(place, 0)))
        never = damage.Victim(victim.files, [b"another"], victim.damages)
        one = next(one for one in victim.damages if one.file.endswith("-wal"))
        [failure] = damage._judged(place, never, one, Counter(), 0)
    assert "none of the commits: python -m prove repeat damage 0 jobs.db-wal:" in failure


def test_an_engine_that_begins_anew_where_the_database_is_damaged_is_seen(monkeypatch):
    look = handles.Handles.refuse_foreign

    def forgiving(self: handles.Handles) -> None:
        try:
            look(self)
        except Exception:
            with open(self.path, "wb"):
                pass

    words = ["0", "jobs.db:flip:3:1"]
    assert damage.repeat(words).failures == []
    monkeypatch.setattr(handles.Handles, "refuse_foreign", forgiving)
    assert damage.repeat(words).failures


def test_a_full_disk_loses_nothing_and_settling_goes_on():
    verdict = full.run(0, seed=0)
    assert verdict.failures == []
    assert verdict.counts["pushes refused with QueueFull"]


def test_a_reserve_that_is_never_given_up_is_seen(monkeypatch):
    assert full.repeat(["44"]).failures == []
    monkeypatch.setattr(reserve.Reserve, "release", lambda _self: False)
    assert "turn raised expected room" in full.repeat(["44"]).failures[0]


def test_all_four_are_run_as_one():
    with patch.object(cuts, "SETTINGS", (Setting(calls=4),)), patch.object(errors, "SETTINGS", (Setting(calls=2),)):
        verdict = powercut.run(0, seed=0)
    assert {name.partition(":")[0] for name in verdict.counts} == set(powercut.HARNESSES)
    with pytest.raises(ValueError, match="expected one of"):
        powercut.repeat(["nothing"])

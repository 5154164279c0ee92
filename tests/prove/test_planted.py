"""Planted bugs fit the package as it is, are caught, and a harmless change is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from prove.mutant import ROOT, Change, Mutant
from prove.plants import PLANTS
from prove.reliability import Score, commit
from prove.terms import ENGINES, Engine, _terms, mutants
from prove.uses import by_statement, note

from postgres_fixtures import VERSIONS
from prove import mutant, planted, uses

FILE = ENGINES[0]
_OF_FILES = "from workqueue.store.sqlite.schema import SQL"
_OF_SERVERS = "from workqueue.store.postgres.statements import statements; SQL = statements('workqueue')"
_ASKING = """
import subprocess
import sys

import pytest
GIVES


@pytest.mark.parametrize("word", ["a b"])
def test_claim(word):
    assert SQL["claim"]


def test_more():
    assert SQL["claim"]
    child = "GIVES; SQL['complete']"
    subprocess.run([sys.executable, "-c", child], check=True)


def test_all():
    assert list(SQL.items())
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "src"


@pytest.mark.parametrize("mutant", PLANTS, ids=lambda mutant: mutant.name)
def test_a_plant_fits_and_still_compiles(mutant: Mutant, source: Path) -> None:
    mutant.plant(source)
    for change in mutant.changes:
        if change.path.endswith(".py"):
            compile((source / "workqueue" / change.path).read_text(encoding="utf-8"), change.path, "exec")
    for suite in mutant.suites:
        assert suite.startswith("prove:") or (ROOT / suite).exists(), suite


def test_plants_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in PLANTS}) == len(PLANTS) >= 20


def test_a_bug_is_caught_by_the_first_test_that_fails() -> None:
    begins = "def parse_duration(text: str) -> timedelta:\n"
    bug = Mutant("a bug", ["tests/unit/test_duration.py"], [Change("duration.py", begins, f"{begins}    return 0\n")])
    assert bug.caught_by().startswith("tests/unit/test_duration.py::")


def test_a_query_that_never_ends_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = tmp_path / "test_endless.py"
    suite.write_text(_ENDLESS, encoding="utf-8")
    monkeypatch.setattr(mutant, "_LIMITED", ("--timeout=1", "--timeout-method=thread"))
    assert Mutant("nothing", [str(suite)], []).caught_by() == mutant.HUNG


_ENDLESS = """
import sqlite3


def test_it():
    query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n"
    sqlite3.connect(":memory:").execute(query)
"""


def test_tests_use_the_servers_that_were_started_for_them(postgres: str) -> None:
    test = f"tests/conformance/test_claim.py::test_jobs_come_first_in_first_out[postgres {VERSIONS[-1]}]"
    line = "from __future__ import annotations\n"
    bug = Mutant("no bug", [test], [Change("store/postgres/engine.py", line, f"{line}\n")])
    assert bug.caught_by({VERSIONS[-1]: postgres}) == ""
    assert bug.caught_by({VERSIONS[-1]: postgres.replace("host=", "host=/no-such-place")}) == test


@pytest.mark.parametrize(
    ("suite", "path"), [("tests/unit/test_duration.py", "store/postgres/engine.py"), (f"{__file__}::gone", "queue.py")]
)
def test_where_no_test_looks_nothing_is_caught(suite: str, path: str) -> None:
    harmless = Change(path, "from __future__ import annotations\n", "from __future__ import annotations\n\n")
    with pytest.raises(ValueError, match="expected tests that there are, got: "):
        Mutant("no bug", [suite], [harmless]).caught_by()


def test_what_changes_nothing_survives() -> None:
    harmless = Change("duration.py", "from __future__ import annotations\n", "from __future__ import annotations\n\n")
    assert Mutant("no bug", ["tests/unit/test_duration.py"], [harmless]).caught_by() == ""


def test_those_that_survived_or_are_new_are_tried_again_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(Engine, "uses", lambda engine: {})
    monkeypatch.setattr(Mutant, "caught_by", lambda mutant, servers: tried.append(mutant.name) or "by now")
    first, second, *bugs = (mutant.name for mutant in PLANTS)
    term, new, *terms = (mutant.name for engine in ENGINES for mutant in mutants(engine))
    score = Score(
        commit="abc",
        seconds=5,
        bugs={first: "", second: "as ever", "there no more": ""} | dict.fromkeys(bugs, "too"),
        terms={term: ""} | dict.fromkeys(terms, "too"),
    )
    [nothing_new] = planted.again(score, ["no such"], 1, lambda line: None)
    assert nothing_new.terms == score.terms
    *_, one_left, anew = planted.again(score, [], 1, lambda line: None)
    assert tried == [first, term, new]
    assert one_left.terms.keys() == anew.terms.keys() - {new}
    assert anew.bugs == {first: "by now", second: "as ever"} | dict.fromkeys(bugs, "too")
    assert anew.terms == score.terms | {term: "by now", new: "by now"}
    assert (anew.commit, anew.again, anew.survivors()) == ("abc", commit(), [])
    assert one_left.untried == {ENGINES[0].title: 1}
    assert anew.untried == {}


def test_a_plant_that_does_not_fit_any_more_is_an_error(source: Path) -> None:
    with pytest.raises(ValueError, match="expected 'no such text' once in duration.py, got: 0 times"):
        Mutant("old", [], [Change("duration.py", "no such text", "")]).plant(source)


def test_a_name_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the name of a planted bug"):
        planted.repeat(["no", "such"])


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 FROM t WHERE a = 1;", {"a = 1": "TRUE"}),
        ("SELECT 1 FROM t WHERE a = 1 AND b ORDER BY c;", {"a = 1": "TRUE", "b": "TRUE"}),
        ("SELECT 1 FROM t WHERE a OR b GROUP BY c", {"a": "FALSE", "b": "FALSE"}),
        ("UPDATE t SET a = 1 WHERE b AND (c OR d);", {"b": "TRUE", "(c OR d)": "TRUE", "c": "FALSE", "d": "FALSE"}),
        (
            "DELETE FROM t WHERE id IN (SELECT id FROM u WHERE x AND y LIMIT 1) RETURNING id;",
            {"id IN (SELECT id FROM u WHERE x AND y LIMIT 1)": "TRUE", "x": "TRUE", "y": "TRUE"},
        ),
        ("SELECT 1 FROM t WHERE (a AND b) <> (c AND d);", {"(a AND b) <> (c AND d)": "TRUE"}),
        ("INSERT INTO t SELECT 1 WHERE TRUE ON CONFLICT (b) DO NOTHING;", {}),
        ("INSERT INTO t SELECT 1 WHERE a ON CONFLICT (b) DO UPDATE SET c = 1 WHERE d;", {"a": "TRUE", "d": "TRUE"}),
        ("SELECT (SELECT 1 FROM t WHERE f(a, 2) = ';' -- WHERE AND\n), 2;", {"f(a, 2) = ';'": "TRUE"}),
    ],
)
def test_each_term_is_found(sql: str, expected: dict[str, str]) -> None:
    assert {sql[start:end]: instead for start, end, instead in _terms(sql)} == expected


def test_a_term_is_dropped_where_it_stands(source: Path) -> None:
    fence = next(mutant for mutant in mutants(FILE) if mutant.name == "complete, term 3: attempt = :attempt")
    fence.plant(source)
    text = (source / "workqueue" / fence.changes[0].path).read_text(encoding="utf-8")
    assert "json_each(:ids)) AND +status = 4 AND TRUE;" in text


def test_a_term_is_shown_to_the_tests_that_ask_for_its_statement() -> None:
    tests = ["tests/b.py::test_it[x - y]", "tests/a.py::test_it"]
    shown = {mutant.name.partition(",")[0]: mutant.suites for mutant in mutants(FILE, {"complete": tests})}
    assert (shown["complete"], shown["claim"]) == ([*tests, FILE.plans], [FILE.plans])


@pytest.mark.parametrize(
    ("engine", "gives", "name"),
    [(uses.FILE, _OF_FILES, "test_asking.py"), (uses.POSTGRES, _OF_SERVERS, "test_asking_postgres.py")],
    ids=["of files", "of servers"],
)
def test_who_asks_is_noted_in_other_processes_too(tmp_path: Path, engine: Change, gives: str, name: str) -> None:
    suite = tmp_path / name
    suite.write_text(_ASKING.replace("GIVES", gives), encoding="utf-8")
    noted = note(engine, [str(suite)])
    names = [[test.rpartition("::")[2] for test in noted[name]] for name in ("claim", "complete", "pause")]
    assert names == [["test_claim[a b]", "test_more", "test_all"], ["test_more", "test_all"], ["test_all"]]


def test_who_asks_for_little_else_comes_first() -> None:
    turned = by_statement({"all": ["x", "y", "z"], "two": ["x", "y"], "one": ["y"], "b": ["x"], "a": ["x"]})
    assert turned == {"x": ["a", "b", "two", "all"], "y": ["one", "two", "all"], "z": ["all"]}


def test_nothing_is_noted_of_a_package_that_is_not_well(tmp_path: Path) -> None:
    suite = tmp_path / "test_ill.py"
    suite.write_text("def test_it():\n    assert False\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected the tests to pass before anything is planted, got: .*test_it fails"):
        note(uses.FILE, [str(suite)])

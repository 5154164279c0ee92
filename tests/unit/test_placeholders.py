"""Statements of guests in the words of psycopg: only what is a parameter becomes one."""

from __future__ import annotations

import pytest
from workqueue.errors import UsageError
from workqueue.store.postgres.placeholders import first_words, for_mapping, for_sequence, tokens

NO_PLACE = [
    "'?' ':a'",
    "'it''s ?' ':a'",
    r"'\' || '? :a'",
    r"E'\'? :a' e'\\''? :a'",
    "E'a'\n  'b\\'? :a'",
    "E'a' -- ?\n -- :a\n '\\'? :a'",
    "N'? :a' B'?' U&'? :a'",
    '"? :a" "a""? :a"',
    "$$ ? :a ' $$",
    "$x$ ? $$ ' $y$ :a $x$",
    "$\N{LATIN SMALL LETTER E WITH ACUTE}1$ ? $\N{LATIN SMALL LETTER E WITH ACUTE}1$",
    "-- ? :a ' \n",
    "/* ? :a ' */",
    "/* /* ? */ :a ' */",
    "/* a **/ - /*/ ? :a */",
    "a::text f(a := 1)",
    "a @? '$.b'",
    "'? :a",
    r"E'? :a \'",
    "/* /* ? */ :a",
    "$a$ ? :a $A$",
]


@pytest.mark.parametrize("text", NO_PLACE)
def test_what_stands_where_no_value_can_is_left_alone(text):
    after = "" if text in NO_PLACE[-4:] else " x"
    assert for_sequence(f"? {text}{after}").decode() == f"%s {text}{after}"
    assert for_mapping(f":b {text}{after}").decode() == f"%(b)s {text}{after}"
    if after:
        assert for_sequence(f"{text}?").decode() == f"{text}%s"
        assert for_mapping(f"{text} :a").decode() == f"{text} %(a)s"


@pytest.mark.parametrize(
    ("statement", "translated"),
    [
        ("a=? AND b>?", "a=%s AND b>%s"),
        ("(?,?)", "(%s,%s)"),
        ("?||'%'||?", "%s||'%%'||%s"),
        ("? % 7", "%s %% 7"),
        ("-?--?\n+?", "-%s--?\n+%s"),
        ("?::int", "%s::int"),
        ("?AND 1", "%s AND 1"),
        ("a$b$?$b$", "a$b$%s$b$"),  # a name may hold $
        ("a ?? ?", "a ? %s"),
        ("a ??| ? AND b ??& ?", "a ?| %s AND b ?& %s"),
        ("? :a", "%s :a"),
        ("te'?'?", "te'?'%s"),  # not the letter before an escape string
        ("%s 'a?'", "%s 'a?'"),
        ("%s %% ??", "%s %% ??"),
    ],
)
def test_a_question_mark_takes_the_next_of_a_sequence(statement, translated):
    assert for_sequence(statement).decode() == translated


@pytest.mark.parametrize(
    ("statement", "translated"),
    [
        ("a=:a AND b>:b_2 OR :a", "a=%(a)s AND b>%(b_2)s OR %(a)s"),
        (":a::int", "%(a)s::int"),
        (":a % 7 LIKE '%'", "%(a)s %% 7 LIKE '%%'"),
        (":A:b", "%(A)s%(b)s"),
        ("a ? :b", "a ? %(b)s"),
        ("a[1:n] + a[:n] + a[m:n] + a[f(1):n]", "a[1:n] + a[%(n)s] + a[m:n] + a[f(1):n]"),
        ("a[1: :n] + :n", "a[1: %(n)s] + %(n)s"),
        ("ARRAY[:a,:b]", "ARRAY[%(a)s,%(b)s]"),
        ("[[a]:n] (a[1]) x:n", "[[a]:n] (a[1]) x%(n)s"),
        ("1:2 :", "1:2 :"),
        ("%(a)s ':a' %%", "%(a)s ':a' %%"),
    ],
)
def test_a_name_takes_its_value_from_a_mapping(statement, translated):

    assert for_mapping(statement).decode() == translated


def test_numbers_behind_question_marks_are_refused():
    with pytest.raises(UsageError, match="got: \\?12 in"):
        for_sequence("SELECT ?12")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("COMMIT", ("commit",)),
        (" ;; -- x\n/* /* */ y */ RollBack/**/to x y z", ("rollback", "to", "x", "y")),
        ("(SELECT 1)", ()),
        ("SELECT a, b", ("select", "a")),
        ("commit;rollback", ("commit",)),
        ("", ()),
        ("/* x */" * 100 + "END", ("end",)),
    ],
)
def test_the_first_words_are_those_that_the_server_sees(statement, words):
    assert first_words(statement) == words


def test_a_long_text_takes_no_longer_than_it_is_long():
    for text in [
        "E'" + "\\'" * 50_000,
        "E'a'" + " --" * 50_000,
        "/*" * 50_000,
        "'" * 99_999,
        "$a" * 50_000,
        "?:" * 9999,
    ]:
        assert "".join(piece for _, piece in tokens(text)) == text

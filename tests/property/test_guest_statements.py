"""Statements of guests: whatever stands in literals, names and comments, only parameters are translated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from workqueue.store.postgres.placeholders import first_words, for_mapping, for_sequence, tokens

noise = st.text(st.sampled_from("?:%'\"$\\/*-E[]@=a1 \n") | st.characters(exclude_categories=["Cs"]), max_size=12)


def without(text: str, *parts: str) -> str:
    """Take these out, and what would be one of them with what follows."""
    while any(part in text for part in parts):
        for part in parts:
            text = text.replace(part, "")
    return text + " "


literals = (
    noise.map(lambda text: "'" + text.replace("'", "''") + "'")
    | noise.map(lambda text: "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'")
    | noise.map(lambda text: "e'a'\n'" + text.replace("\\", "\\\\").replace("'", "''") + "'")
    | noise.map(lambda text: "$x1$" + without(text, "$") + "$x1$")
    | noise.map(lambda text: "$$" + without(text, "$") + "$$")
)
names = noise.map(lambda text: '"' + text.replace('"', '""') + '"')
comments = noise.map(lambda text: "--" + without(text, "\n", "\r") + "\n") | noise.map(
    lambda text: "/*/*" + without(text, "/*", "*/") + "*/*/"
)
others = st.sampled_from(["a$b", "1", "::text", ":=", "%", "||", "-", "(", ")", ",", "@?", ":", "$1", "LIKE"])
still = st.lists(literals | names | comments | others, max_size=6)


@given(noise)
def test_the_pieces_are_the_statement(text):
    assert "".join(piece for _, piece in tokens(text)) == text


@given(still, still)
def test_only_question_marks_take_from_a_sequence(before, after):
    kept = [" ".join(pieces).replace("%", "%%") for pieces in (before, after)]
    assert for_sequence(" ".join([*before, "?", *after])).decode() == f"{kept[0]} %s {kept[1]}".strip(" ")


@given(still, still)
def test_only_names_take_from_a_mapping(before, after):
    kept = [" ".join(pieces).replace("%", "%%") for pieces in (before, after)]
    assert for_mapping(" ".join([*before, ":a1", *after])).decode() == f"{kept[0]} %(a1)s {kept[1]}".strip(" ")


@given(still)
def test_without_any_the_statement_is_as_it_was(pieces):
    text = " ".join(pieces)
    assert for_sequence(text) == for_mapping(text) == text.encode()


@given(st.lists(comments | st.sampled_from([" ", ";", "\n"]), max_size=6).map("".join))
def test_comments_hide_no_first_word(before):
    assert first_words(f"{before} COMMIT") == ("commit",)

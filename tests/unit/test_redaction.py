"""What is hidden of the data of jobs, and that editing does not lose it."""

from __future__ import annotations

import json

import pytest
from workqueue.errors import InvalidPayload
from workqueue.redaction import Redaction

MARKER = "hunter2-marker"
USUAL = Redaction()


def shown(value: object, redaction: Redaction = USUAL) -> str:
    return "\n".join(redaction.shown(json.dumps(value).encode()))


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "db_password", "userPassword", "Password", "passwords", "token", "accessToken",
        "X-Api-Key", "apiKey", "api_key", "APIKey", "apikey", "authorization", "Authorization", "client_secret",
        "secret", "credentials", "cookie", "Set-Cookie", "private-key", "sessionId", "smtp_dsn",
    ],
)  # fmt: skip
def test_the_value_of_a_member_that_is_called_like_a_secret_is_hidden(name):
    for value in (MARKER, [MARKER], {"deep": [MARKER]}, {"a": {"b": MARKER}}):
        assert MARKER not in shown({"to": "ada", "more": [{name: value}]})
    assert '"ada"' in shown({"to": "ada", name: MARKER})


@pytest.mark.parametrize("name", ["to", "tokenizer", "author", "keyboard", "spine", "secretary", "passport"])
def test_other_members_are_shown(name):
    assert MARKER in shown({name: MARKER})


def test_nothing_to_hide_is_shown_as_it_is():
    assert (
        shown({"password": None, "token": "", "secret": []})
        == '{\n  "password": null,\n  "token": "",\n  "secret": []\n}'
    )
    assert Redaction().shown(b'{"price":1.10}') == ["{", '  "price": 1.10', "}"]


def test_a_password_inside_an_address_is_hidden():
    assert shown({"url": f"postgresql://ada:{MARKER}@db/x"}) == '{\n  "url": "••••••"\n}'
    assert (
        USUAL.text(f"cannot reach redis://:{MARKER}@cache:6379/0 now")
        == "cannot reach redis://:••••••@cache:6379/0 now"
    )


@pytest.mark.parametrize(
    "text",
    [
        f"HTTP 401: Authorization: Bearer {MARKER}",
        f"login(user='ada', password='{MARKER}')",
        f'{{"access_token": "{MARKER}", "n": 1}}',
        f"api-key={MARKER}&page=2",
        f"DB_PASSWORD={MARKER}",
        f"client secret: {MARKER}",
        f"tokens = {MARKER}",
        f"{{'tokens': ['x', '{MARKER}']}}",
    ],
)
def test_what_a_text_calls_a_secret_is_hidden(text):
    assert MARKER not in USUAL.text(text)
    assert "••••••" in USUAL.text(text)


@pytest.mark.parametrize(
    "text", ["no such user", "token expired", "password=None", "x" * 100_000, "a-" * 50_000, "password" * 9000]
)
def test_other_text_stays_and_long_text_costs_little(text):
    assert USUAL.text(text) == text


def test_data_that_are_no_json_are_shown_as_bytes_without_secrets():
    assert USUAL.shown(f"token={MARKER} \xff".encode("latin-1")) == [r"b'token=•••••• \xff'"]


def test_what_is_nested_too_deeply_to_be_looked_at_is_hidden():
    deep = b"[" * 700 + b'{"password":"' + MARKER.encode() + b'"}' + b"]" * 700
    assert MARKER not in "\n".join(USUAL.shown(deep))


def test_the_list_can_be_another():
    ours = Redaction(["patient name"])
    assert MARKER not in shown({"patientName": MARKER}, ours)
    assert MARKER in shown({"password": MARKER}, ours)
    assert MARKER in shown({"password": MARKER}, Redaction([]))


def test_an_edit_keeps_what_is_hidden():
    before = json.dumps({"to": "ada", "password": MARKER, "more": [{"token": [1, 2]}]}).encode()
    text = USUAL.editable(before)
    assert MARKER not in text
    edited = USUAL.edited(text.replace('"ada"', '"grace"'), before)
    assert json.loads(edited) == {"to": "grace", "password": MARKER, "more": [{"token": [1, 2]}]}


def test_an_edit_of_what_has_no_secrets_is_kept_to_the_byte():
    assert USUAL.edited(' {"price": 1.10}\n', b"{}") == b'{"price": 1.10}'


def test_a_mask_follows_its_member_but_is_never_opened_elsewhere():
    before = json.dumps({"a": {"password": MARKER}, "note": ""}).encode()
    moved = {"b": [{"password": "•••••• hidden 1"}]}
    assert json.loads(USUAL.edited(json.dumps(moved), before)) == {"b": [{"password": MARKER}]}
    for bad in (
        {"note": "•••••• hidden 1"},
        {"token": "•••••• hidden 1"},
        {"password": "•••••• hidden 2"},
        {"password": "•••••• hidden 0"},
        {"passwords": ["•••••• hidden 1"]},
    ):
        with pytest.raises(InvalidPayload, match="mask"):
            USUAL.edited(json.dumps(bad), before)


def test_an_edit_that_is_no_json_says_so():
    with pytest.raises(InvalidPayload):
        USUAL.edited("{", b"{}")
    with pytest.raises(InvalidPayload):
        USUAL.edited("{", b'{"password":"x"}')
    assert USUAL.editable(b"\xff") is None


def test_the_mark_changes_with_what_is_shown_and_tells_nothing_of_what_is_not():
    assert USUAL.mark(b'{"a":1,"pin":1}') == USUAL.mark(b'{"a":1,"pin":2}') != USUAL.mark(b'{"a":2,"pin":1}')

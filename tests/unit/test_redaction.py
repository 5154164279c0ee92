"""What is hidden of the data of jobs, and that editing does not lose it."""

from __future__ import annotations

import json

import pytest
from workqueue.errors import InvalidOption, InvalidPayload
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
    assert shown({"url": f"postgresql://ada:{MARKER}@db/x"}) == '{\n  "url": "postgresql://ada:••••••@db/x"\n}'
    assert MARKER not in shown({f"postgresql://ada:{MARKER}@db/x": 1})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("cannot reach redis://:", "@cache:6379/0 now"),
        ("postgresql://me:p@", "@host/db"),
        ("https://ada@example.org:", "@host/x"),
        ("https://aws:", "e" * 300 + "@host/x"),
    ],
)
def test_a_password_inside_an_address_in_a_text_is_hidden(before, after):
    told = USUAL.text(f"{before}{MARKER}{after}")
    assert MARKER not in told and told.endswith(after.lstrip("e")) and "••••••@" in told


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
        f"SECRET_KEY = '{MARKER}'",
        f"session_id={MARKER}",
        f"sessionID={MARKER}",
        f"password_hash={MARKER}",
        f"password2={MARKER}",
        f"auth=('ada', '{MARKER}')",
        f"auth=BasicAuth('ada', '{MARKER}')",
        f'{{"password": "ab\\"{MARKER}"}}',
        f'{{\\"password\\": \\"ab\\\\\\"{MARKER}\\"}}',
        f"credentials={{'a': {{'b': 1}}, 'c': '{MARKER}'}}",
        f"credentials={{'a': 'it{{', 'c': '{MARKER}'}}",
        f"credentials={{'a': 1, 'c': '{MARKER}",
        f'password="and {MARKER}',
        f"Authorization: Token {MARKER}",
        f'Authorization: Digest username="ada", response="{MARKER}"',
        f"Cookie: a=1; b={MARKER}",
        f"password: b'hun {MARKER}'",
        f'password: str = "hun {MARKER}"',
        f"password = '''it's {MARKER}'''",
        f"os.environ['DB_PASSWORD'] = 'hun {MARKER}'",
        f"token := {MARKER}",
    ],
)
def test_what_a_text_calls_a_secret_is_hidden(text):
    assert MARKER not in USUAL.text(text)
    assert "••••••" in USUAL.text(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("login(auth=('ada', 'x'), n=1)", "login(auth=••••••, n=1)"),
        ('{"password": "a\\"b", "n": 1}', '{"password": "••••••", "n": 1}'),
        ("-H 'Authorization: Bearer abc' https://h/", "-H 'Authorization: ••••••' https://h/"),
        ("Authorization: Token abc, request 17", "Authorization: ••••••, request 17"),
        ("Cookie: a=1; b=2\nnext", "Cookie: ••••••\nnext"),
        ("token=[1, 2\nnext", "token=••••••\nnext"),
        ("password: b'hun ter2' was refused", "password: b'••••••' was refused"),
    ],
)
def test_what_stands_around_it_stays(text, told):
    assert USUAL.text(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "no such user", "token expired", "password=None", "token='' pin=[]", "AUTHOR: Ada", "tokenizer: x", "spin=1",
        "see https://h:443 and mail me@example.org", "ssh://git@host:22/x", "x" * 100_000, "a-" * 50_000,
        "password" * 9000,
    ],
)  # fmt: skip
def test_other_text_stays_and_long_text_costs_little(text):
    assert USUAL.text(text) == text


@pytest.mark.parametrize(
    "piece",
    [
        "token=[ ", "token={", "token=(", 'token="', 'token=\\"', "token='", "token=x ", "token_", "pin_a", "sessionAa",
        "token: x = ", 'Authorization: a b="', "Cookie: a;b=", 'token=[\\"', "\\", "a://b:", "a://b:@", "token=[\n",
    ],
)  # fmt: skip
def test_what_is_never_closed_is_looked_at_once(piece):
    text = piece * (2_000_000 // len(piece))  # to look at all that follows each time would take half an hour
    assert USUAL.text(f"token=x {text}").startswith("token=••••••")


def test_data_that_are_no_json_are_shown_as_bytes_without_secrets():
    assert USUAL.shown(f"token={MARKER} \xff".encode("latin-1")) == [r"b'token=•••••• \xff'"]


def test_of_two_members_of_one_name_the_one_that_counts_is_shown():
    assert USUAL.shown(b'{"password":"hunter2","password":""}') == ["{", '  "password": ""', "}"]
    assert "hunter2" not in USUAL.editable(b'{"n":1.10,"password":"hunter2","password":null}')


def test_what_is_nested_too_deeply_to_be_looked_at_is_hidden():
    deep = b"[" * 700 + b'{"password":"' + MARKER.encode() + b'"}' + b"]" * 700
    assert MARKER not in "\n".join(USUAL.shown(deep))


def test_the_list_can_be_another():
    ours = Redaction(["patient name"])
    assert MARKER not in shown({"patientName": MARKER}, ours)
    assert MARKER in shown({"password": MARKER}, ours)
    assert MARKER in shown({"password": MARKER}, Redaction([]))


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("пароль", ["пароль", "ПАРОЛЬ", "мой_пароль", "мойПароль", "паро\u043b\u044c"]),
        ("clé", ["clé", "cle\u0301", "maClé", "CLÉ"]),
        ("密码", ["密码", "密码_2"]),
        ("PIN２", ["pin2", "PIN-2"]),
    ],
)
def test_names_are_of_any_script(name, members):
    ours = Redaction([name])
    for member in members:
        assert MARKER not in shown({member: MARKER}, ours)
    assert MARKER not in ours.text(f"{members[0]} = '{MARKER}', {members[0]}: {MARKER}")
    assert MARKER in shown({"note": MARKER}, ours)


@pytest.mark.parametrize("name", ["", "***", "__"])
def test_a_name_without_a_word_is_refused(name):
    with pytest.raises(InvalidOption, match="each with a letter or a digit, got"):
        Redaction(["password", name])


def test_an_edit_keeps_what_is_hidden():
    before = json.dumps({"to": "ada", "password": MARKER, "more": [{"token": [1, 2]}]}).encode()
    text = USUAL.editable(before)
    assert MARKER not in text
    edited = USUAL.edited(text.replace('"ada"', '"grace"'), before)
    assert json.loads(edited) == {"to": "grace", "password": MARKER, "more": [{"token": [1, 2]}]}


def test_what_the_page_hides_of_a_text_the_field_hides_and_an_edit_keeps_too():
    before = json.dumps({"note": f"password={MARKER}, token='a b'", "url": f"redis://:{MARKER}@h"}).encode()
    text = USUAL.editable(before)
    assert MARKER not in text and "a b" not in text
    assert "\"password=•••••• hidden 1, token='•••••• hidden 2'\"" in text
    edited = USUAL.edited(text.replace('"password=', '"ada has password='), before)
    assert json.loads(edited) == {
        "note": f"ada has password={MARKER}, token='a b'",
        "url": f"redis://:{MARKER}@h",
    }
    assert USUAL.edited(text, before) == before.replace(b'", "', b'","').replace(b'": "', b'":"')


@pytest.mark.parametrize(
    "note",
    ["it was •••••• hidden 1", "•••••• hidden 1", "password=x •••••• hidden 1", "password=•••••• hidden 3"],
)
def test_a_piece_of_a_text_is_not_opened_where_it_would_be_shown(note):
    before = json.dumps({"note": f"password={MARKER}", "pin": 7}).encode()
    for value in ({"note": note}, {"pin": "•••••• hidden 1"}, {"note": "pin=•••••• hidden 2"}):
        with pytest.raises(InvalidPayload, match="mask"):
            USUAL.edited(json.dumps(value), before)


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

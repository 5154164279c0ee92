"""Payloads: what is encoded comes back equal; what JSON cannot say is refused with its path, and never changed."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from workqueue import payload
from workqueue.errors import InvalidPayload

text = st.text(st.characters(exclude_categories=["Cs"]))  # no lone surrogates: those are no Unicode text
integers = st.integers(min_value=-(2**63), max_value=2**64 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | integers | floats | text
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=20
)


@dataclasses.dataclass
class Point:
    x: object
    y: int = 0


class Wrapped(msgspec.Struct):
    inner: object


@given(values)
def test_json_values_come_back_equal(value):
    back = payload.decode(payload.encode(value))
    assert back == value
    assert repr(back) == repr(value)  # 1 is not True, 1.0 is not 1, and -0.0 is not 0.0


@given(values)
def test_what_is_encoded_is_json_for_everybody(value):
    assert json.loads(payload.encode(value)) == value


@given(values)
def test_encoding_leaves_the_value_alone_and_is_repeatable(value):
    before = repr(value)
    assert payload.encode(value) == payload.encode(value)
    assert repr(value) == before


@given(st.sampled_from([math.nan, math.inf, -math.inf]), st.lists(st.integers(0, 2), max_size=6), values)
@example(math.nan, [], None)
def test_nan_and_infinity_are_refused_wherever_they_hide(bad, way, beside):
    value, path = bad, ""
    for step in way:
        if step == 0:
            value, path = [beside, value], f"[1]{path}"
        elif step == 1:
            value, path = {"k": value}, f".k{path}"
        else:
            value, path = Point(value), f".x{path}"
    with pytest.raises(InvalidPayload) as caught:
        payload.encode(value)
    assert caught.value.path == f"${path}"
    assert f"${path}" in str(caught.value)
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_key_that_is_not_finite_is_refused(bad):
    with pytest.raises(InvalidPayload, match=rf"got at \$\[1\]: the key {bad!r}$"):
        payload.encode([1, {bad: "x"}])


@given(st.lists(values, max_size=3), st.sampled_from([object(), Ellipsis, 1j, len]))
def test_what_json_has_no_word_for_is_refused_with_its_path(before, bad):
    with pytest.raises(InvalidPayload) as caught:
        payload.encode({"items": [*before, bad]})
    assert caught.value.path == f"$.items[{len(before)}]"


@given(values)
def test_records_are_walked_like_objects(value):
    assert payload.decode(payload.encode(Point(value, 3))) == {"x": value, "y": 3}
    assert payload.decode(payload.encode(Wrapped(value))) == {"inner": value}


@given(values)
def test_records_come_back_as_their_type(value):
    assert payload.decode(payload.encode(Wrapped(value)), Wrapped) == Wrapped(value)


@given(st.integers(min_value=0, max_value=90), st.sampled_from(["list", "dict"]))
@example(64, "list")
@example(65, "list")
@example(65, "dict")
def test_sixty_four_levels_are_enough_and_one_more_is_refused(levels, kind):
    value: object = 0
    for _ in range(levels):
        value = [value] if kind == "list" else {"k": value}
    if levels <= 64:
        assert payload.decode(payload.encode(value)) == value
    else:
        with pytest.raises(InvalidPayload, match="more than 64 levels"):
            payload.encode(value)


def test_a_cycle_is_refused():
    value: list[object] = []
    value.append(value)
    with pytest.raises(InvalidPayload, match="cycle"):
        payload.encode(value)


@given(st.binary(max_size=60))
@example(b"")
@example(b"\x00")
@example(b"\xff\xfe")
@example(b"[" * 100_000)
@example(b'{"a": NaN}')
def test_bytes_decode_or_are_refused_but_nothing_else_happens(data):
    try:
        value = payload.decode(data)
    except InvalidPayload as error:
        assert len(str(error)) < 500
    else:
        assert json.loads(data) == value


@given(values, st.sampled_from([int, str, list[int], dict[str, str], Point, Wrapped]))
def test_decoding_as_a_type_gives_that_type_or_refuses(value, type_):
    data = payload.encode(value)
    try:
        decoded = payload.decode(data, type_)
    except InvalidPayload as error:
        assert re.escape(repr(type_)) in re.escape(str(error))
    else:
        assert payload.decode(payload.encode(decoded), type_) == decoded


@given(values, st.integers(min_value=-3, max_value=3))
def test_the_limit_is_exact(value, slack):
    size = len(payload.encode(value))
    limit = size + slack
    assume(limit >= 0)
    if slack >= 0:
        assert len(payload.encode(value, limit=limit)) == size
    else:
        with pytest.raises(InvalidPayload) as caught:
            payload.encode(value, limit=limit)
        assert f"{size:,}" in str(caught.value)
        assert f"{limit:,}" in str(caught.value)


@given(st.binary())
def test_any_kind_of_bytes_becomes_plain_bytes(data):
    for kind in (bytes, bytearray, memoryview):
        plain = payload.as_bytes(kind(data))
        assert type(plain) is bytes
        assert plain == data


@given(scalars)
def test_what_is_no_kind_of_bytes_is_refused(value):
    with pytest.raises(InvalidPayload, match=f"got: {type(value).__name__}"):
        payload.as_bytes(value)

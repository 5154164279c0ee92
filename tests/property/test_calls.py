"""Calls as bytes: what a call gives arrives equal and of the same type; wrong calls are wrong as Python has them."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from workqueue import payload
from workqueue.canonical import bounded
from workqueue.errors import InvalidPayload
from workqueue.signature import Signature

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
integers = st.integers(min_value=-(2**63), max_value=2**64 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | integers | floats | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
zones = st.integers(-720, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))
paths = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8).map(Path)
UserId = NewType("UserId", int)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    YES = "yes"
    NO = "no"


class Pair(NamedTuple):
    left: int
    right: str = ""


class Options(TypedDict):
    force: bool
    tag: NotRequired[str]


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    age: int


@dataclass
class Node:
    value: Decimal
    path: Path | None = None
    below: list[Node] = field(default_factory=list)


nodes = st.recursive(
    st.builds(Node, st.decimals(allow_nan=False, allow_infinity=False), st.none() | paths, st.just([])),
    lambda inner: st.builds(
        Node, st.decimals(allow_nan=False, allow_infinity=False), st.none() | paths, st.lists(inner, max_size=2)
    ),
    max_leaves=4,
)
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    int: integers,
    float: floats,
    str: text,
    bool: st.booleans(),
    bytes: st.binary(max_size=8),
    datetime: st.datetimes() | st.datetimes(timezones=zones),
    date: st.dates(),
    time: st.times(),
    timedelta: st.timedeltas(),
    UUID: st.uuids(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    Path: paths,
    PurePosixPath: paths.map(PurePosixPath),
    Colour: st.sampled_from(Colour),
    Level: st.sampled_from(Level),
    Word: st.sampled_from(Word),
    Pair: st.builds(Pair, integers, text),
    Options: st.fixed_dictionaries({"force": st.booleans()}, optional={"tag": text}),
    Node: nodes,
    Cat | Dog: st.builds(Cat, text) | st.builds(Dog, integers),
    UserId: integers,
    Annotated[int, msgspec.Meta(ge=0)]: st.integers(0, 2**63),
    Literal["a", "b", 3]: st.sampled_from(["a", "b", 3]),
    Any: plain,
    object: plain,
    int | None: st.none() | integers,
    int | str | None: st.none() | integers | text,
    list[UUID]: st.lists(st.uuids(), max_size=3),
    set[Path]: st.sets(paths, max_size=3),
    frozenset[Colour]: st.frozensets(st.sampled_from(Colour)),
    tuple[int, Path, bytes]: st.tuples(integers, paths, st.binary(max_size=3)),
    tuple[date, ...]: st.lists(st.dates(), max_size=3).map(tuple),
    dict[int, Pair]: st.dictionaries(integers, st.builds(Pair, integers, text), max_size=3),
    dict[UUID, datetime | None]: st.dictionaries(st.uuids(), st.none() | st.datetimes(timezones=zones), max_size=3),
    dict[Word, list[Node | None]]: st.dictionaries(
        st.sampled_from(Word), st.lists(st.none() | nodes, max_size=2), max_size=2
    ),
}


def shape(value: object) -> object:
    """A value with the types of all its parts; a zone is its offset, and no text of a time says its fold."""
    if isinstance(value, list | tuple):
        return type(value), [shape(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), {shape(item) for item in value}
    if isinstance(value, dict):
        return type(value), {(shape(key), repr(shape(item))) for key, item in value.items()}
    if isinstance(value, Node):
        return Node, shape([value.value, value.path, value.below])
    if isinstance(value, datetime):
        return datetime, value.replace(tzinfo=None, fold=0), value.utcoffset()
    if isinstance(value, time):
        value = value.replace(fold=0)
    return type(value), repr(value)


def function_of(kind: object):
    def f(a, /, b, *c, d=None, **e): ...

    f.__annotations__ = dict.fromkeys("abcde", kind)
    f.__kwdefaults__ = None
    return f


SIGNATURES = [(Signature(function_of(kind), name="f"), kind) for kind in KINDS]


@given(st.data(), st.sampled_from(range(len(SIGNATURES))))
def test_arguments_arrive_equal_and_of_the_same_type(data, index):
    signature, kind = SIGNATURES[index]
    values = KINDS[kind]
    args = data.draw(st.lists(values, min_size=2, max_size=4).map(tuple))
    kwargs = data.draw(st.dictionaries(st.sampled_from(["d", "x", "y", "a"]), values, max_size=3))
    kwargs.setdefault("d", args[0])
    sent = signature.encode(args, kwargs)
    assert signature.encode(args, kwargs) == sent
    got_args, got_kwargs = signature.decode(sent)
    assert got_args == args
    assert got_kwargs == kwargs
    assert shape(got_args) == shape(args)
    assert shape(got_kwargs) == shape(kwargs)


@given(st.data(), st.sampled_from(list(KINDS)))
def test_results_arrive_equal_and_of_the_same_type(data, kind):
    def f(): ...

    f.__annotations__["return"] = kind
    signature = Signature(f, name="f")
    value = data.draw(KINDS[kind])
    back = signature.decode_result(signature.encode_result(value))
    assert back == value
    assert shape(back) == shape(value)


def text_of(kind: object, value: object) -> str:
    def f(a): ...

    f.__annotations__["a"] = kind
    signature = Signature(f, name="f")
    return signature.texts(signature.encode((value,), {}), ["a"])["a"]


def as_json_has_it(value: object) -> object:
    """A value that is equal to another where JSON calls them so: true is no number there."""
    if isinstance(value, bool):
        return bool, value
    if isinstance(value, list):
        return [as_json_has_it(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json_has_it(item) for key, item in value.items()}
    return value


@given(st.data(), st.sampled_from(list(KINDS)))
def test_equal_arguments_have_one_text_and_others_another(data, kind):
    value = data.draw(KINDS[kind])
    other = data.draw(st.just(value) | KINDS[kind])
    assert (text_of(kind, value) == text_of(kind, other)) == (as_json_has_it(value) == as_json_has_it(other))


@given(st.datetimes(timezones=zones), zones)
def test_an_instant_has_one_text_in_all_zones(instant, zone):
    try:
        elsewhere = instant.astimezone(zone)
    except OverflowError:
        assume(False)
    assert text_of(datetime, elsewhere) == text_of(datetime, instant)
    assert text_of(datetime, instant) != text_of(datetime, instant.replace(tzinfo=None))


@given(st.decimals(allow_nan=False, allow_infinity=False), st.integers(0, 9))
def test_a_decimal_has_one_text_with_any_number_of_zeros(number, zeros):
    sign, digits, exponent = number.as_tuple()
    longer = Decimal((sign, digits + (0,) * zeros, exponent - zeros))
    assert text_of(Decimal, longer) == text_of(Decimal, number)


class Tagged(msgspec.Struct, rename="camel", frozen=True):
    some_tags: frozenset[str]
    seen_at: datetime


@dataclass(frozen=True)
class Marked:
    at: datetime
    marks: frozenset[Colour | None]


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
AT_ONE = NOON.astimezone(timezone(timedelta(hours=1)))
LAST = datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        (str, ["null"], "null"),
        (NewType("Host", str), ["a.example"], "a.example"),
        (str | None, ["null"], '"null"'),
        (str | None, [None], "null"),
        (Any, ["a"], '"a"'),
        (int, [7], "7"),
        (float, [7, 7.0], "7"),
        (float, [0.0, -0.0, 0], "0"),
        (float, [1e300], "1e300"),
        (Any, [2**63, 2.0**63], "9223372036854775808"),
        (Any, [True], "true"),
        (Decimal, [Decimal("100"), Decimal("1E+2"), Decimal("100.00")], '"100"'),
        (Decimal, [Decimal("0.50"), Decimal("0.5")], '"0.5"'),
        (Decimal, [Decimal("1E+99"), Decimal("10E+98")], '"1E+99"'),
        (datetime, [NOON, AT_ONE], '"2030-01-01T12:00:00Z"'),
        (datetime, [datetime(2030, 1, 1, 12)], '"2030-01-01T12:00:00"'),
        (datetime, [LAST.replace(tzinfo=timezone(-timedelta(hours=1)))], '"P3652059DT3599.999999S"'),
        (time, [time(12, tzinfo=UTC), time(13, tzinfo=AT_ONE.tzinfo)], '"PT43200S"'),
        (set[str], [{"d", "b", "c", "a", "e"}, {"e", "a", "c", "b", "d"}], '["a","b","c","d","e"]'),
        (list[set[int]], [[{9, 8, 1}]], "[[1,8,9]]"),
        (set[Any], [{None, 1.0, "a"}, {"a", 1, None}], '["a",1,null]'),
        (frozenset[frozenset[int]], [{frozenset({3, 1}), frozenset({2})}], "[[1,3],[2]]"),
        (dict[str, int], [{"b": 1, "a": 2}, {"a": 2, "b": 1}], '{"a":2,"b":1}'),
        (dict[float, int], [{1.0: 1, 0.5: 2}, {0.5: 2, 1: 1}], '{"0.5":2,"1":1}'),
        (dict[Colour, Any], [{Colour.RED: {"b": 1, "a": 1.0}, Colour.BLUE: 1}], '{"blue":1,"red":{"a":1,"b":1}}'),
        (Options, [{"tag": "x", "force": True}, {"force": True, "tag": "x"}], '{"force":true,"tag":"x"}'),
        (Pair, [Pair(1, "a")], '[1,"a"]'),
        (Cat | Dog, [Dog(3)], '{"age":3,"type":"Dog"}'),
        (
            Tagged,
            [Tagged(frozenset({"b", "a", "c"}), at) for at in (NOON, AT_ONE)],
            '{"seenAt":"2030-01-01T12:00:00Z","someTags":["a","b","c"]}',
        ),
        (
            Marked,
            [Marked(at, frozenset({None, Colour.RED, Colour.BLUE})) for at in (NOON, AT_ONE)],
            '{"at":"2030-01-01T12:00:00Z","marks":["blue","red",null]}',
        ),
    ],
)
def test_the_text_of_an_argument(kind, values, text):
    assert [text_of(kind, value) for value in values] == [text] * len(values)


def one(a): ...
def two(a, b=2): ...
def three(a, /, b, *, c, d=4): ...
def four(a=1, *b, c=3, **d): ...
def five(a, b=2, /, *, c=3): ...


@given(
    st.sampled_from([one, two, three, four, five]),
    st.lists(st.integers(0, 9), max_size=4),
    st.dictionaries(st.sampled_from("abcdex"), st.integers(0, 9), max_size=4),
)
def test_a_call_is_wrong_when_python_says_so_and_binds_as_python_does(function, args, kwargs):
    signature = Signature(function, name=function.__name__)
    try:
        function(*args, **kwargs)
    except TypeError:
        for verb in (signature.bind, lambda *args, **kwargs: signature.encode(args, kwargs)):
            with pytest.raises(TypeError, match=rf"^{function.__name__}\(\) "):
                verb(*args, **kwargs)
    else:
        got = signature.decode(signature.encode(args, kwargs))
        want = inspect.signature(function).bind(*args, **kwargs)
        want.apply_defaults()
        assert got == (want.args, want.kwargs)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "python", "ours"),
    [
        (one, (), {}, "missing", "missing"),
        (three, (1, 2), {}, "missing", "missing"),
        (one, (1, 2), {}, "takes 1 positional argument but 2", "too many positional"),
        (one, (1,), {"a": 2}, "multiple values for argument 'a'", "multiple values for argument 'a'"),
        (one, (1,), {"x": 2}, "unexpected keyword argument 'x'", "unexpected keyword argument 'x'"),
        (five, (1,), {"b": 2}, "positional-only", "positional.only"),
    ],
)
def test_a_call_that_is_wrong_in_one_way_is_told_which(function, args, kwargs, python, ours):
    with pytest.raises(TypeError, match=python):
        function(*args, **kwargs)
    with pytest.raises(TypeError, match=ours):
        Signature(function, name="f").bind(*args, **kwargs)


names = st.sampled_from(["a", "b", "é", 'quote"', ""])


@given(st.dictionaries(names, plain), names, plain)
@example({"a": 1}, "a", 2)
def test_a_member_is_added_as_if_all_were_encoded_again(members, name, value):
    data = payload.encode(members)
    assert payload.with_member(data, name, payload.encode(value)) == payload.encode({**members, name: value})


@given(st.dictionaries(names, plain))
def test_the_other_members_are_copied_as_they_stand(members):
    data = json.dumps(members, indent=1).encode()
    assert json.loads(payload.with_member(data, "new", b" [1.0e2 ]")) == {**members, "new": [100.0]}
    assert b"[1.0e2 ]" in payload.with_member(data, "new", b" [1.0e2 ]")


@given(plain.filter(lambda value: not isinstance(value, dict)))
def test_only_an_object_has_members(value):
    with pytest.raises(InvalidPayload, match="expected an object and a value for its member 'x' as JSON, got "):
        payload.with_member(payload.encode(value), "x", b"1")


@given(st.sampled_from([b"", b"{", b"nan", b"1 2", b'"\xff"']))
def test_only_json_can_be_a_member(value):
    with pytest.raises(InvalidPayload, match="expected an object and a value for its member 'x' as JSON, got "):
        payload.with_member(b"{}", "x", value)


@given(plain, st.sampled_from([int, str, list[int], Node, Pair, Cat | Dog, Path, set[int]]))
def test_data_of_another_version_decode_or_are_refused_with_the_parameter(value, kind):
    def f(a): ...

    f.__annotations__["a"] = kind
    signature = Signature(f, name="f")
    try:
        args, kwargs = signature.decode(payload.encode({"a": value}))
    except InvalidPayload as error:
        assert error.path.startswith("$.a")
        assert len(str(error)) < 500
    else:
        assert signature.decode(signature.encode(args, kwargs)) == (args, kwargs)


def test_utc_stays_utc():
    def f(at: datetime): ...

    signature = Signature(f, name="f")
    [at], _ = signature.decode(signature.encode((datetime(2026, 1, 1, tzinfo=UTC),), {}))
    assert at.tzinfo is UTC


@given(st.text(max_size=300), st.text(max_size=300))
def test_text_of_any_length_becomes_a_key_that_is_short_and_its_own(one, another):
    long = [f"{part}{'x' * 500}{part}" for part in (one, another)]
    assert (bounded(long[0]) == bounded(long[1])) == (one == another)
    assert all(len(bounded(text).encode()) <= 500 for text in (*long, one * 9, "ü" * 251))
    assert bounded("x" * 500) == "x" * 500

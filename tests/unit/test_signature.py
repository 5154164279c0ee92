"""Signatures: what a task takes and gives, and each way in which a call, its data or its annotations may not fit."""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Callable, Iterable, Iterator  # noqa: F401 - Iterable is named in text
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import pytest
from workqueue import InvalidOption, InvalidPayload, payload
from workqueue.signature import Signature

if TYPE_CHECKING:
    from workqueue.absent import Absent, Context  # known to type checkers alone

T = TypeVar("T")


class _Context:
    """Stands in for workqueue.Context, which lives above."""


_Context.__name__ = "Context"
Ctx = _Context


class Mixed(Enum):
    A = 1
    B = "b"


class Model:
    """Stands in for one of pydantic's."""

    def model_dump(self, **options: str) -> dict[str, object]: ...


@dataclass
class Point:
    x: float
    note: object = field(default=None, compare=False)


@dataclass
class Deep(Point):
    y: float = 0.0


@dataclass
class Spot:
    x: float


@dataclass
class Pair(typing.Generic[T]):
    of: list[T]


class Cat(msgspec.Struct, tag=True):
    name: str = ""


class Dog(msgspec.Struct, tag=True):
    name: str = ""


class Puppy(Dog, tag="Dog"):
    age: int = 0


def signature(function: Callable[..., object], **options: Any) -> Signature:
    return Signature(function, name="crawl", injected=_Context, **options)


def crawl(url: str, *, depth: int = 0) -> list[str]: ...


def refused(function: Callable[..., object]) -> InvalidOption:
    with pytest.raises(InvalidOption) as caught:
        signature(function)
    return caught.value


def unfit(function: Callable[..., object], *args: object, **kwargs: object) -> str:
    with pytest.raises(TypeError) as caught:
        signature(function).encode(args, kwargs)
    return str(caught.value)


def outdated(function: Callable[..., object], data: bytes) -> InvalidPayload:
    with pytest.raises(InvalidPayload) as caught:
        signature(function).decode(data)
    return caught.value


# pushing


def test_a_call_is_an_object_with_a_member_for_each_parameter():
    assert signature(crawl).encode(("x",), {"depth": 2}) == b'{"url":"x","depth":2}'


def test_defaults_are_written_out_so_that_waiting_jobs_keep_theirs():
    data = signature(crawl).encode(("x",), {})
    assert data == b'{"url":"x","depth":0}'

    def crawl_later(url: str, *, depth: int = 9) -> None: ...

    assert signature(crawl_later).decode(data) == (("x",), {"depth": 0})


def test_a_record_of_the_arguments_says_what_they_are():
    assert repr(signature(crawl).bind("x")) == "crawl(url='x', depth=0)"


def wide(a: int, /, b: int, *c: int, d: int, **e: int) -> None: ...


def test_every_kind_of_parameter_comes_back_where_it_belongs():
    data = signature(wide).encode((1, 2, 3, 4), {"d": 5, "a": 6})
    assert data == b'{"a":1,"b":2,"c":[3,4],"d":5,"e":{"a":6}}'
    assert signature(wide).decode(data) == ((1, 2, 3, 4), {"d": 5, "a": 6})
    assert signature(wide).decode(signature(wide).encode((1, 2), {"d": 5})) == ((1, 2), {"d": 5})


def only_by_place(a: int, /) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "message"),
    [
        (crawl, (), {}, "crawl() missing a required argument: 'url'"),
        (crawl, ("x", 2), {}, "crawl() too many positional arguments"),
        (crawl, ("x",), {"url": "y"}, "crawl() multiple values for argument 'url'"),
        (crawl, ("x",), {"deep": 1}, "crawl() got an unexpected keyword argument 'deep'"),
        (wide, (1, 2), {}, "crawl() missing a required argument: 'd'"),
        (crawl, (7,), {}, "crawl(): expected `str`, got `int` at $.url"),
        (crawl, ("x",), {"depth": "deep"}, "crawl(): expected `int`, got `str` at $.depth"),
        (wide, (1, 2, "x"), {"d": 1}, "crawl(): expected `int`, got `str` at $.c[0]"),
        (wide, (1, 2), {"d": 1, "z": "x"}, "crawl(): expected `int`, got `str` at $.e[...]"),
    ],
)
def test_a_wrong_call_is_a_type_error_that_says_why(function, args, kwargs, message):
    assert unfit(function, *args, **kwargs) == message


def locate(
    point: Point | None = None, pet: Annotated[Cat, msgspec.Meta()] | Dog | None = None, pair: Pair[int] | None = None
) -> None: ...


@pytest.mark.parametrize(
    ("kwargs", "expected", "got"),
    [
        ({"point": Deep(1.0)}, "`Point`", "`Deep` at $.point"),
        ({"point": Spot(1.0)}, "`Point`", "`Spot` at $.point"),
        ({"point": Dog()}, "`Point`", "`Dog` at $.point"),
        ({"pet": Puppy()}, "`Cat or Dog`", "`Puppy` at $.pet"),
        ({"pair": Point(1.0)}, "`Pair`", "`Point` at $.pair"),
    ],
)
def test_an_object_of_another_class_would_lose_what_only_it_has(kwargs, expected, got):
    message = f"crawl(): expected {expected}, got {got}, which would arrive without what only that has; annotate the "
    assert unfit(locate, **kwargs).startswith(message)
    with pytest.raises(TypeError, match=re.escape(message)):
        signature(locate).encode_partial((), kwargs, into=next(iter({"point", "pet"} - {*kwargs})))


@pytest.mark.parametrize(
    ("kwargs", "arrives"),
    [
        ({"point": Point(1.0)}, Point(1.0)),
        ({"point": {"x": 1.0}}, Point(1.0)),
        ({"point": None}, None),
        ({"pet": Dog("a")}, Dog("a")),
        ({"pet": {"type": "Dog", "name": "a"}}, Dog("a")),
        ({"pair": Pair([1])}, Pair([1])),
    ],
)
def test_an_object_of_its_class_or_a_mapping_is_what_a_parameter_takes(kwargs, arrives):
    read = signature(locate)
    [(name, _)] = kwargs.items()
    assert read.by_name(read.encode((), kwargs))[name] == arrives


def test_an_attrs_class_is_known_like_a_dataclass():
    attrs = pytest.importorskip("attrs")
    base = attrs.make_class("Base", {"x": attrs.field(type=int)})
    more = attrs.make_class("More", {"y": attrs.field(type=int)}, bases=(base,))

    def f(x) -> None: ...

    f.__annotations__["x"] = base
    assert unfit(f, more(1, 2)).startswith("crawl(): expected `Base`, got `More` at $.x, ")
    assert signature(f).encode((base(1),), {}) == b'{"x":{"x":1}}'


def test_a_parameter_given_by_place_alone_cannot_be_named():
    assert unfit(only_by_place, a=1).startswith("crawl() ")
    assert signature(only_by_place).encode((1,), {}) == b'{"a":1}'


def test_what_json_cannot_carry_is_refused_with_its_path():
    with pytest.raises(InvalidPayload) as caught:
        signature(crawl).encode((object(),), {})
    assert caught.value.path == "$.url"
    assert str(caught.value).startswith(
        "expected data that JSON can carry, got at $.url: object (JSON has no form for it; it carries numbers, str, "
    )
    with pytest.raises(InvalidPayload, match=r"got at \$.url: Model \(JSON has no form for it; push model.model_dump"):
        signature(crawl).encode((Model(),), {})


def maybe(x: float | None = None, note: str | None = None, points: list[Point] | None = None, any=None) -> None: ...


@pytest.mark.parametrize(
    ("kwargs", "path"),
    [
        ({"x": float("nan")}, "$.x"),
        ({"note": float("inf")}, "$.note"),
        ({"any": {"k": [float("nan")]}}, "$.any.k[0]"),
        ({"any": {float("nan"): 1}}, "$.any"),
        ({"points": [Point(1.0, float("nan"))]}, "$.points[0].note"),
        ({"points": [Point(float("nan"))]}, "$.points[0].x"),
    ],
)
def test_a_nan_never_becomes_a_null(kwargs, path):
    with pytest.raises(InvalidPayload) as caught:
        signature(maybe).encode((), kwargs)
    assert caught.value.path == path


def test_a_null_beside_a_key_that_is_no_text_is_no_fault():
    read = signature(lambda x: None)
    assert read.encode(({date(2026, 1, 31): None},), {}) == b'{"x":{"2026-01-31":null}}'


def test_text_that_is_not_unicode_is_refused_in_paths_too():
    def read(path: Path) -> None: ...

    with pytest.raises(InvalidPayload) as caught:
        signature(read).encode((Path("\udcff"),), {})
    assert caught.value.path == "$.path"


def test_depth_and_size_are_limited_as_of_any_payload():
    def take(x) -> None: ...

    deep: object = 0
    for _ in range(70):
        deep = [deep]
    with pytest.raises(InvalidPayload, match="more than 64 levels"):
        signature(take).encode((deep,), {})
    size = len(signature(take).encode(("abc",), {}))
    assert signature(take).encode(("abc",), {}, limit=size)
    with pytest.raises(InvalidPayload, match=f"expected at most {size - 1} bytes of data, got: {size}"):
        signature(take).encode(("abc",), {}, limit=size - 1)


def test_a_mutable_default_is_nobodys_to_change():
    def gather(into: list[int] = [1], by: dict[str, list[int]] = {"a": []}) -> None: ...  # noqa: B006

    read = signature(gather)
    for _ in range(2):
        args, kwargs = read.decode(b"{}")
        assert (args, kwargs) == (([1], {"a": []}), {})
        args[0].append(2)
        args[1]["a"].append(3)
        read.bind().into.append(4)
    assert read.encode((), {}) == b'{"into":[1],"by":{"a":[]}}'


# running


@pytest.mark.parametrize(
    ("data", "message", "path"),
    [
        (b'{"url":"x","deep":1}', "task 'crawl' has no parameter 'deep' (any more); it has 'url', 'depth'", "$.deep"),
        (
            b'{"depth":1}',
            "task 'crawl' needs parameter 'url', and this job was pushed without; a default lets such jobs run",
            "$.url",
        ),
        (
            b'{"url":3}',
            "task 'crawl' takes other arguments than the job has: expected `str`, got `int` at $.url",
            "$.url",
        ),
        (
            b'["x"]',
            "expected the arguments of task 'crawl' as a JSON object, got: b'[\"x\"]'; "
            "expected `object`, got `array` at $",
            "$",
        ),
        (b'{"url":', "expected data that is JSON, got b'{\"url\":': Input data was truncated", "$"),
    ],
)
def test_data_that_fit_no_more_say_what_changed(data, message, path):
    error = outdated(crawl, data)
    assert (str(error), error.path) == (message, path)


def test_a_keyword_that_is_a_parameter_cannot_hide_among_the_others():
    error = outdated(wide, b'{"a":1,"b":2,"d":3,"e":{"d":4}}')
    assert str(error) == "task 'crawl' has a parameter 'd', so **e cannot hold one"
    assert error.path == "$.e.d"


def test_a_set_of_what_cannot_be_in_one_is_refused():
    def take(x: set[Any]) -> None: ...

    assert "unhashable type: 'list' at $" in str(outdated(take, b'{"x":[[1]]}'))


# the context


def shown(*args: object, **kwargs: object) -> object:
    return args, kwargs


def first(ctx: Ctx, url: str, depth: int = 0) -> None: ...
def middle(url: str, ctx: Ctx, depth: int = 0) -> None: ...
def last(url: str, depth: int = 0, ctx: Ctx | None = None) -> None: ...
def optional(url: str, depth: int = 0, ctx: typing.Optional[Ctx] = None) -> None: ...  # noqa: UP045
def annotated(url: str, depth: int = 0, *, ctx: Annotated[Ctx, "x"]) -> None: ...
def for_checkers_alone(url: str, depth: int = 0, *, ctx: Context) -> None: ...


@pytest.mark.parametrize(
    ("function", "called"),
    [
        (first, (("CTX", "x", 0), {})),
        (middle, (("x", "CTX", 0), {})),
        (last, (("x", 0, "CTX"), {})),
        (optional, (("x", 0, "CTX"), {})),
        (annotated, (("x", 0), {"ctx": "CTX"})),
        (for_checkers_alone, (("x", 0), {"ctx": "CTX"})),
    ],
)
def test_a_context_is_no_argument_but_given_when_the_job_runs(function, called):
    read = signature(function)
    assert read.context == "ctx"
    data = read.encode(("x",), {})
    assert data == b'{"url":"x","depth":0}'
    assert read.call(shown, *read.decode(data), "CTX") == called


def test_a_context_finds_its_place_by_name_where_arguments_before_it_are_missing():
    assert signature(last).call(shown, ("x",), {}, "CTX") == (("x",), {"ctx": "CTX"})


def test_without_a_context_the_function_gets_its_arguments_alone():
    assert signature(crawl).context is None
    assert signature(crawl).call(shown, ("x",), {"depth": 1}, "CTX") == (("x",), {"depth": 1})


def test_nobody_can_push_a_context():
    def greedy(ctx: Ctx, **others: int) -> None: ...

    message = "crawl() got an unexpected keyword argument 'ctx', which is given when the job runs"
    assert unfit(first, "x", ctx=1) == message
    assert unfit(greedy, ctx=1) == message
    assert str(outdated(greedy, b'{"others":{"ctx":1}}')) == (
        "task 'crawl' has a parameter 'ctx', so **others cannot hold one"
    )


def test_one_context_is_enough():
    def two(a: Ctx, b: Ctx) -> None: ...
    def many(*a: Ctx) -> None: ...

    assert str(refused(two)) == (
        "expected task 'crawl' to have at most one parameter for what a running job sees, and not a variadic one, "
        "got: b: 'Ctx' beside 'a'"
    )
    assert str(refused(many)).endswith("got: *a: 'Ctx'")


def test_a_default_that_asks_for_the_context_needs_the_annotation():
    injected = _Context()

    def bare(url: str, *, ctx=injected) -> None: ...
    def other(ctx: dict[str, int] = injected) -> None: ...

    assert str(refused(bare)).startswith(
        "expected parameter 'ctx' of task 'crawl' to be annotated `ctx: Context`, since its default is "
    )
    assert refused(other).value == "dict[str, int]"


@pytest.mark.parametrize("kind", ["Ctx | int", "list[Ctx]"])
def test_a_context_inside_another_type_is_refused(kind):
    def f(x): ...

    f.__annotations__["x"] = kind
    assert "expected parameter 'x' of task 'crawl' to be of a type that JSON can carry, got: " in str(refused(f))


# annotations


def test_an_annotation_that_cannot_be_found_names_its_parameter():
    def f(a: int, b: list[Absent]) -> None: ...

    error = refused(f)
    assert str(error) == (
        "expected the annotation of parameter 'b' of task 'crawl' to name types that its module has at run time, got: "
        "list[Absent] (name 'Absent' is not defined); import them outside `if TYPE_CHECKING`, and define them at the "
        "top of a module"
    )
    assert (error.name, error.value) == ("b", "list[Absent]")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            "Path | str",
            "in a union JSON has text for a Path, and no form for a class that it does not know, and could not",
        ),
        (
            "date | datetime",
            "JSON has text for several members of this union, and could not say which member it carries",
        ),
        ("list[int] | tuple[str, ...]", "JSON has an array for several members of this union, and could not say"),
        ("Point | dict[str, int]", "JSON has an object for several members of this union, and could not say which"),
        ("Mixed", "Enums must contain either all str or all int values"),
        ("complex", "JSON has no form for builtins.complex; it carries numbers, str, bytes, dates and times, "),
        (
            "Model",
            'JSON has no form for test_signature.Model; push model.model_dump(mode="json") to a parameter that is',
        ),
        ("list[Ctx]", "JSON has no form for test_signature._Context"),
        ("Iterable[int]", "JSON has no form for collections.abc.Iterable"),
        ("Callable[[], int]", "JSON has no form for collections.abc.Callable"),
        (
            "dict[tuple[int, int], str]",
            "the keys of a JSON object are text: use str, a number, an Enum, a UUID or a date",
        ),
        ("dict[Path, str]", "the keys of a JSON object are text: use str, a number, an Enum, a UUID or a date"),
        ("set[list[int]]", "the members of a set must be hashable: use a tuple or a frozenset, or a list of them"),
    ],
)
def test_a_type_that_json_cannot_carry_is_refused_when_the_task_is_made(kind, reason):
    def f(x): ...

    f.__annotations__["x"] = kind
    error = refused(f)
    assert str(error).startswith("expected parameter 'x' of task 'crawl' to be of a type that JSON can carry, got: ")
    assert reason in str(error)
    assert error.name == "x"


def test_type_variables_and_object_are_plain_json():
    def f(a: T, b: list[T], c: object, d: dict[str, object], e, *args: Any) -> T: ...

    data = signature(f).encode(([1], [{}], {"k": [None]}, {"x": 1.5}, "e", 1, "2"), {})
    assert signature(f).decode(data) == (([1], [{}], {"k": [None]}, {"x": 1.5}, "e", 1, "2"), {})


def test_a_default_that_is_not_as_annotated_is_refused_before_any_push():
    def f(x: int = None) -> None: ...

    error = refused(f)
    assert str(error) == (
        "expected the default of parameter 'x' of task 'crawl' to be int, got: None; expected `int`, got `null` at $"
    )
    assert error.name == "x"


def test_a_default_that_json_would_change_asks_for_an_annotation():
    def f(x=(1, 2)) -> None: ...
    def g(x: tuple[int, int] = (1, 2)) -> None: ...

    assert str(refused(f)) == (
        "expected parameter 'x' of task 'crawl' to be annotated, since its default (1, 2) would arrive as [1, 2]"
    )
    assert signature(g).decode(signature(g).encode((), {})) == (((1, 2),), {})


def test_constraints_are_kept():
    def f(x: Annotated[int, msgspec.Meta(ge=1)]) -> None: ...

    assert unfit(f, 0) == "crawl(): expected `int` >= 1 at $.x"


def test_a_name_that_a_record_cannot_have_is_refused():
    def f(__x: int = 0) -> None: ...

    assert "to have names that do not start with two underscores, got: '__x'" in str(refused(f))


# functions


class Things:
    def method(self, x: int) -> None: ...
    @classmethod
    def of_class(cls, x: int) -> None: ...
    @staticmethod
    def alone(x: int) -> None: ...
    def __call__(self, x: Point) -> None: ...


class Stream:
    def __call__(self) -> Iterator[int]:
        yield 1


def stream() -> Iterator[int]:
    yield 1


async def astream():
    yield 1


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (Things, "write a function that makes one"),
        (Things.method, "a job has no 'self' to give: move it out of its class"),
        (Things().method, "a job brings no object or class along: write a function that makes or finds it"),
        (Things.of_class, "a job brings no object or class along: write a function that makes or finds it"),
        (vars(Things)["of_class"], "a job brings no object or class along: write a function that makes or finds it"),
        (3, "put @task above a `def` or an `async def`"),
        (stream, "nobody would iterate what it yields: return a list, or push a job for each"),
        (astream, "nobody would iterate what it yields: return a list, or push a job for each"),
        (Stream(), "nobody would iterate what it yields: return a list, or push a job for each"),
        (dict.get, "a job has no 'self' to give: move it out of its class"),
        (getattr, "its parameters cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,  # an address differs by process
)
def test_what_can_be_no_task_is_refused_with_advice(function, advice):
    error = refused(function)
    assert str(error).startswith("expected task 'crawl' to be a function, got: ")
    assert advice in str(error)
    assert error.value is function


def test_decorated_functions_partials_and_callables_are_read_beneath():
    def plain(x: Point, y: int) -> None: ...

    @functools.wraps(plain)
    def wrapped(*args: object, **kwargs: object) -> None: ...

    for function in (functools.partial(wrapped, y=1), functools.partial(plain, y=1), Things()):
        args, _ = signature(function).decode(signature(function).encode((Point(1.0),), {}))
        assert args == (Point(1.0),)


def test_a_static_method_is_a_function():
    assert signature(Things.alone).encode((1,), {}) == b'{"x":1}'


def test_async_functions_are_read_like_others():
    async def fetch(x: int) -> date: ...

    assert signature(fetch).decode(signature(fetch).encode((1,), {})) == ((1,), {})
    assert signature(fetch).decode_result(b'"2026-01-31"') == date(2026, 1, 31)


# schedules

INSTANT = datetime(2026, 1, 31, 23, 30, tzinfo=ZoneInfo("Europe/Berlin"))


def by_day(day: date, force: bool = False) -> None: ...
def by_instant(ctx: Ctx, at: Annotated[datetime, msgspec.Meta(tz=True)]) -> None: ...
def by_nothing(force: bool = False, *args: int, **kwargs: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "kind", "argument"),
    [
        (by_day, "date", {"day": date(2026, 1, 31)}),
        (by_instant, "datetime", {"at": INSTANT}),
        (by_nothing, None, {}),
    ],
)
def test_a_scheduled_task_is_told_its_slot_in_the_zone_of_the_schedule(function, kind, argument):
    read = signature(function)
    assert read.slot_kind == kind
    assert read.slot_argument(INSTANT) == argument
    assert type(next(iter(read.slot_argument(INSTANT).values()), None)) is type(next(iter(argument.values()), None))
    read.encode((), read.slot_argument(INSTANT))


def test_a_scheduled_task_that_needs_more_is_refused():
    def by_two(day: date, url: str) -> None: ...
    def by_place(day: date, /) -> None: ...
    def by_maybe(day: date | None) -> None: ...

    for function in (by_two, by_place, by_maybe, crawl):
        with pytest.raises(InvalidOption) as caught:
            signature(function).slot_argument(INSTANT)
        assert str(caught.value).startswith(
            "expected scheduled task 'crawl' to need nothing, or one date or datetime (the slot it runs for), got: ("
        )
        assert caught.value.name == "schedule"
    assert str(caught.value).endswith("got: (url: 'str', *, depth: 'int' = 0); give the others defaults")


# chains


def test_the_result_before_goes_where_the_next_argument_would():
    read = signature(wide)
    assert read.first_free(frozenset()) == "a"
    assert read.first_free(read.names_bound((1,), {})) == "b"
    assert read.first_free(read.names_bound((1, 2, 3), {"z": 1})) == "d"
    assert signature(crawl).first_free(signature(crawl).names_bound((), {"depth": 1})) == "url"
    assert signature(first).first_free(frozenset()) == "url"


def test_a_chain_needs_a_free_parameter():
    with pytest.raises(InvalidOption) as caught:
        signature(crawl).first_free(frozenset({"url", "depth"}))
    assert str(caught.value) == (
        "expected task 'crawl' to have a parameter free for the result of the job before, but all are given: "
        "'url', 'depth'"
    )
    with pytest.raises(InvalidOption, match="but it takes none$"):
        signature(lambda: None).first_free(frozenset())
    with pytest.raises(TypeError, match=r"^crawl\(\) too many positional arguments$"):
        signature(crawl).names_bound((1, 2), {})


def test_a_call_that_lacks_one_argument_is_completed_by_a_result():
    read = signature(crawl)
    data = read.encode_partial((), {"depth": 2}, into="url")
    assert data == b'{"depth":2}'
    assert read.decode(payload.with_member(data, "url", b'"x"')) == (("x",), {"depth": 2})
    assert read.encode_partial(("x",), {}, into="depth") == b'{"url":"x"}'
    assert signature(wide).encode_partial((1,), {"d": 2, "z": 3}, into="b") == b'{"a":1,"c":[],"d":2,"e":{"z":3}}'


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (("x",), {}, "crawl() multiple values for argument 'url', which the job before gives"),
        ((), {"x": 1}, "crawl() got an unexpected keyword argument 'x'"),
        ((), {"depth": "x"}, "crawl(): expected `int`, got `str` at $.depth"),
    ],
)
def test_a_call_that_lacks_one_argument_is_checked_for_the_others(args, kwargs, message):
    with pytest.raises(TypeError) as caught:
        signature(crawl).encode_partial(args, kwargs, into="url")
    assert str(caught.value) == message


def test_a_call_may_lack_no_more_than_one_and_only_one_that_there_is():
    with pytest.raises(TypeError, match=r"^crawl\(\) missing a required argument: 'url'$"):
        signature(crawl).encode_partial((), {}, into="depth")
    for into in ("x", "c"):
        with pytest.raises(InvalidOption) as caught:
            signature(wide).encode_partial((), {}, into=into)
        assert str(caught.value) == (
            f"expected into to be a parameter of task 'crawl' ('a', 'b', 'c', 'd', 'e'), got: {into!r}"
        )


# results


def test_a_result_is_as_annotated_or_refused_with_its_path():
    read = signature(crawl)
    assert read.decode_result(read.encode_result(["a"])) == ["a"]
    with pytest.raises(InvalidPayload) as caught:
        read.encode_result(["a", 3])
    assert str(caught.value) == "the result of task 'crawl': expected `str`, got `int` at $[1]"
    assert caught.value.path == "$[1]"
    with pytest.raises(InvalidPayload, match="the result of task 'crawl': expected `array`, got `int`"):
        read.decode_result(b"3")
    with pytest.raises(InvalidPayload, match="expected at most 3 bytes"):
        read.encode_result(["a"], limit=3)


def test_a_result_without_annotation_is_plain_json():
    read = signature(lambda: None)
    assert read.decode_result(read.encode_result({"a": [1, None]})) == {"a": [1, None]}


def test_a_result_that_nobody_keeps_may_be_anything():
    def f() -> Iterator[int]: ...
    def g() -> Absent: ...

    signature(f).encode((), {})
    with pytest.raises(InvalidOption) as caught:
        signature(f).check_result()
    assert str(caught.value) == (
        "expected the result of task 'crawl' to be of a type that JSON can carry, got: collections.abc.Iterator[int]; "
        "JSON has no form for collections.abc.Iterator; it carries numbers, str, bytes, dates and times, Decimal, "
        "UUID, Enum and Path; lists, tuples, sets and dicts of them; dataclasses, msgspec Structs, attrs classes, "
        "TypedDicts and NamedTuples"
    )
    assert caught.value.name == "return"
    with pytest.raises(InvalidOption, match="expected the annotation of the result of task 'crawl' to name types"):
        signature(g).check_result()
    signature(crawl).check_result()


def test_an_instant_of_a_result_keeps_its_zone():
    def f() -> datetime: ...

    read = signature(f)
    for instant in (datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)):
        assert read.decode_result(read.encode_result(instant)) == instant

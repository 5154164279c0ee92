"""Objects ⇄ the bytes of a job: the only room that serialises.

JSON, by msgspec: any language can read it, and nothing in it is ever executed. Numbers that JSON cannot say (NaN,
infinity) are refused at push; msgspec alone would turn them into null. Paths are carried as their text.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePath
from typing import Final, Generic, TypeAlias, TypeVar, Union, cast, get_origin, overload

import msgspec
from msgspec import inspect as kinds

from workqueue.errors import InvalidPayload

Json: TypeAlias = Union[None, bool, int, float, str, list["Json"], dict[str, "Json"]]  # noqa: UP007 - | cannot take forward names
T = TypeVar("T")

DEFAULT_LIMIT = 1024 * 1024
_DEEPEST = 64
_PLACE: Final = re.compile(r" - at (?:`key` in )?`(\$[^`]*)`$")
_RECORDS: Final = (kinds.DataclassType, kinds.StructType, kinds.NamedTupleType)
_KEYS: Final = (  # what msgspec writes as the name of a member, and reads back
    kinds.AnyType,
    kinds.StrType,
    kinds.IntType,
    kinds.FloatType,
    kinds.DecimalType,
    kinds.EnumType,
    kinds.LiteralType,
    kinds.UUIDType,
    kinds.DateTimeType,
    kinds.DateType,
    kinds.TimeType,
    kinds.TimeDeltaType,
)
_UNHASHABLE: Final = (kinds.ListType, kinds.DictType, kinds.SetType, kinds.TypedDictType)
_ALIKE: Final = re.compile("Type unions may not contain more than one (int|str|array|dict)-like")
_FORMS: Final = {"int": "a number", "str": "text", "array": "an array", "dict": "an object"}
_CARRIED: Final = (
    "it carries numbers, str, bytes, dates and times, Decimal, UUID, Enum and Path; lists, tuples, sets and dicts of "
    "them; dataclasses, msgspec Structs, attrs classes, TypedDicts and NamedTuples"
)


def _written(value: object) -> str:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"JSON has no form for it; {_instead_of(type(value))}")


def _read(kind: type[object], value: object) -> object:
    if issubclass(kind, PurePath):
        if isinstance(value, str):
            return kind(value)
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return value  # `object`: a Codec lets no other class through, and decode() has msgspec refuse it


_encoder = msgspec.json.Encoder(enc_hook=_written)
_decoder = msgspec.json.Decoder()
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)


class Misfit(InvalidPayload):
    """JSON, but not of the type asked for. For `signature`, which says in its own words whose data they are."""


class Codec(Generic[T]):
    """JSON bytes ⇄ objects of one type. Safe from any thread.

    type: anything that annotates a parameter. Raises TypeError, with the reason, when JSON cannot carry it or could not
    say which member of a union it carries.
    """

    def __init__(self, type: type[T]) -> None:
        try:
            self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(type, dec_hook=_read)
            info = kinds.type_info(type)
        except TypeError as error:
            raise TypeError(_of_union(str(error))) from error
        except (NameError, ValueError, RuntimeError, AttributeError) as error:
            raise TypeError(str(error)) from error
        nodes = [node for node in _nodes(info, set()) if node is not info]
        for node in [info, *nodes]:
            if reason := _unknown(node):
                raise TypeError(reason)
        # Records may call things equal that are not; whatever else arrives equal has lost nothing on the way.
        self._equal_is_same = not any(isinstance(node, _RECORDS) for node in nodes)

    def encode(self, value: T, *, limit: int = DEFAULT_LIMIT) -> bytes:
        """Give `value` as JSON bytes that `decode` will read.

        Raises InvalidPayload as the function `encode` does, and Misfit for what is not of the type.
        """
        try:
            data = _encoder.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _unencodable(value, error) from error
        _check_levels(value, data)
        check_size(data, limit=limit)
        try:
            arrives = self.decode(data)
        except Misfit:
            _check_losses(value, data)  # a NaN is no null: say what it was
            raise
        if not self._equal_is_same or arrives != value:
            _check_losses(value, data)
        return data

    def decode(self, data: bytes) -> T:
        """Give the object that `data` stands for. Raises Misfit with the path, or InvalidPayload when it is no JSON."""
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            raise _misfit(error) from error
        except TypeError as error:  # a member of a set that cannot be one
            raise Misfit(f"{error} at $") from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise InvalidPayload(f"expected data that is JSON, got {_glimpse(data)}: {error}") from error


def encode(value: object, *, limit: int = DEFAULT_LIMIT) -> bytes:
    """Give `value` as JSON bytes.

    limit: the most bytes it may take. Raises InvalidPayload, with the path of the bad value, for what JSON cannot
    carry: unknown types, NaN and infinity, text that is not Unicode, more than 64 levels, cycles.
    """
    try:
        data = _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _unencodable(value, error) from error
    _check_levels(value, data)
    _check_losses(value, data)
    check_size(data, limit=limit)
    return data


def records(annotation: type[object]) -> frozenset[type[object]]:
    """Give the dataclasses, Structs and attrs classes of which a value so annotated is one, or may be."""
    found: set[type[object]] = set()
    waiting: list[kinds.Type] = [kinds.type_info(annotation)]
    while waiting:
        match waiting.pop():
            case kinds.Metadata(inner):
                waiting.append(inner)
            case kinds.UnionType(members):
                waiting += members
            case kinds.DataclassType(cls) | kinds.StructType(cls):
                found.add(get_origin(cls) or cls)
            case _:
                pass
    return frozenset(found)


def is_record(value: object) -> bool:
    """Say whether it is of a dataclass, a Struct or an attrs class."""
    return isinstance(value, msgspec.Struct) or dataclasses.is_dataclass(value) or hasattr(value, "__attrs_attrs__")


def with_member(data: bytes, name: str, value: bytes) -> bytes:
    """Give the JSON object `data` with the member `name`, new or in place of the old; `value` is JSON bytes too.

    The other members are copied as they stand. Raises InvalidPayload when `data` is no object, or `value` no JSON.
    """
    try:
        members = _members.decode(data)
        members[name] = _raw.decode(value.decode())  # as text, or its bytes would not be looked at
        return _encoder.encode(members)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidPayload(
            f"expected an object and a value for its member {name!r} as JSON, got {_glimpse(data)} and "
            f"{_glimpse(value)}: {error}"
        ) from error


def as_bytes(data: object) -> bytes:
    """Give `data` as plain bytes. Raises InvalidPayload when it is no kind of bytes."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidPayload(f"expected data to be bytes, got: {type(data).__name__}; push() encodes objects")
    return bytes(cast("bytes", data))


def check_size(data: bytes, *, limit: int) -> None:
    """Raise InvalidPayload when `data` is longer than `limit` bytes."""
    if len(data) > limit:
        raise InvalidPayload(
            f"expected at most {limit:,} bytes of data, got: {len(data):,}; "
            "keep the bulk elsewhere and push its address, or raise max_payload"
        )


@overload
def decode(data: bytes) -> Json: ...
@overload
def decode(data: bytes, type: type[T]) -> T: ...
def decode(data: bytes, type: type[T] | None = None) -> T | Json:
    """Give the object that `data` (JSON bytes) stands for; with `type`, checked and built as that type.

    Raises InvalidPayload, with the path where it knows one.
    """
    try:
        return _decoder.decode(data) if type is None else msgspec.json.decode(data, type=type, dec_hook=_read)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidPayload(f"expected data that is JSON{_of(type)}, got {_glimpse(data)}: {error}") from error


def _of(type: type[object] | None) -> str:
    return "" if type is None else f" for {type!r}"


def _glimpse(data: bytes) -> str:
    return repr(data) if len(data) <= 40 else f"{data[:40]!r}… ({len(data):,} bytes)"


def _unencodable(value: object, error: Exception) -> InvalidPayload:
    path, reason = next(_faults(value, "$", 0), ("$", str(error)))
    return InvalidPayload(f"expected data that JSON can carry, got at {path}: {reason}", path=path)


def _misfit(error: msgspec.ValidationError) -> Misfit:
    """Put msgspec's "Expected `int`, got `str` - at `$.depth`" into our words."""
    said = str(error)
    place = _PLACE.search(said)
    path = "$" if place is None else place[1]
    reason = said if place is None else said[: place.start()]
    return Misfit(f"{reason[:1].lower()}{reason[1:200]} at {path}", path=path)


def _check_levels(value: object, data: bytes) -> None:
    if len(data) > 2 * _DEEPEST and data.count(b"[") + data.count(b"{") > _DEEPEST:
        _check_walking(value)


def _check_losses(value: object, data: bytes) -> None:
    # Only where there is what msgspec makes of numbers that are not finite is the slow walk worth its time.
    if b"null" in data or b'nan"' in data or b'inf"' in data:
        _check_walking(value)


def _check_walking(value: object) -> None:
    for path, reason in _faults(value, "$", 0):
        raise InvalidPayload(f"expected data that JSON can carry, got at {path}: {reason}", path=path)


def _nodes(node: object, seen: set[int]) -> Iterator[kinds.Type]:
    """Walk a type and all it is made of; types may contain themselves."""
    if isinstance(node, tuple):
        for item in cast("tuple[object, ...]", node):
            yield from _nodes(item, seen)
    elif isinstance(node, kinds.Field):
        yield from _nodes(node.type, seen)
    elif isinstance(node, kinds.Type) and id(node) not in seen:
        seen.add(id(node))
        yield node
        for name in node.__struct_fields__:
            yield from _nodes(getattr(node, name), seen)


def _unknown(node: kinds.Type) -> str:
    """Say why JSON cannot carry this, if it cannot: msgspec itself would find out at the first value."""
    if isinstance(node, kinds.CustomType):
        cls = cast("type[object]", node.cls)
        if cls is not object and not issubclass(cls, PurePath):
            return f"JSON has no form for {cls.__module__}.{cls.__qualname__}; {_instead_of(cls)}"
    if isinstance(node, kinds.DictType) and not isinstance(node.key_type, _KEYS):
        return "the keys of a JSON object are text: use str, a number, an Enum, a UUID or a date"
    if isinstance(node, kinds.SetType | kinds.FrozenSetType) and isinstance(node.item_type, _UNHASHABLE):
        return "the members of a set must be hashable: use a tuple or a frozenset, or a list of them"
    return ""


def _instead_of(cls: type[object]) -> str:
    """Say what to give in place of an object that JSON cannot carry."""
    if hasattr(cls, "model_dump"):
        return 'push model.model_dump(mode="json") to a parameter that is a dict, or use a dataclass'
    return _CARRIED


def _of_union(said: str) -> str:
    """Put into our words what msgspec says of a union whose members JSON could not tell apart; leave all else."""
    if alike := _ALIKE.match(said):
        reason = f"JSON has {_FORMS[alike[1]]} for several members of this union"
    elif said.startswith("Type unions containing a custom type"):
        reason = "in a union JSON has text for a Path, and no form for a class that it does not know"
    else:
        return said
    return f"{reason}, and could not say which member it carries: use one of them, and convert it in the function"


def _faults(value: object, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Name each thing in `value` that JSON cannot carry: (path, what it is)."""
    if depth > _DEEPEST:
        yield path, f"more than {_DEEPEST} levels (or a cycle)"
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, repr(value)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            if isinstance(key, float) and not math.isfinite(key):
                yield path, f"the key {key!r}"
            elif (isinstance(key, bool) or not isinstance(key, str | int | float)) and _refusal({key: None}):
                yield path, f"a key of type {type(key).__name__}"
            elif reason := _refusal(key):
                yield path, reason
            yield from _faults(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(cast("Collection[object]", value)):
            yield from _faults(item, f"{path}[{index}]", depth + 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _faults(getattr(value, field.name), f"{path}.{field.name}", depth + 1)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _faults(getattr(value, name), f"{path}.{name}", depth + 1)
    elif reason := _refusal(value):
        yield path, reason


def _refusal(value: object) -> str:
    try:
        _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return f"{type(value).__name__} ({error})"
    return ""

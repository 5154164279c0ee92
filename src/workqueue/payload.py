"""Objects ⇄ the bytes of a job: the only room that serialises.

JSON, by msgspec: any language can read it, and nothing in it is ever executed. Numbers that JSON cannot say (NaN,
infinity) are refused at push; msgspec alone would turn them into null.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias, TypeVar, Union, cast, overload

import msgspec

from workqueue.errors import InvalidPayload

Json: TypeAlias = Union[None, bool, int, float, str, list["Json"], dict[str, "Json"]]  # noqa: UP007 - | cannot take forward names
T = TypeVar("T")

DEFAULT_LIMIT = 1024 * 1024
_DEEPEST = 64
_LOST = (b"null", b'"nan"', b'"inf"', b'"-inf"')  # what msgspec makes of numbers that are not finite

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def encode(value: object, *, limit: int = DEFAULT_LIMIT) -> bytes:
    """Give `value` as JSON bytes.

    limit: the most bytes it may take. Raises InvalidPayload, with the path of the bad value, for what JSON cannot
    carry: unknown types, NaN and infinity, text that is not Unicode, more than 64 levels, cycles.
    """
    try:
        data = _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        path, reason = next(_faults(value, "$", 0), ("$", str(error)))
        raise InvalidPayload(f"expected data that JSON can carry, got at {path}: {reason}", path=path) from error
    # Only where one of these shows is the slow walk worth its time, and where there are many brackets.
    if any(trace in data for trace in _LOST) or data.count(b"[") + data.count(b"{") > _DEEPEST:
        for path, reason in _faults(value, "$", 0):
            raise InvalidPayload(f"expected data that JSON can carry, got at {path}: {reason}", path=path)
    check_size(data, limit=limit)
    return data


def with_member(data: bytes, name: str, value: bytes) -> bytes:
    """Give the JSON object `data` with one member more, or in place of an old one; `value` is JSON itself.

    Raises InvalidPayload when `data` is no JSON object.
    """
    members = decode(data, dict[str, msgspec.Raw])
    return _encoder.encode(members | {name: msgspec.Raw(value)})


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
        return _decoder.decode(data) if type is None else msgspec.json.decode(data, type=type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidPayload(f"expected data that is JSON{_of(type)}, got {_glimpse(data)}: {error}") from error


def _of(type: type[object] | None) -> str:
    return "" if type is None else f" for {type!r}"


def _glimpse(data: bytes) -> str:
    return repr(data) if len(data) <= 40 else f"{data[:40]!r}… ({len(data):,} bytes)"


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
            elif isinstance(key, bool) or not isinstance(key, str | int | float):
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

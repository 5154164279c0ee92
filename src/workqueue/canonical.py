"""One text for each value, whoever writes it: what keys and lanes are named by."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, time
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Final, cast

import msgspec

from workqueue.payload import encode

_LONGEST: Final = 500  # bytes of a key or lane: with the names beside it, what an index of PostgreSQL can hold
_EXACT: Final = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
_LONGEST_DECIMAL: Final = 32  # digits before or after the point that are written out
_INTEGERS: Final = 2.0**64  # beyond, no integer is JSON here
_YEAR_ONE: Final = datetime(1, 1, 1, tzinfo=UTC)


def canonical(value: object) -> str:
    """Give what a `Codec` decoded as JSON text: equal values of one type have one, in every process, others another.

    Equal as JSON has it: 1 and 1.0 are one number, true is none. Members of sets and objects are sorted, instants put
    into UTC, and numbers have no zeros that say nothing.
    >>> canonical({"b": {2.0, 1}, "a": None})
    '{"a":null,"b":[1,2]}'
    """
    match value:
        case set() | frozenset():
            return f"[{','.join(sorted(map(canonical, cast('Collection[object]', value))))}]"
        case list() | tuple():
            return f"[{','.join(map(canonical, cast('Collection[object]', value)))}]"
        case dict():
            return _object(cast("dict[object, object]", value))
        case msgspec.Struct():
            fields = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            members: dict[str, object] = {name: getattr(value, attribute) for name, attribute in fields}
            if (tag := value.__struct_config__.tag) is not None:
                members[str(value.__struct_config__.tag_field)] = tag
            return _object(members)
        case float() if value.is_integer() and abs(value) < _INTEGERS:
            return str(int(value))
        case Decimal():
            number = (value or Decimal(0)).normalize(_EXACT)
            return f'"{number:f}"' if abs(number.adjusted()) < _LONGEST_DECIMAL else f'"{number}"'
        case datetime() if value.tzinfo is not None:
            try:
                return encode(value.astimezone(UTC)).decode()
            except OverflowError:  # in UTC it lies beyond the years 1 to 9999
                return encode(value - _YEAR_ONE).decode()
        case time() if value.tzinfo is not None:  # 23:00 an hour west of UTC is not 00:00, but later
            return encode(datetime.combine(_YEAR_ONE, value) - _YEAR_ONE).decode()
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _object({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
        case _:
            return encode(value).decode()


def _object(members: Mapping[str, object] | Mapping[object, object]) -> str:
    named = sorted((_name(canonical(key)), canonical(member)) for key, member in members.items())
    return f"{{{','.join(f'{name}:{member}' for name, member in named)}}}"


def _name(text: str) -> str:
    return text if text.startswith('"') else f'"{text}"'


def bounded(text: str) -> str:
    """Give text of at most 500 bytes in UTF-8: what is longer ends with a digest of the whole."""
    data = text.encode()
    if len(data) <= _LONGEST:
        return text
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return f"{data[: _LONGEST - len(digest) - 3].decode(errors='ignore')}…{digest}"

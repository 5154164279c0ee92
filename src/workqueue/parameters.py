"""What a function says of its parameters, as types that JSON can carry. Others are refused when it becomes a task."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from inspect import Parameter
from typing import Annotated, Final, cast

from msgspec import inspect as kinds

from workqueue import payload
from workqueue.errors import InvalidOption, InvalidPayload

_ANYTHING: Final = cast("type[object]", typing.Any)
_PLAIN_JSON: Final = (typing.TypeVar, typing.ParamSpecArgs, typing.ParamSpecKwargs)
_UNIONS: Final = (typing.Union, types.UnionType)


def checked(function: Callable[..., object], task: str) -> inspect.Signature:
    """Give the signature of a function that can be a task. Raises InvalidOption, with advice, for what cannot."""
    advice = _advice(function)
    if not advice:
        try:
            signature = inspect.signature(function)
        except (ValueError, TypeError, NameError) as error:
            advice = f"its parameters cannot be read ({error}): wrap it in a `def`"
        else:
            first = next(iter(signature.parameters.values()), None)
            if first is None or first.name not in ("self", "cls") or first.annotation is not Parameter.empty:
                return signature
            advice = f"a job has no {first.name!r} to give: move it out of its class"
    raise InvalidOption(
        f"expected task {task!r} to be a function, got: {function!r:.120}; {advice}", name="function", value=function
    )


def resolved(
    annotation: object, function: Callable[..., object], *, what: str, task: str, injected: type[object] | None = None
) -> type[object]:
    """Give an annotation of `function` as a type, however it was written; without one, anything.

    what: the parameter it stands at, or `return`. injected: known by its name even where it is imported for type
    checkers alone. Raises InvalidOption when the annotation names what its module does not have.
    """
    if annotation is Parameter.empty:
        return _ANYTHING
    written = _written(function)
    names = dict(cast("dict[str, object]", getattr(written, "__globals__", {})))
    if injected is not None:
        names.setdefault(injected.__name__, injected)
    # One at a time, so that the one at fault can be named.
    holder = types.SimpleNamespace(
        __annotations__={what: annotation}, __type_params__=getattr(written, "__type_params__", ())
    )
    try:
        hint: object = typing.get_type_hints(holder, globalns=names, include_extras=True)[what]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise InvalidOption(
            f"expected the annotation of {_place(what)} of task {task!r} to name types that its module has at run "
            f"time, got: {words(annotation)} ({error}); import them outside `if TYPE_CHECKING`, and define them at the "
            "top of a module",
            name=what,
            value=annotation,
        ) from error
    return _ANYTHING if isinstance(hint, _PLAIN_JSON) else cast("type[object]", hint)


def is_of(annotation: type[object], kind: type[object] | None) -> bool:
    """Say whether an annotation means this very class, or it or None."""
    hint = bare(annotation)
    if kind is None or hint is kind:
        return kind is not None
    return typing.get_origin(hint) in _UNIONS and {*typing.get_args(hint)} == {kind, types.NoneType}


def bare(annotation: type[object]) -> type[object]:
    """Give it without what `Annotated` says beside."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation


def is_text(annotation: type[object]) -> bool:
    """Say whether an annotation means text, and nothing else."""
    return isinstance(kinds.type_info(annotation), kinds.StrType)


def refuse_unannotated(parameter: Parameter, injected: type[object] | None, *, task: str) -> None:
    """Raise InvalidOption for a parameter that is injected, by its default, and not by its annotation."""
    if injected is not None and isinstance(parameter.default, injected):
        raise InvalidOption(
            f"expected parameter {parameter.name!r} of task {task!r} to be annotated "
            f"`{parameter.name}: {injected.__name__}`, since its default is {parameter.default!r}, got: `{parameter}`",
            name=parameter.name,
            value=parameter.annotation,
        )


def carried(annotation: type[object], parameter: Parameter, *, task: str) -> type[object]:
    """Give the type in which the data of a job hold this parameter: of `*args` a tuple, of `**kwargs` a dict.

    Raises InvalidOption when JSON cannot carry it, or its default.
    """
    kind = annotation
    if parameter.kind is Parameter.VAR_POSITIONAL:
        kind = cast("type[object]", types.GenericAlias(tuple, (annotation, ...)))
    elif parameter.kind is Parameter.VAR_KEYWORD:
        unpacked = typing.get_origin(annotation) is typing.Unpack
        kind = cast(
            "type[object]",
            typing.get_args(annotation)[0] if unpacked else types.GenericAlias(dict, (str, annotation)),
        )
    codec = codec_of(kind, annotation, what=parameter.name, task=task)
    if parameter.default is not Parameter.empty:
        _check_default(codec, annotation, parameter, task)
    return kind


def codec_of(kind: type[object], annotation: type[object], *, what: str, task: str) -> payload.Codec[object]:
    """Give the codec of `kind`, which `annotation` asks for at `what`. Raises InvalidOption if JSON cannot carry it."""
    try:
        return payload.Codec(kind)
    except TypeError as error:
        raise InvalidOption(
            f"expected {_place(what)} of task {task!r} to be of a type that JSON can carry, got: {words(annotation)}; "
            f"{error}",
            name=what,
            value=annotation,
        ) from error


def words(annotation: object) -> str:
    """Give an annotation as people write it."""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _check_default(codec: payload.Codec[object], annotation: type[object], parameter: Parameter, task: str) -> None:
    """Raise InvalidOption for a default that would not arrive as it is: every push without it would meet that."""
    default: object = parameter.default
    try:
        arrives = codec.decode(codec.encode(default))
    except InvalidPayload as error:
        raise InvalidOption(
            f"expected the default of {_place(parameter.name)} of task {task!r} to be {words(annotation)}, got: "
            f"{default!r:.80}; {error}",
            name=parameter.name,
            value=default,
        ) from error
    if annotation is _ANYTHING and arrives != default:
        raise InvalidOption(
            f"expected {_place(parameter.name)} of task {task!r} to be annotated, since its default {default!r:.80} "
            f"would arrive as {arrives!r:.80}",
            name=parameter.name,
            value=default,
        )


def _place(what: str) -> str:
    return "the result" if what == "return" else f"parameter {what!r}"


def _advice(function: object) -> str:
    """Say what to do instead, where it is clear without a look at the parameters that this can be no task."""
    if isinstance(function, type):
        return "write a function that makes one"
    if isinstance(function, classmethod | staticmethod) or inspect.ismethod(function):
        return "a job brings no object or class along: write a function that makes or finds it"
    if not callable(function):
        return "put @task above a `def` or an `async def`"
    if _generates(function) or _generates(getattr(function, "__call__", None)):  # noqa: B004 - its code is asked for
        return "nobody would iterate what it yields: return a list, or push a job for each"
    return ""


def _generates(function: object) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _written(function: object) -> object:
    """Find the function whose source has the annotations: beneath decorators, partials and callable objects."""
    while True:
        if isinstance(function, functools.partial):
            function = cast("functools.partial[object]", function).func
        elif hasattr(function, "__wrapped__"):
            function = inspect.unwrap(cast("Callable[..., object]", function))
        else:
            return function if hasattr(function, "__globals__") else getattr(type(function), "__call__", None)  # noqa: B004

"""A function's parameters and result ⇄ bytes, as its annotations say. What does not fit ends before it is written.

The function is read once, when it becomes a task. Serialising is asked of `payload`; running is the executor's.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from inspect import Parameter
from typing import Final, Literal, TypeAlias, cast

import msgspec

from workqueue import parameters, payload
from workqueue.canonical import bounded, canonical
from workqueue.errors import InvalidOption, InvalidPayload

SlotKind: TypeAlias = Literal["date", "datetime"]
_BY_PLACE: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME: Final = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_VARIADIC: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class Signature:
    """What a task takes and gives. Safe from any thread.

    name: the task's, for messages. injected: the class whose parameter is no argument, but given when the job runs.
    context: the name of that parameter. Raises InvalidOption for what cannot be a task, or takes what JSON cannot say.
    """

    def __init__(self, function: Callable[..., object], *, name: str, injected: type[object] | None = None) -> None:
        whole = parameters.checked(function, name)
        self.name = name
        self.context: str | None = None
        self._context_at: int | None = None  # its place, if it has one
        self._function = function
        self._injected = injected
        self._types: dict[str, type[object]] = {}
        kept: list[Parameter] = []
        for place, parameter in enumerate(whole.parameters.values()):
            annotation = self._resolved(parameter.annotation, parameter.name)
            if parameters.is_of(annotation, injected):
                self._check_context(parameter)
                self.context = parameter.name
                self._context_at = place if parameter.kind in _BY_PLACE else None
            else:
                parameters.refuse_unannotated(parameter, injected, task=name)
                kept.append(parameter)
                self._types[parameter.name] = parameters.carried(annotation, parameter, task=name)
        self._plain = frozenset(name for name, kind in self._types.items() if parameters.is_text(kind))
        self._parameters: Final = {parameter.name: parameter for parameter in kept}
        self._signature = whole.replace(parameters=kept)
        self._variadic = any(parameter.kind in _VARIADIC for parameter in kept)
        self._only_by_place = frozenset(p.name for p in kept if p.kind is Parameter.POSITIONAL_ONLY)
        self._by_name = tuple(p.name for p in kept if p.kind is Parameter.KEYWORD_ONLY)
        self._places = sum(p.kind in _BY_PLACE for p in kept)
        self._many = next((p.name for p in kept if p.kind is Parameter.VAR_POSITIONAL), None)
        self._rest = next((p.name for p in kept if p.kind is Parameter.VAR_KEYWORD), None)
        self._taken = {p.name for p in kept if p.kind in _BY_NAME} | ({self.context} if self.context else set[str]())
        self._classes = {p.name: classes for p in kept if (classes := payload.records(self._types[p.name]))}
        self._record, self._codec = self._arguments(kept)
        self._partial: dict[str, tuple[type[msgspec.Struct], payload.Codec[msgspec.Struct]]] = {}

    # pushing

    def bind(self, /, *args: object, **kwargs: object) -> msgspec.Struct:
        """Give the record of the arguments, defaults included. Raises TypeError as the call itself would."""
        if self._variadic or not self._only_by_place.isdisjoint(kwargs):
            return self._record(**self._bound(args, kwargs))
        try:
            return self._record(*args, **kwargs)
        except TypeError:
            self._bound(args, kwargs)  # says it in Python's words
            raise

    def encode(
        self, args: Sequence[object], kwargs: Mapping[str, object], *, limit: int = payload.DEFAULT_LIMIT
    ) -> bytes:
        """Give the bytes of a call. Defaults are written out: a later change of them changes no job that waits.

        Raises TypeError for a wrong call or a value that is not as annotated, InvalidPayload for what JSON cannot carry
        or is over the limit.
        """
        try:
            call = self.bind(*args, **kwargs)
            if self._classes:
                self._check_classes(call)
            return self._codec.encode(call, limit=limit)
        except payload.Misfit as error:
            raise TypeError(f"{self.name}(): {error}") from error

    def encode_partial(
        self,
        args: Sequence[object],
        kwargs: Mapping[str, object],
        *,
        into: str,
        limit: int = payload.DEFAULT_LIMIT,
    ) -> bytes:
        """Give the bytes of a call that lacks the argument `into`, which `payload.with_member` adds later.

        Raises as `encode` does, TypeError when `into` is given already, and InvalidOption when there is no such
        parameter.
        """
        if into not in self._free_names():
            raise InvalidOption(
                f"expected into to be a parameter of task {self.name!r} ({self._known()}), got: {into!r}",
                name="into",
                value=into,
            )
        given = self._bound(args, kwargs, without=into)
        record, codec = self._lacking(into)
        call = record(**given)
        self._check_classes(call)
        try:
            return codec.encode(call, limit=limit)
        except payload.Misfit as error:
            raise TypeError(f"{self.name}(): {error}") from error

    def names_bound(self, args: Sequence[object], kwargs: Mapping[str, object]) -> frozenset[str]:
        """Name the parameters that such a call gives. Raises TypeError for what no call could give."""
        try:
            return frozenset(self._signature.bind_partial(*args, **kwargs).arguments)
        except TypeError as error:
            raise TypeError(f"{self.name}() {error}") from None

    def names(self) -> list[str]:
        """Name the parameters, without the one that is injected."""
        return list(self._parameters)

    def given(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Give the arguments of such a call by name. Raises as `names_bound`."""
        self.names_bound(args, kwargs)
        return dict(self._signature.bind_partial(*args, **kwargs).arguments)

    def first_free(self, bound_names: frozenset[str]) -> str:
        """Name the first parameter that is not bound yet: where a chain puts the result before.

        Raises InvalidOption when all are.
        """
        for name in self._free_names():
            if name not in bound_names:
                return name
        raise InvalidOption(
            f"expected task {self.name!r} to have a parameter free for the result of the job before, but "
            f"{'all are given: ' + self._known() if self._parameters else 'it takes none'}",
            name="into",
            value=None,
        )

    # running

    def decode(self, data: bytes) -> tuple[tuple[object, ...], dict[str, object]]:
        """Give the arguments of the job whose data these are. Raises InvalidPayload when they fit the task no more."""
        try:
            values = msgspec.structs.astuple(self._codec.decode(data))
        except payload.Misfit as error:
            raise self._outdated(data, error) from error
        places = self._places
        args = values[:places]
        if self._many is not None:
            args += values[places]
            places += 1
        kwargs: dict[str, object] = dict(zip(self._by_name, values[places:], strict=False))
        if self._rest is not None:
            rest = cast("dict[str, object]", values[-1])
            if taken := sorted(self._taken.intersection(rest)):
                raise InvalidPayload(
                    f"task {self.name!r} has a parameter {taken[0]!r}, so **{self._rest} cannot hold one",
                    path=f"$.{self._rest}.{taken[0]}",
                )
            kwargs |= rest
        return args, kwargs

    def by_name(self, data: bytes, *, without: str | None = None) -> dict[str, object]:
        """Give the arguments of a job by name, defaults included. without: what a chain is to fill in yet.

        Raises InvalidPayload as `decode`.
        """
        codec = self._codec if without is None else self._lacking(without)[1]
        try:
            return msgspec.structs.asdict(codec.decode(data))
        except payload.Misfit as error:
            raise self._outdated(data, error) from error

    def texts(self, data: bytes, names: Collection[str], *, without: str | None = None) -> dict[str, str]:
        """Give these arguments of a job as text, by name: equal ones have one, in every process, and others another.

        What is annotated `str` is its own; of all else it is `canonical`; both `bounded`. without: as of `by_name`.
        """
        values = self.by_name(data, without=without)
        texts = {name: cast("str", values[name]) if name in self._plain else canonical(values[name]) for name in names}
        return {name: bounded(text) for name, text in texts.items()}

    def call(
        self,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        ctx: object,
    ) -> object:
        """Call `function` with what `decode` gave, and with `ctx` where it asks for it."""
        if self.context is None:
            return function(*args, **kwargs)
        if self._context_at is None or self._context_at > len(args):
            return function(*args, **kwargs, **{self.context: ctx})
        return function(*args[: self._context_at], ctx, *args[self._context_at :], **kwargs)

    # schedules

    @property
    def slot_kind(self) -> SlotKind | None:
        """Say what a scheduled run is told: the `date` or `datetime` of its slot, or None.

        Raises InvalidOption when the task asks for more than that.
        """
        match self._required():
            case []:
                return None
            case [Parameter(name=name, kind=kind)] if kind in _BY_NAME:
                if parameters.bare(self._types[name]) is date:
                    return "date"
                if parameters.bare(self._types[name]) is datetime:
                    return "datetime"
            case _:
                pass
        raise InvalidOption(
            f"expected scheduled task {self.name!r} to need nothing, or one date or datetime (the slot it runs for), "
            f"got: {self._signature.replace(return_annotation=Parameter.empty)}; give the others defaults",
            name="schedule",
            value=self.name,
        )

    def slot_argument(self, instant: datetime) -> dict[str, object]:
        """Give the keyword arguments of the run for `instant`, an aware datetime in the zone of the schedule.

        Raises InvalidOption as `slot_kind` does.
        """
        match self.slot_kind:
            case None:
                return {}
            case "date":
                return {self._required()[0].name: instant.date()}
            case "datetime":
                return {self._required()[0].name: instant}

    # results

    def check_result(self) -> None:
        """Raise InvalidOption when what the function is annotated to give cannot be kept."""
        _ = self._result

    def encode_result(self, value: object, *, limit: int = payload.DEFAULT_LIMIT) -> bytes:
        """Give the bytes of a result. Raises InvalidPayload, with the path, when it is not as annotated."""
        try:
            return self._result.encode(value, limit=limit)
        except InvalidPayload as error:
            raise InvalidPayload(f"the result of task {self.name!r}: {error}", path=error.path) from error

    def decode_result(self, data: bytes) -> object:
        """Give the result that `encode_result` wrote. Raises InvalidPayload when it fits the annotation no more."""
        try:
            return self._result.decode(data)
        except InvalidPayload as error:
            raise InvalidPayload(f"the result of task {self.name!r}: {error}", path=error.path) from error

    @functools.cached_property
    def _result(self) -> payload.Codec[object]:
        # Made when it is asked for: most tasks give what nobody keeps, and may annotate it as they like.
        annotation = self._resolved(self._signature.return_annotation, "return")
        return parameters.codec_of(annotation, annotation, what="return", task=self.name)

    # reading the function

    def _resolved(self, annotation: object, what: str) -> type[object]:
        return parameters.resolved(annotation, self._function, what=what, task=self.name, injected=self._injected)

    def _check_context(self, parameter: Parameter) -> None:
        if parameter.kind in _VARIADIC or self.context is not None:
            raise InvalidOption(
                f"expected task {self.name!r} to have at most one parameter for what a running job sees, and not a "
                f"variadic one, got: {parameter}{f' beside {self.context!r}' if self.context else ''}",
                name=parameter.name,
                value=parameter.annotation,
            )

    def _arguments(self, kept: Sequence[Parameter]) -> tuple[type[msgspec.Struct], payload.Codec[msgspec.Struct]]:
        """Make the record of these parameters. Its constructor, in C, binds as the function would; see `bind`."""
        by_place = [self._field(p) for p in kept if p.kind in _BY_PLACE]
        by_name = [self._field(p) for p in kept if p.kind not in _BY_PLACE]
        try:
            base = msgspec.defstruct(self.name, by_name, kw_only=True, gc=False)
            record = msgspec.defstruct(self.name, by_place, bases=(base,), forbid_unknown_fields=True, gc=False)
        except (RuntimeError, TypeError, ValueError) as error:
            raise InvalidOption(
                f"expected the parameters of task {self.name!r} to have names that do not start with two underscores, "
                f"got: {self._known()}; {error}",
                name="function",
                value=self.name,
            ) from error
        return record, payload.Codec(record)

    def _lacking(self, into: str) -> tuple[type[msgspec.Struct], payload.Codec[msgspec.Struct]]:
        """Give the record of all parameters but one; made when it is asked for."""
        if into not in self._partial:
            self._partial[into] = self._arguments([p for p in self._parameters.values() if p.name != into])
        return self._partial[into]

    def _field(self, parameter: Parameter) -> tuple[str, type] | tuple[str, type, object]:
        kind = self._types[parameter.name]
        if parameter.kind in _VARIADIC:
            return (
                parameter.name,
                kind,
                () if parameter.kind is Parameter.VAR_POSITIONAL else msgspec.field(default_factory=dict[str, object]),
            )
        default: object = parameter.default
        if default is Parameter.empty:
            return parameter.name, kind
        if copy.deepcopy(default) is default:  # nothing can change it
            return parameter.name, kind, default
        return parameter.name, kind, msgspec.field(default_factory=functools.partial(copy.deepcopy, default))

    # saying what is wrong

    def _bound(
        self, args: Sequence[object], kwargs: Mapping[str, object], *, without: str | None = None
    ) -> dict[str, object]:
        """Bind as Python does, and in its words; slower than the record's constructor."""
        try:
            if self.context in kwargs:
                raise TypeError(
                    f"got an unexpected keyword argument {self.context!r}, which is given when the job runs"
                )
            if without is None:
                return self._signature.bind(*args, **kwargs).arguments
            given = self._signature.bind_partial(*args, **kwargs).arguments
            if without in given:
                raise TypeError(f"multiple values for argument {without!r}, which the job before gives")
            for parameter in self._required():
                if parameter.name not in given and parameter.name != without:
                    raise TypeError(f"missing a required argument: {parameter.name!r}")
            return given
        except TypeError as error:
            raise TypeError(f"{self.name}() {error}") from None

    def _check_classes(self, call: msgspec.Struct) -> None:
        """Raise TypeError for an object of another class than its parameter's, which would lose what only it has."""
        for name, classes in self._classes.items():
            value: object = getattr(call, name, None)  # a call in a chain lacks one
            if type(value) not in classes and payload.is_record(value):
                expected = " or ".join(sorted(cls.__qualname__ for cls in classes))
                raise TypeError(
                    f"{self.name}(): expected `{expected}`, got `{type(value).__qualname__}` at $.{name}, which would "
                    "arrive without what only that has; annotate the parameter with it"
                )

    def _outdated(self, data: bytes, misfit: payload.Misfit) -> InvalidPayload:
        """Say how a job's data differ from what the task takes; most often the task has changed meanwhile."""
        given = payload.decode(data)
        if not isinstance(given, dict):
            return InvalidPayload(
                f"expected the arguments of task {self.name!r} as a JSON object, got: {data[:40]!r}; {misfit}"
            )
        for name in given:
            if name not in self._parameters:
                return InvalidPayload(
                    f"task {self.name!r} has no parameter {name!r} (any more); it has {self._known()}", path=f"$.{name}"
                )
        for parameter in self._required():
            if parameter.name not in given:
                return InvalidPayload(
                    f"task {self.name!r} needs parameter {parameter.name!r}, and this job was pushed without; a "
                    "default lets such jobs run",
                    path=f"$.{parameter.name}",
                )
        return InvalidPayload(f"task {self.name!r} takes other arguments than the job has: {misfit}", path=misfit.path)

    def _required(self) -> list[Parameter]:
        return [
            parameter
            for parameter in self._parameters.values()
            if parameter.default is Parameter.empty and parameter.kind not in _VARIADIC
        ]

    def _free_names(self) -> list[str]:
        return [parameter.name for parameter in self._parameters.values() if parameter.kind not in _VARIADIC]

    def _known(self) -> str:
        return ", ".join(map(repr, self._parameters)) or "none"

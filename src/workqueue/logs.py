"""Logs that cannot end what they tell of: a handler's closed stderr or broken log handler is not the queue's fault."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import TypeAlias

_Info: TypeAlias = (
    bool
    | tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
    | BaseException
    | None
)


class Log(logging.LoggerAdapter[logging.Logger]):
    """The logger of that name; what its handlers raise is dropped, for there is nowhere left to tell it."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name))

    def log(
        self,
        level: int,
        msg: object,
        *args: object,
        exc_info: _Info = None,
        stack_info: bool = False,
        stacklevel: int = 1,
        extra: Mapping[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        with suppress(Exception):
            super().log(
                level,
                msg,
                *args,
                exc_info=exc_info,
                stack_info=stack_info,
                stacklevel=stacklevel + 1,  # the line that logs, and not this one
                extra=extra,
                **kwargs,
            )

"""A server of its own for the dashboard: bounded in connections, in time and in what it tells of itself."""

from __future__ import annotations

import asyncio
from types import FrameType
from typing import Final

from workqueue.dashboard.site import Dashboard
from workqueue.errors import UsageError

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError as error:
    raise UsageError(
        "expected uvicorn to serve the dashboard, but it is not installed; say "
        "pip install '.[dashboard]' in a clone of workqueue"
    ) from error

_MOST_CONNECTIONS: Final = 200
_IDLE: Final = 15  # seconds that a connection may be without a whole head of a request, or take nothing of an answer
_LAST_ANSWERS: Final = 3  # seconds to give them, at the end


class Server(uvicorn.Server):
    """Answers for one dashboard; `run(sockets=[…])` goes on until SIGINT or SIGTERM."""

    def __init__(self, dashboard: Dashboard) -> None:
        super().__init__(
            uvicorn.Config(
                dashboard,
                http=_Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=_IDLE,
                timeout_graceful_shutdown=_LAST_ANSWERS,
            )
        )
        self._dashboard = dashboard

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the streams, or they would be waited for; and end without the signal, which did what it should."""
        del sig, frame
        self._dashboard.live.close()
        self.force_exit = self.should_exit
        self.should_exit = True


class _Connection(H11Protocol):
    """One that ends where nothing comes of it: uvicorn lets who says nothing, or half a head, stay for ever.

    Where there are too many, the one that has said nothing for longest makes room.
    """

    _asking: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        others: set[object] = {one for one in self.connections if one is not self}
        idle = [one for one in others if isinstance(one, _Connection) and one.is_idle]
        if len(others) + 1 >= _MOST_CONNECTIONS and idle:
            min(idle, key=_Connection.closes_at).transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return not self.cycle or self.cycle.response_complete

    def closes_at(self) -> float:
        """Give when it is closed, if it stays idle, by the clock of its loop."""
        return float("inf") if self._asking is None else self._asking.when()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._asking, self._taking):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_taking()

    def resume_writing(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
        super().resume_writing()

    def _await_head(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        self._asking = self.loop.call_later(_IDLE, self._close_if_idle)

    def _await_taking(self) -> None:
        self._taking = self.loop.call_later(_IDLE, self.transport.abort)

    def _close_if_idle(self) -> None:
        if self.is_idle:
            self._await_taking()  # of what is still to be sent
            self.timeout_keep_alive_handler()

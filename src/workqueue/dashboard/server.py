"""A server of its own for the dashboard: bounded in connections, in time and in what it tells of itself."""

from __future__ import annotations

from types import FrameType
from typing import Final

from workqueue.dashboard.site import Dashboard
from workqueue.errors import UsageError

try:
    import uvicorn
except ImportError as error:
    raise UsageError(
        "expected uvicorn to serve the dashboard, but it is not installed; say "
        "pip install '.[dashboard]' in a clone of workqueue"
    ) from error

_MOST_CONNECTIONS: Final = 200
_IDLE: Final = 15  # seconds that a kept connection may say nothing
_LAST_ANSWERS: Final = 3  # seconds to give them, at the end


class Server(uvicorn.Server):
    """Answers for one dashboard; `run(sockets=[…])` goes on until SIGINT or SIGTERM."""

    def __init__(self, dashboard: Dashboard) -> None:
        super().__init__(
            uvicorn.Config(
                dashboard,
                http="h11",
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

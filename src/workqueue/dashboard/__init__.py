"""The dashboard: an ASGI application to look at the jobs of a store, and to act on them. Extra: `dashboard`.

`app` makes one; `workqueue serve` runs one by itself. It reads figures from `report`, acts through the verbs of the
store, and knows no engine.
"""

from __future__ import annotations

from workqueue.errors import UsageError

try:
    import jinja2  # noqa: F401  # pyright: ignore[reportUnusedImport] - asked for here, so that its absence is told here
    import starlette  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ImportError as error:
    raise UsageError(
        f"expected {error.name} for the dashboard, but it is not installed; say "
        "pip install '.[dashboard]' in a clone of workqueue"
    ) from error

from workqueue.dashboard.access import Auth, Password, Token
from workqueue.dashboard.site import Dashboard as app  # noqa: N813 - it is called like what it is for
from workqueue.redaction import SECRETS

__all__ = ["SECRETS", "Auth", "Password", "Token", "app"]

"""By when does the caller want the answer? Reads the deadline that it sent, so that everything done here inherits it.

    app = Deadlines(app)

Each request that carries `l5d-ctx-deadline` (a `MeshClient` sends it where `with meshlib.deadline(…)` is in force, and
so do Linkerd and Finagle's HTTP services behind it) is handled as if within `with meshlib.deadline(…)`: mesh requests
and guarded calls made for it end in time, and pass it on.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from ..policies.deadline.deadline import deadline
from ..routing.context import DEADLINE_HEADER, ContextDeadline
from .load import App, Receive, Send

_NAME = DEADLINE_HEADER.encode("ascii")


class Deadlines:
    """ASGI middleware: puts each request under the deadline that its caller sent, or under `longest` seconds.

    What counts are the seconds between the header's two times, both of the caller's clock, so clocks that disagree do
    no harm; the way of the request is not taken off. A header that cannot be read counts as absent. A deadline that is
    over does not refuse the request by itself: see `DeadlineAdmission`. Only for callers that you trust, as anybody may
    send the header; it can only shorten. Raises ValueError for a `longest` below 0 or NaN.
    """

    def __init__(self, app: App, *, longest: float = inf) -> None:
        deadline(longest)  # refuses nonsense
        self.app = app
        self.longest = longest

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        left = min(self.longest, told_seconds(scope["headers"]))
        if left == inf:
            await self.app(scope, receive, send)
            return
        with deadline(left):
            await self.app(scope, receive, send)


def told_seconds(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """The seconds that the caller gives us, by the strictest of its headers; `inf` without a valid one."""
    lines = [value.decode("latin-1") for name, value in headers if name.lower() == _NAME]
    told = ContextDeadline.read(",".join(lines)) if lines else None
    return inf if told is None else max(0.0, told.deadline - told.timestamp)

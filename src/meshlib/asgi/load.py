"""Load reports: middleware that answers probes and adds the server's load to every response.

    app = LoadReports(app)

The balancers `prequal`, `reported_weights` and `default` (with `reports` or `rate`) make use of it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from ..balancing.load_report import HEADER, PROBE_PATH, format_report
from .meter import LoadMeter

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Any, Receive, Send], Awaitable[None]]

_NAME = HEADER.encode("ascii")


class LoadReports:
    """ASGI middleware, to be put outermost: counts requests, and reports the load.

    A GET of `path` is answered at once with the report (`None`: probes are not answered), and with `header` every
    response carries one. `utilization` says how busy the server is, 0–1; without it only requests in flight, latency
    and rates are told. What the application itself writes into the header stays.
    """

    def __init__(
        self,
        app: App,
        *,
        path: str | None = PROBE_PATH,
        header: bool = True,
        utilization: Callable[[], float] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if path is not None and not path.startswith("/"):
            raise ValueError(f"path={path!r}: expected a path that begins with /")
        self.app = app
        self.meter: LoadMeter = LoadMeter(utilization=utilization)
        self._path = path
        self._header = header
        self._now = now

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"] == self._path and scope["method"] in ("GET", "HEAD"):
            headers = [(_NAME, self._told(leaving=0)), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._count(scope, receive, send)

    async def _count(self, scope: Any, receive: Receive, send: Send) -> None:
        meter, now = self.meter, self._now
        request = meter.enter(now())
        failed = False

        async def told(message: Message) -> None:
            nonlocal failed
            if message["type"] == "http.response.start":
                meter.answered(request, now())
                failed = message["status"] >= 500
                if self._header:
                    headers = list(message.get("headers") or ())
                    if not any(bytes(name).lower() == _NAME for name, _ in headers):
                        message = {**message, "headers": [*headers, (_NAME, self._told(leaving=1))]}
            await send(message)

        try:
            await self.app(scope, receive, told)
        except Exception:
            failed = True
            raise
        finally:
            meter.leave(now(), failed=failed)

    def _told(self, *, leaving: int) -> bytes:
        return format_report(self.meter.report(self._now(), leaving=leaving)).encode("ascii")

"""A fleet made of lists: what each endpoint answers, attempt by attempt, without a socket.

It goes in as the client's `transport=`, beneath the mesh, so that routing, balancing, retries and breakers are the real
ones. In a module of its own: importing the rest of `meshlib.testing` needs no httpx.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from ..runtime import SYSTEM, Runtime
from .steps import After


class ScriptedTransport(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """Answers by address ("host:port"); `answers` maps each to a list, and the last item is repeated for ever.

    An item is a status, an `httpx.Response`, an exception (raised), a function of the request that gives one of these,
    or `After(seconds, item)`, which takes its time from `runtime`. `default` answers all other requests.
    `requests` are the wire requests in order, `to(address)` those that one endpoint got, and `running` those not yet
    answered.

        ScriptedTransport({"10.0.0.1:80": [503, 200], "10.0.0.2:80": [httpx.ConnectError("refused")]})
    """

    def __init__(
        self, answers: Mapping[str, Sequence[Any]] | None = None, *, default: Any = 200, runtime: Runtime = SYSTEM
    ) -> None:
        self.answers: dict[str, list[Any]] = {address: list(items) for address, items in (answers or {}).items()}
        if not all(self.answers.values()):
            raise ValueError(f"answers={answers!r}: expected at least one answer for each address")
        self.default = default
        self.runtime = runtime
        self.requests: list[httpx.Request] = []
        self.running: int = 0

    def to(self, address: str) -> list[httpx.Request]:
        """The requests that this endpoint got."""
        return [request for request in self.requests if _address(request) == address]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        after = self._next(request)
        self.running += 1
        try:
            await request.aread()
            if after.seconds:
                await self.runtime.sleep_async(after.seconds)
        finally:
            self.running -= 1
        return _answer(after.answer, request)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        after = self._next(request)
        request.read()
        if after.seconds:
            self.runtime.sleep(after.seconds)
        return _answer(after.answer, request)

    def _next(self, request: httpx.Request) -> After:
        address = _address(request)
        items = self.answers.get(address, (self.default,))
        item = items[min(len(self.to(address)), len(items) - 1)]
        self.requests.append(request)
        return item if isinstance(item, After) else After(0.0, item)


def _address(request: httpx.Request) -> str:
    url = request.url
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{host}:{url.port or {'http': 80, 'https': 443}.get(url.scheme, 0)}"


def _answer(item: Any, request: httpx.Request) -> httpx.Response:
    if callable(item) and not isinstance(item, type):
        item = item(request)
    if isinstance(item, BaseException):
        raise item
    if isinstance(item, httpx.Response):
        # A response can be read once: each attempt gets one of its own.
        return httpx.Response(item.status_code, headers=item.headers, content=item.content)
    return httpx.Response(item)

"""The doors: an `httpx.AsyncClient` whose requests to the mesh's services take the mesh's way.

Everything of httpx stays: the mesh takes over at `_send_single_request`, the one seam through which each redirect hop
and each auth step passes by itself, and above the user's transports, mounts, mocks and instrumentation. What goes out
is a private clone of the request with the endpoint's address; the caller only ever sees the logical URL.
"""

from __future__ import annotations

import datetime
from contextvars import ContextVar
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from ..errors import MeshError
from ..mesh import Mesh
from .engine import Engine
from .exchange import Exchange
from .family import Family
from .wire_request import wire_request

if TYPE_CHECKING:
    from ..balancing import Endpoint

_streaming: ContextVar[bool] = ContextVar("meshlib_streaming", default=False)


class Door:
    """What one client needs of the mesh. Made at first use: some SDK classes never call our `__init__`."""

    __slots__ = ("beneath", "default", "engine", "family", "mesh", "settings")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.mesh: Mesh | None = None
        self.engine: Engine | None = None
        self.settings: dict[str, Any] = {}  # of the client's default transport
        self.default: Any = None  # that transport, if the caller gave none of his own
        self.beneath: Any = None  # its sibling for the mesh's connections

    def join(self, mesh: Mesh | None) -> None:
        self.mesh = mesh
        self.engine = Engine.of(mesh) if mesh is not None else None


class AsyncMeshed:
    """What makes an `AsyncClient` (of either family) a client of the mesh. Stands before it among the bases."""

    _family: Family

    if TYPE_CHECKING:
        _default_encoding: Any
        cookies: Any

        def _transport_for_url(self, url: Any) -> Any: ...

    @property
    def _door(self) -> Door:
        door: Door | None = self.__dict__.get("_meshlib_door")
        if door is None:
            door = self.__dict__["_meshlib_door"] = Door(self._family)
        return door

    @property
    def mesh(self) -> Mesh | None:
        """The mesh whose services this client knows."""
        return self._door.mesh

    def _init_transport(self, *args: Any, **settings: Any) -> Any:
        transport = super()._init_transport(*args, **settings)  # type: ignore[misc]
        if settings.get("transport") is None and not args:
            self._door.settings, self._door.default = settings, transport
        return transport

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        token = _streaming.set(stream)
        try:
            return await super().send(request, stream=stream, **options)  # type: ignore[misc]
        finally:
            _streaming.reset(token)

    async def _send_single_request(self, request: Any) -> Any:
        door = self._door
        engine = door.engine
        if engine is None:
            return await super()._send_single_request(request)  # type: ignore[misc]
        exchange = Exchange(request, door.family, self._httpx_road, stream=_streaming.get())
        if engine.decide(exchange) is None:
            return await super()._send_single_request(request)  # type: ignore[misc]
        if not isinstance(request.stream, door.family.lib.AsyncByteStream):
            raise RuntimeError("Attempted to send a sync request with an AsyncClient instance.")
        start = engine.now()
        try:
            response = await engine.send(exchange)
        except MeshError as error:
            exchange.note(error)
            raise door.family.errors.dress(error, request) from None
        except door.family.lib.RequestError as error:
            exchange.note(error)
            error.request = request
            raise
        response.request = request
        if response.is_closed:
            response.elapsed = datetime.timedelta(seconds=engine.now() - start)
        self.cookies.extract_cookies(response)
        response.default_encoding = self._default_encoding
        return response

    async def _httpx_road(self, exchange: Exchange, endpoint: Endpoint, deadline: float) -> Any:
        """One attempt over httpx's own transport; returns at the headers."""
        door = self._door
        request = exchange.request
        engine = door.engine
        remaining = inf if deadline == inf or engine is None else deadline - engine.now()
        wire = wire_request(door.family, exchange, endpoint, remaining)
        transport = self._transport_for_url(request.url)
        if transport is door.default:
            transport = self._beneath(door)
        response = await transport.handle_async_request(wire)
        door.family.log.info(
            'HTTP Request: %s %s "%s %d %s"',
            request.method,
            request.url,
            response.http_version,
            response.status_code,
            response.reason_phrase,
        )
        return response

    def _beneath(self, door: Door) -> Any:
        # httpx 0.28's pool dies of cancelled requests once it has a limit (httpcore issue 1093), and every deadline
        # and hedge cancels. The mesh's connections therefore have a pool without one; limits are the bulkhead's work.
        if door.beneath is None:
            limits = door.settings.get("limits")
            unlimited = door.family.lib.Limits(
                max_connections=None,
                max_keepalive_connections=None,
                keepalive_expiry=5.0 if limits is None else limits.keepalive_expiry,
            )
            door.beneath = super()._init_transport(**{**door.settings, "limits": unlimited})  # type: ignore[misc]
        return door.beneath

    async def _close_beneath(self) -> None:
        beneath, self._door.beneath = self._door.beneath, None
        if beneath is not None:
            await beneath.aclose()

    async def aclose(self) -> None:
        """Close the connections, the mesh's too. The mesh itself stays open: others may share it."""
        await super().aclose()  # type: ignore[misc]
        await self._close_beneath()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await super().__aexit__(exc_type, exc_value, traceback)  # type: ignore[misc]
        await self._close_beneath()


class MeshClient(AsyncMeshed, httpx.AsyncClient):
    """An `httpx.AsyncClient` in every other respect; requests to the services of `mesh` take the mesh's way.

    All arguments but `mesh` are those of `httpx.AsyncClient`. Hosts that the mesh does not know behave exactly as in
    httpx. What the mesh raises is also the fitting httpx exception.
    """

    _family = Family(httpx)

    def __init__(self, *, mesh: Mesh | None = None, **httpx_arguments: Any) -> None:
        self._door.join(mesh)
        super().__init__(**httpx_arguments)

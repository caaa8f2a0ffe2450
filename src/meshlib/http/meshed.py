"""What makes a client of either family, httpx or httpx2, a client of the mesh?

Everything of httpx stays: the mesh takes over at `_send_single_request`, the one seam through which each redirect hop
and each auth step passes by itself, and above the user's transports, mounts, mocks and instrumentation. What goes out
is a private clone of the request with the endpoint's address; the caller only ever sees the logical URL.

`AsyncMeshed` and `SyncMeshed` are the same but for `await`; the family is named by the classes made of them.
"""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import MeshError
from ..mesh import Mesh
from .beneath import Limit, Pools, running_loop
from .engine import AsyncEngine, Engine, SyncEngine
from .exchange import Exchange, Road
from .family import Family
from .fast_road import Lane
from .lean import Lean
from .road import carry, carry_sync

if TYPE_CHECKING:
    from ..balancing import Endpoint

F = TypeVar("F", bound=Callable[..., None])

# Whoever comes past `send` (an SDK that calls a deeper method) gets the body unread, as httpx would give it.
_streaming: ContextVar[bool] = ContextVar("meshlib.streaming", default=True)


class Door:
    """What one client needs of the mesh. Made at first use: some SDK classes never call our `__init__`."""

    __slots__ = ("default", "engine", "family", "fast", "lane", "lean", "limit", "mesh", "pools")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.mesh: Mesh | None = None
        self.engine: Any = None
        self.default: Any = None  # the client's default transport, if the caller gave none of his own
        self.pools: Pools | None = None  # the mesh's connections, instead of it
        self.limit: Limit | None = None  # what the caller asked for as to their number
        self.fast = True
        self.lane: Lane | None = None  # the fast lane beside the default transport, where it can be used at all
        self.lean: Lean | None = None  # and its path around httpx's models

    def join(self, mesh: Mesh | None, kind: type[Engine]) -> None:
        self.mesh = mesh
        self.engine = kind.of(mesh) if mesh is not None else None

    def exchange(self, client: Any, request: Any, road: Road) -> Exchange:
        # A response hook is shown the response before its body is read, as in httpx: then it is read later.
        stream = _streaming.get() or bool(client.event_hooks["response"])
        engine: Engine = self.engine
        return Exchange(request, self.family, road, stream=stream, labels=engine.mesh.labels, start=engine.now())

    def remember(self, settings: dict[str, Any], transport: Any, kind: Any) -> None:
        """The client's default transport, which the mesh's own connections shall resemble."""
        lib = self.family.lib
        usual = lib.Limits(max_connections=100, max_keepalive_connections=20)  # httpx's own default
        limits = settings.get("limits") or usual
        if limits != usual and limits.max_connections is not None:
            self.limit = Limit(limits.max_connections, lib)
        unlimited = lib.Limits(
            max_connections=None, max_keepalive_connections=None, keepalive_expiry=limits.keepalive_expiry
        )
        given = {name: value for name, value in settings.items() if name != "transport"} | {"limits": unlimited}
        self.default = transport
        self.pools = Pools(lambda uds: kind(**given, uds=uds))

    def find(
        self, transport: Any, exchange: Exchange, endpoint: Endpoint, wire: Any, method: str, loop: Any = None
    ) -> Any:
        """The transport for one attempt, and its limit: the caller's own, or instead of the default one ours."""
        if transport is not self.default or self.pools is None or method in transport.__dict__:
            return transport, None  # instrumentation that patches this one instance wants to see everything
        if self.fast and self.lane is not None and self.lane.takes(exchange):
            return self.lane.transport(exchange, endpoint, wire), self.limit
        return self.pools.transport(wire, endpoint, loop), self.limit

    def finish(self, response: Any, request: Any, cookies: Any, encoding: Any, took: float) -> Any:
        """What httpx does with each response: it belongs to the logical request, whose jar takes its cookies."""
        response.request = request
        if response.is_closed:
            response.elapsed = datetime.timedelta(seconds=took)
        cookies.extract_cookies(response)
        response.default_encoding = encoding
        return response

    def dressed(self, error: Any, exchange: Exchange) -> Any:
        """The error to be raised for `error`: of the client's family, with the request and where it happened."""
        if isinstance(error, MeshError):
            error = self.family.errors.dress(error, exchange.request)
        else:
            error.request = exchange.request
        exchange.note(error)
        return error


def _door(client: Any) -> Door:
    door: Door | None = client.__dict__.get("_meshlib_door")
    return client.__dict__.setdefault("_meshlib_door", Door(client._family)) if door is None else door


def arguments_of(base: type) -> Callable[[F], F]:
    """Have our `__init__` show the arguments of `base` one by one to whoever inspects it."""
    theirs = inspect.signature(base)

    def shown(init: F) -> F:
        ours = [one for one in inspect.signature(init).parameters.values() if one.kind is not one.VAR_KEYWORD]
        init.__signature__ = theirs.replace(parameters=[*ours, *theirs.parameters.values()])  # type: ignore[attr-defined]
        return init

    return shown


class AsyncMeshed:
    """Stands before an `AsyncClient` among the bases."""

    _family: Family

    @property
    def mesh(self) -> Mesh | None:
        """The mesh whose services this client knows. Set it where a class in between swallows the argument."""
        return _door(self).mesh

    @mesh.setter
    def mesh(self, mesh: Mesh | None) -> None:
        _door(self).join(mesh, AsyncEngine)

    if not TYPE_CHECKING:  # httpx's own signatures stay in sight

        def _init_transport(self, **settings: Any) -> Any:
            if settings.get("transport") is not None:
                return super()._init_transport(**settings)
            lib = self._family.lib
            settings = _with_context(lib, settings)
            transport = super()._init_transport(**settings)
            door = _door(self)
            door.remember(settings, transport, lib.AsyncHTTPTransport)
            door.lane = Lane.of(door.family, transport, settings)
            door.lean = None if door.lane is None else Lean(door, door.lane, type(self))
            return transport

        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            token = _streaming.set(stream)
            try:
                return await super().send(request, stream=stream, **options)
            finally:
                _streaming.reset(token)

        async def _send_single_request(self, request: Any) -> Any:
            if "_meshlib_answer" in request.__dict__:
                return request.__dict__.pop("_meshlib_answer")  # the lean path asks what httpx makes of it
            door = _door(self)
            engine: AsyncEngine | None = door.engine
            if engine is None or not isinstance(request.stream, door.family.lib.AsyncByteStream):
                return await super()._send_single_request(request)
            exchange = door.exchange(self, request, self._road)
            if engine.decide(exchange) is None:
                return await super()._send_single_request(request)
            try:
                response = await engine.send(exchange)
            except (MeshError, door.family.lib.RequestError) as error:
                dressed = door.dressed(error, exchange)
                if dressed is error:
                    raise
                raise dressed from error.__cause__
            return door.finish(response, request, self.cookies, self._default_encoding, engine.now() - exchange.start)

        async def _road(self, exchange: Exchange, endpoint: Endpoint, deadline: float) -> Any:
            return await carry(_door(self).engine.run, exchange, endpoint, deadline, self._find)

        def _find(self, exchange: Exchange, endpoint: Endpoint, wire: Any) -> Any:
            transport = self._transport_for_url(exchange.request.url)
            return _door(self).find(transport, exchange, endpoint, wire, "handle_async_request", running_loop())

    @property
    def fast(self) -> bool:
        """Whether the fast lane may be used: connections of our own, where httpx would do nothing else."""
        return _door(self).fast

    @fast.setter
    def fast(self, fast: bool) -> None:
        _door(self).fast = fast

    @property
    def _lean(self) -> Lean | None:
        door = _door(self)
        return door.lean if door.fast else None

    async def _close_pools(self) -> None:
        lane = _door(self).lane
        if lane is not None:
            await lane.aclose()
        pools = _door(self).pools
        if pools is not None:
            for transport in pools.take(running_loop()):
                await transport.aclose()

    async def aclose(self) -> None:
        """Close the connections, the mesh's too. The mesh itself stays open: others may share it."""
        try:
            await super().aclose()  # type: ignore[misc]
        finally:
            await self._close_pools()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        try:
            await super().__aexit__(exc_type, exc_value, traceback)  # type: ignore[misc]
        finally:
            await self._close_pools()


class SyncMeshed:
    """Stands before a `Client` among the bases. Any number of threads may use it."""

    _family: Family

    @property
    def mesh(self) -> Mesh | None:
        """The mesh whose services this client knows. Set it where a class in between swallows the argument."""
        return _door(self).mesh

    @mesh.setter
    def mesh(self, mesh: Mesh | None) -> None:
        _door(self).join(mesh, SyncEngine)

    if not TYPE_CHECKING:

        def _init_transport(self, **settings: Any) -> Any:
            if settings.get("transport") is not None:
                return super()._init_transport(**settings)
            lib = self._family.lib
            settings = _with_context(lib, settings)
            transport = super()._init_transport(**settings)
            _door(self).remember(settings, transport, lib.HTTPTransport)
            return transport

        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            token = _streaming.set(stream)
            try:
                return super().send(request, stream=stream, **options)
            finally:
                _streaming.reset(token)

        def _send_single_request(self, request: Any) -> Any:
            door = _door(self)
            engine: SyncEngine | None = door.engine
            if engine is None or not isinstance(request.stream, door.family.lib.SyncByteStream):
                return super()._send_single_request(request)
            exchange = door.exchange(self, request, self._road)
            if engine.decide(exchange) is None:
                return super()._send_single_request(request)
            try:
                response = engine.send(exchange)
            except (MeshError, door.family.lib.RequestError) as error:
                dressed = door.dressed(error, exchange)
                if dressed is error:
                    raise
                raise dressed from error.__cause__
            return door.finish(response, request, self.cookies, self._default_encoding, engine.now() - exchange.start)

        def _road(self, exchange: Exchange, endpoint: Endpoint, deadline: float) -> Any:
            return carry_sync(_door(self).engine.run, exchange, endpoint, deadline, self._find)

        def _find(self, exchange: Exchange, endpoint: Endpoint, wire: Any) -> Any:
            transport = self._transport_for_url(exchange.request.url)
            return _door(self).find(transport, exchange, endpoint, wire, "handle_request")

    def _close_pools(self) -> None:
        pools = _door(self).pools
        if pools is not None:
            for transport in pools.take():
                transport.close()

    def close(self) -> None:
        """Close the connections, the mesh's too. The mesh itself stays open: others may share it."""
        try:
            super().close()  # type: ignore[misc]
        finally:
            self._close_pools()

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        try:
            super().__exit__(exc_type, exc_value, traceback)  # type: ignore[misc]
        finally:
            self._close_pools()


def _with_context(lib: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The same settings with a TLS context that is made: once per client, for all its transports."""
    context = lib.create_ssl_context(
        settings.get("verify", True), settings.get("cert"), settings.get("trust_env", True)
    )
    return {**settings, "verify": context, "cert": None}

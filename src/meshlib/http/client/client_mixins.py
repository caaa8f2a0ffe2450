"""What makes a client of either family, httpx or httpx2, a client of the mesh?

Everything of httpx stays: the mesh takes over at `_send_single_request`, the one seam through which each redirect hop
and each auth step passes by itself, and above the user's transports, mounts, mocks and instrumentation. What goes out
is a private clone of the request with the endpoint's address; the caller only ever sees the logical URL.

`AsyncMeshed` and `SyncMeshed` are the same but for `await`; the family is named by the classes made of them.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from ...errors import MeshError, Rejected
from ...mesh import Mesh
from ...parking import ThreadParking, task_parking
from ...runtime import Expired
from ..engine.async_engine import AsyncEngine
from ..engine.exchange import Attempt
from ..engine.sync_engine import SyncEngine
from ..family import Family
from ..transports.guarded_network import guarded
from ..transports.httpx_pools import let_others_run, running_loop
from ..transports.httpx_transport import send_over_httpx, send_over_httpx_sync
from .client_state import Sending, client_state_of, sending

GRACE = 5.0  # seconds that a closing client gives to its requests


class AsyncMeshed:
    """Stands before an `AsyncClient` among the bases."""

    _family: Family

    @property
    def mesh(self) -> Mesh | None:
        """The mesh whose services this client knows. Set it where a class in between swallows the argument."""
        return client_state_of(self).mesh

    @mesh.setter
    def mesh(self, mesh: Mesh | None) -> None:
        client_state_of(self).join(mesh, AsyncEngine)

    if not TYPE_CHECKING:  # httpx's own signatures stay in sight

        def _init_transport(self, **settings: Any) -> Any:
            if settings.get("transport") is not None:
                return super()._init_transport(**settings)
            from ..plan.patches import overridden
            from ..transports.own_transport import OwnTransport  # with the first client, not with the first import
            from .fast_path import FastPath

            lib = self._family.lib
            settings = _with_context(lib, settings)
            transport = super()._init_transport(**settings)
            door = client_state_of(self)
            limits = door.remember(settings, transport, lib.AsyncHTTPTransport)
            door.lane = OwnTransport.of(door.family, transport, settings, limits)
            if door.lane is not None and not overridden(door.family, type(self)):
                door.lean = FastPath(door, door.lane, type(self))
            return transport

        def _init_proxy_transport(self, *args: Any, **settings: Any) -> Any:
            return guarded(super()._init_proxy_transport(*args, **settings), self._family.lib)

        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            door = client_state_of(self)
            whole = Sending(door, stream)
            token = sending.set(whole)
            try:
                return await super().send(request, stream=stream, **options)
            finally:
                door.over(whole, token)

        async def _send_single_request(self, request: Any) -> Any:
            door = client_state_of(self)
            if "_meshlib_answer" in request.__dict__:  # the lean path asks what httpx makes of it
                response = request.__dict__.pop("_meshlib_answer")
                door.begin(response._exchange)
                return response
            engine: AsyncEngine | None = door.engine
            if engine is None or not isinstance(request.stream, door.family.lib.AsyncByteStream):
                return await super()._send_single_request(request)
            exchange = door.exchange(self, request, self._road)
            if engine.decide(exchange) is None:
                return await super()._send_single_request(request)
            door.begin(exchange)
            try:
                response = await engine.send(exchange)
            except (MeshError, door.family.lib.RequestError) as error:
                if isinstance(error, Rejected):
                    await let_others_run()
                dressed = door.dressed(error, exchange)
                if dressed is error:
                    raise
                raise dressed from error.__cause__
            finally:
                door.answered(exchange)
            return door.finish(response, request, self.cookies, self._default_encoding, engine.now() - exchange.start)

        async def _road(self, attempt: Attempt) -> Any:
            door, dropped = client_state_of(self), False
            try:
                return await send_over_httpx(door.engine.run, attempt, self._find)
            except GeneratorExit:  # nothing may be awaited any more
                dropped = True
                raise
            except Exception as error:
                if door.closed and not isinstance(error, MeshError):
                    raise door.cut_off(attempt.what) from error
                raise
            finally:
                if door.closed and not dropped:  # it may have opened a connection since
                    await self._close_pools()

        def _find(self, attempt: Attempt, wire: Any) -> Any:
            transport = self._transport_for_url(attempt.what.request.url)
            return client_state_of(self).find(transport, attempt, wire, "handle_async_request", running_loop())

    @property
    def fast(self) -> bool:
        """Whether the fast lane may be used: connections of our own, where httpx would do nothing else."""
        return client_state_of(self).fast

    @fast.setter
    def fast(self, fast: bool) -> None:
        client_state_of(self).fast = fast

    async def _drain(self) -> None:
        door = client_state_of(self)
        idle = door.drain(task_parking) if door.engine is not None else None
        if idle is not None:
            try:
                await door.engine.run.until(door.engine.now() + GRACE, idle.wait())
            except Expired:
                pass
        door.closed = True

    async def _close_pools(self) -> None:
        door = client_state_of(self)
        door.closed = True
        if door.lane is not None:
            await door.lane.aclose()
        if door.pools is not None or door.tunnels:
            for transport in door.opened(running_loop()):
                await transport.aclose()

    async def aclose(self) -> None:
        """Take no more requests, give those under way `GRACE` seconds to be answered, and close all connections.

        The mesh itself stays open: others may share it.
        """
        try:
            await self._drain()
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
            await self._drain()
            await super().__aexit__(exc_type, exc_value, traceback)  # type: ignore[misc]
        finally:
            await self._close_pools()


class SyncMeshed:
    """Stands before a `Client` among the bases. Any number of threads may use it."""

    _family: Family

    @property
    def mesh(self) -> Mesh | None:
        """The mesh whose services this client knows. Set it where a class in between swallows the argument."""
        return client_state_of(self).mesh

    @mesh.setter
    def mesh(self, mesh: Mesh | None) -> None:
        client_state_of(self).join(mesh, SyncEngine)

    if not TYPE_CHECKING:

        def _init_transport(self, **settings: Any) -> Any:
            if settings.get("transport") is not None:
                return super()._init_transport(**settings)
            lib = self._family.lib
            settings = _with_context(lib, settings)
            transport = super()._init_transport(**settings)
            client_state_of(self).remember(settings, transport, lib.HTTPTransport)
            return transport

        def _init_proxy_transport(self, *args: Any, **settings: Any) -> Any:
            return guarded(super()._init_proxy_transport(*args, **settings), self._family.lib)

        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            door = client_state_of(self)
            whole = Sending(door, stream)
            token = sending.set(whole)
            try:
                return super().send(request, stream=stream, **options)
            finally:
                door.over(whole, token)

        def _send_single_request(self, request: Any) -> Any:
            door = client_state_of(self)
            engine: SyncEngine | None = door.engine
            if engine is None or not isinstance(request.stream, door.family.lib.SyncByteStream):
                return super()._send_single_request(request)
            exchange = door.exchange(self, request, self._road)
            if engine.decide(exchange) is None:
                return super()._send_single_request(request)
            door.begin(exchange)
            try:
                response = engine.send(exchange)
            except (MeshError, door.family.lib.RequestError) as error:
                dressed = door.dressed(error, exchange)
                if dressed is error:
                    raise
                raise dressed from error.__cause__
            finally:
                door.answered(exchange)
            return door.finish(response, request, self.cookies, self._default_encoding, engine.now() - exchange.start)

        def _road(self, attempt: Attempt) -> Any:
            door = client_state_of(self)
            try:
                return send_over_httpx_sync(door.engine.run, attempt, self._find)
            except Exception as error:
                if door.closed and not isinstance(error, MeshError):
                    raise door.cut_off(attempt.what) from error
                raise
            finally:
                if door.closed:  # it may have opened a connection since
                    self._close_pools()

        def _find(self, attempt: Attempt, wire: Any) -> Any:
            transport = self._transport_for_url(attempt.what.request.url)
            return client_state_of(self).find(transport, attempt, wire, "handle_request")

    def _drain(self) -> None:
        door = client_state_of(self)
        idle = door.drain(ThreadParking) if door.engine is not None else None
        if idle is not None:
            idle.wait(GRACE)
        door.closed = True

    def _close_pools(self) -> None:
        door = client_state_of(self)
        door.closed = True
        for transport in door.opened():
            transport.close()

    def close(self) -> None:
        """Take no more requests, give those under way `GRACE` seconds to be answered, and close all connections.

        The mesh itself stays open: others may share it.
        """
        try:
            self._drain()
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
            self._drain()
            super().__exit__(exc_type, exc_value, traceback)  # type: ignore[misc]
        finally:
            self._close_pools()


def _with_context(lib: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The same settings with a TLS context that is made: once per client, for all its transports."""
    context = lib.create_ssl_context(
        settings.get("verify", True), settings.get("cert"), settings.get("trust_env", True)
    )
    return {**settings, "verify": context, "cert": None}

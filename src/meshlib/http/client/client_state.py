"""What does one client need of the mesh, async or sync, httpx or httpx2?"""

from __future__ import annotations

import datetime
import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

from ... import forked
from ...balancing import Endpoint
from ...errors import MeshError
from ...mesh import Mesh
from ...parking import Parking
from ..engine.async_engine import Engine
from ..engine.exchange import Attempt, Exchange, Road
from ..engine.lazy_response import LONGEST_TYPE
from ..transports.guarded_network import guarded
from ..transports.h2_connections import watched
from ..transports.httpx_pools import ConnectionLimit, LeakSweeper, Pools
from ..transports.httpx_tls_names import pooled, proxied, start_anew, tunnels

if TYPE_CHECKING:
    from ..transports.own_transport import OwnTransport
    from .fast_path import FastPath

F = TypeVar("F", bound=Callable[..., None])
C = TypeVar("C", bound=type[Any])


class Sending:
    """One `client.send`, with all its redirects and steps of an auth flow."""

    __slots__ = ("door", "exchanges", "stream")

    def __init__(self, door: ClientState, stream: bool) -> None:
        self.door: ClientState | None = (
            door  # None when it is over: connections remember the context they were opened in
        )
        self.stream: bool = stream
        self.exchanges: list[Exchange] = []  # so far; none when it is over


# Whoever comes past `send` (an SDK that calls a deeper method) gets the body unread, as httpx would give it.
sending: ContextVar[Sending | None] = ContextVar("meshlib.sending", default=None)


class ClientState:
    """What one client needs of the mesh. Made at first use: some SDK classes never call our `__init__`."""

    __slots__ = (
        "__weakref__",
        "busy",
        "client",
        "closed",
        "closing",
        "default",
        "engine",
        "family",
        "fast",
        "first",
        "http2",
        "idle",
        "lane",
        "lean",
        "limit",
        "mesh",
        "pools",
        "tunnels",
        "usual",
    )

    def __init__(self, client: Any) -> None:
        self.client = ref(client)
        self.family: Any = client._family
        self.mesh: Mesh | None = None
        self.engine: Any = None
        self.default: Any = None  # the client's default transport, if the caller gave none of his own
        self.pools: Pools | None = None  # the mesh's connections, instead of it
        self.first: dict[Any, str] = {}  # the first name that each transport of the caller's has verified
        self.tunnels: dict[Any, Pools] = {}  # and what stands for it where another name is to be verified
        self.limit: ConnectionLimit | None = None  # what the caller asked for as to their number
        self.usual: ConnectionLimit | None = None  # what httpx's own road is limited to if he asked for nothing
        self.busy: set[Exchange] = set()  # on their way, until the answer is handed out
        self.idle: list[Parking] = []  # who is to be woken when there are none
        self.closing: bool = False  # no new requests
        self.closed: bool = False  # nor any further attempt at those that were under way
        self.http2: bool = False  # whether the default transport may speak it
        self.fast: bool = True
        self.lane: OwnTransport | None = None  # the fast lane beside the default transport, where it can be used at all
        self.lean: FastPath | None = None  # and its path around httpx's models
        forked.register(self)

    def _after_fork(self) -> None:
        """The requests and the connections are the parent's: here are new ones."""
        self.busy, self.idle, self.first = set(), [], {}
        for pools in (self.pools, self.lane, *self.tunnels.values()):
            if pools is not None:
                pools._after_fork()
        client = self.client()
        if client is not None:
            own = client.__dict__
            for transport in (own.get("_transport"), *own.get("_mounts", {}).values()):
                start_anew(transport, self.family.lib)

    def join(self, mesh: Mesh | None, kind: type[Engine]) -> None:
        self.mesh = mesh
        self.engine = kind.of(mesh) if mesh is not None else None

    def exchange(self, client: Any, request: Any, road: Road) -> Exchange:
        of = self._sending()
        if self.closing and (of is None or not of.exchanges):  # what has begun may take its further steps
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        engine: Engine = self.engine
        # A response hook is shown the response before its body is read, as in httpx: then it is read later.
        hooked, stream = bool(client.event_hooks["response"]), of is None or of.stream
        return Exchange(
            request,
            self.family,
            road,
            stream=stream or hooked,
            plain=not stream,
            labels=engine.mesh.labels,
            start=engine.now(),
            cut=self.cut,
        )

    def _sending(self) -> Sending | None:
        of = sending.get()
        return of if of is not None and of.door is self else None  # else: another client's, within which we are asked

    def begin(self, exchange: Exchange) -> None:
        self.busy.add(exchange)
        of = self._sending()
        if of is not None:
            of.exchanges.append(exchange)

    def answered(self, exchange: Exchange) -> None:
        """An exchange is over, but the `send` that it belongs to may go on to the next one."""
        if self._sending() is None:
            self.done(exchange)

    def done(self, exchange: Exchange) -> None:
        self.busy.discard(exchange)
        while self.idle and not self.busy:
            try:
                idle = self.idle.pop()
            except IndexError:
                return  # another thread was quicker
            idle.wake()

    def over(self, whole: Sending, token: Token[Sending | None]) -> None:
        """A `send` has ended: what belongs to it is done, and `sending` is what it was."""
        try:
            sending.reset(token)
        except ValueError:
            pass  # ended from another context: its task was dropped, and closed by who knows whom
        self.all_done(whole)

    def all_done(self, whole: Sending) -> None:
        whole.door = None
        while whole.exchanges:
            self.done(whole.exchanges.pop())

    def drain(self, parking: Callable[[], Any]) -> Any:
        """Take no more requests. What to wait for until none is under way; None if none is."""
        self.closing = True
        if not self.busy:
            return None
        idle = parking()
        self.idle.append(idle)
        return idle if self.busy else None

    def remember(self, settings: dict[str, Any], transport: Any, kind: Any) -> Any:
        """The client's default transport, which the mesh's own connections shall resemble. Returns their limits."""
        lib = self.family.lib
        usual = lib._config.DEFAULT_LIMITS  # this very object is what nobody asked for; others may be equal to it
        limits = settings.get("limits") or usual
        self.http2 = bool(settings.get("http2"))
        if limits.max_connections is not None:
            # httpx counts connections, and one of HTTP/2 carries up to a hundred requests.
            limit = ConnectionLimit(limits.max_connections * (100 if settings.get("http2") else 1), lib)
            if limits is usual:
                self.usual = limit
            else:
                self.limit = limit
        ours = lib.Limits(
            max_connections=None,
            max_keepalive_connections=None if limits is usual else limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
        )
        given = {name: value for name, value in settings.items() if name != "transport"} | {"limits": ours}
        self.default = guarded(transport, lib)
        leaky = lib.__name__ == "httpx" and kind is lib.AsyncHTTPTransport

        def make(uds: str | None, _name: str) -> Any:
            made = guarded(kind(**given, uds=uds), lib)
            if settings.get("http2"):
                watched(made, lib)
            return LeakSweeper(made, self.family) if leaky else made

        self.pools = Pools(make)
        return ours

    def find(self, transport: Any, attempt: Attempt, wire: Any, method: str, loop: Any = None) -> Any:
        """The transport for one attempt, and its limits: the caller's own, or instead of the default one ours."""
        if self.closed:
            raise self.cut_off(attempt.what)
        endpoint = attempt.endpoint
        assert endpoint is not None
        if transport is not self.default or self.pools is None or method in transport.__dict__:
            # Instrumentation that patches this one instance wants to see everything.
            return self._tunnel(transport, wire, endpoint, method, loop), ()
        if self.fast and self.lane is not None and self.lane.takes(attempt.what):
            return self.lane.transport(attempt, endpoint, wire), self._limits(self.limit, attempt)
        return self.pools.transport(wire, endpoint, loop), self._limits(self.limit or self.usual, attempt)

    def _limits(self, own: ConnectionLimit | None, attempt: Attempt) -> tuple[ConnectionLimit, ...]:
        """What an attempt needs before it is sent: a connection of the client's, and one of the cluster's, first."""
        found = () if own is None else (own,)
        limits = attempt.cluster.limits
        if limits is None or limits.connections is None or self.http2:  # a connection of HTTP/2 carries many requests
            return found
        return *found, ConnectionLimit(limits.connections, self.family.lib)

    def _tunnel(self, transport: Any, wire: Any, endpoint: Endpoint, method: str, loop: Any) -> Any:
        """In the place of the caller's `transport`: one whose connections were verified for the service's name."""
        lib = self.family.lib
        name = wire.extensions.get("sni_hostname")
        if name is None or not pooled(transport, lib, method):
            return transport
        through = proxied(transport)
        if not through and self.first.setdefault(transport, name) == name:
            return transport
        pools = self.tunnels.get(transport) or self.tunnels.setdefault(transport, tunnels(transport, self.family))
        tunnel = pools.transport(wire, endpoint, loop)
        if through and lib.__name__ == "httpx":
            del wire.extensions["sni_hostname"]  # httpx 0.28 would ask it of the proxy's own certificate
        return tunnel

    def opened(self, loop: Any = None) -> list[Any]:
        """All transports within `loop` that the mesh has made, for whoever closes them."""
        pools = [self.pools, *list(self.tunnels.values())]
        return [transport for one in pools if one is not None for transport in one.of(loop)]

    def finish(self, response: Any, request: Any, cookies: Any, encoding: Any, took: float) -> Any:
        """What httpx does with each response: it belongs to the logical request, whose jar takes its cookies."""
        response.request = request
        if response.is_closed:
            response.elapsed = datetime.timedelta(seconds=took)
        cookies.extract_cookies(response)
        response.default_encoding = encoding
        if len(response.headers.get("Content-Type", "")) > LONGEST_TYPE and not hasattr(response, "_text"):
            response.encoding = encoding if isinstance(encoding, str) else "utf-8"
        return response

    def cut_off(self, exchange: Exchange) -> MeshError:
        """What an attempt ends with that outlives its client. It is no evidence about the server, and the last one."""
        return MeshError(f"{exchange.service}: the client was closed before the answer had come")

    def cut(self, exchange: Exchange) -> MeshError | None:
        """What a stream that breaks off ends with, if the client was closed: then it was we who broke it."""
        return self.cut_off(exchange) if self.closed else None

    def dressed(self, error: Any, exchange: Exchange) -> Any:
        """The error to be raised for `error`: of the client's family, with the request and where it happened."""
        if isinstance(error, MeshError):
            error = self.family.errors.dress(error, exchange.request)
        else:
            error.request = exchange.request
        exchange.note(error)
        return error


def client_state_of(client: Any) -> ClientState:
    door: ClientState | None = client.__dict__.get("_meshlib_door")
    return client.__dict__.setdefault("_meshlib_door", ClientState(client)) if door is None else door


def arguments_of(base: type) -> Callable[[F], F]:
    """Have our `__init__` show the arguments of `base` one by one to whoever inspects it."""
    theirs = inspect.signature(base)

    def shown(init: F) -> F:
        ours = [one for one in inspect.signature(init).parameters.values() if one.kind is not one.VAR_KEYWORD]
        init.__signature__ = theirs.replace(parameters=[*ours, *theirs.parameters.values()])  # type: ignore[attr-defined]
        return init

    return shown


def sends_as(base: type[Any]) -> Callable[[C], C]:
    """Have the `send` of a client class show the signature and documentation of that of `base`."""

    def shown(kind: C) -> C:
        ours: Any = kind.send
        send = FunctionType(ours.__code__, ours.__globals__, ours.__name__, ours.__defaults__, ours.__closure__)
        send.__kwdefaults__ = ours.__kwdefaults__
        kind.send = functools.update_wrapper(send, base.send)
        return kind

    return shown

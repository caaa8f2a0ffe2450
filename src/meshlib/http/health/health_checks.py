"""Is this endpoint healthy? Asks by HTTP, by a TCP connection, or by gRPC's health protocol, and tells what it heard.

The state machine (thresholds, intervals) is `balancing.health.HealthCheck`. Nothing here waits for its turn: that is
the caretaker's work.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Collection, Iterable
from enum import Enum
from typing import Any, Protocol

from ...balancing import Endpoint
from ...balancing.health_check import HealthCheck
from ...balancing.outlier_detection import OutlierDetection
from ...wire.h1_errors import WireError
from ...wire.request_writer import request_bytes
from ..transports.own_transport import LoopPools


class Health(Enum):
    """What one check has found out."""

    PASSED = "passed"
    FAILED = "failed"
    FATAL = "fatal"  # the server itself says that it is out of service: no threshold applies


PASSED, FAILED, FATAL = Health


class CheckKind(Protocol):
    """One way to ask. Whatever it raises counts as FAILED."""

    async def ask(self, endpoint: Endpoint, station: LoopPools) -> Health:
        """Asks once. `station` has the connections of the running loop."""


class HttpCheck:
    """Healthy if a request is answered with one of `statuses` within `timeout` seconds; 503 is fatal.

    `host` is what the server reads as `Host`, and with `tls` also whom its certificate must name, unless `tls_name`
    says otherwise.
    """

    __slots__ = ("_head", "_method", "_name", "statuses", "timeout")

    def __init__(
        self,
        *,
        host: str,
        path: str = "/",
        method: str = "GET",
        statuses: Collection[int] = (200,),
        timeout: float = 1.0,
        tls: bool = False,
        tls_name: str | None = None,
    ) -> None:
        self.statuses: frozenset[int] = frozenset(statuses)
        self.timeout: float = timeout
        self._method = method.encode("ascii")
        self._name = (tls_name or host) if tls else ""
        self._head = head(self._method, path, host)

    async def ask(self, endpoint: Endpoint, station: LoopPools) -> Health:
        async with asyncio.timeout(self.timeout):
            pool = station.pool(endpoint, self._name)
            answer = await pool.exchange(self._head, method=self._method, replayable=True)
        if answer.head.status in self.statuses:
            return PASSED
        return FATAL if answer.head.status == 503 else FAILED


class TcpCheck:
    """Healthy if a connection opens within `timeout` seconds. Not a byte is sent."""

    __slots__ = ("timeout",)

    def __init__(self, *, timeout: float = 1.0) -> None:
        self.timeout: float = timeout

    async def ask(self, endpoint: Endpoint, station: LoopPools) -> Health:
        async with asyncio.timeout(self.timeout):
            if endpoint.host.startswith("unix:"):
                _, writer = await asyncio.open_unix_connection(endpoint.host[5:])
            else:
                _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass  # it was open, and that was the question
        return PASSED


class GrpcCheck:
    """Healthy if `grpc.health.v1.Health/Check` says SERVING for `service` ("": the server as a whole).

    `host` is the authority that the server reads, and with `tls` whom its certificate must name, unless `tls_name` says
    otherwise; `roots` are the authorities in PEM (None: the system's). Needs grpcio; without it the constructor raises
    ImportError.
    """

    __slots__ = ("_aio", "_credentials", "_options", "_request", "timeout")

    def __init__(
        self,
        service: str = "",
        *,
        host: str = "",
        timeout: float = 1.0,
        tls: bool = False,
        tls_name: str | None = None,
        roots: bytes | None = None,
    ) -> None:
        try:
            self._aio: Any = importlib.import_module("grpc.aio")
            grpc = importlib.import_module("grpc")
        except ImportError:
            raise ImportError("gRPC health checks need grpcio: pip install 'meshlib-client[grpc]'") from None
        self._credentials: Any = grpc.ssl_channel_credentials(roots) if tls else None
        # A pool of its own for each check: the shared one would wait for up to two minutes after refused connections.
        self._options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
        if host:
            self._options.append(("grpc.default_authority", host))
        if tls and (tls_name or host):
            self._options.append(("grpc.ssl_target_name_override", tls_name or host))
        self.timeout: float = timeout
        name = service.encode()
        self._request = b"\x0a" + _varint(len(name)) + name if name else b""  # HealthCheckRequest.service

    async def ask(self, endpoint: Endpoint, station: LoopPools) -> Health:
        if self._credentials is None:
            channel = self._aio.insecure_channel(endpoint.address, self._options)
        else:
            channel = self._aio.secure_channel(endpoint.address, self._credentials, self._options)
        async with channel:
            reply = await channel.unary_unary("/grpc.health.v1.Health/Check")(self._request, timeout=self.timeout)
        return PASSED if bytes(reply[:2]) == b"\x08\x01" else FAILED  # HealthCheckResponse.status = SERVING


class Checks:
    """The active health of one cluster: one `HealthCheck` for each endpoint, and the way to ask.

    `rhythm` are the settings of `HealthCheck`. With `initially=False` an endpoint gets no calls before its first good
    check.
    """

    def __init__(self, name: str, way: CheckKind, **rhythm: Any) -> None:
        self.name = name
        self.way = way
        self._rhythm = rhythm
        self._found: dict[Endpoint, HealthCheck] = {}
        self.outlier: OutlierDetection | None = None
        HealthCheck(Endpoint(name), **rhythm)  # raises what is wrong with it

    def update(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """Whom to check from now on. Who stays keeps what is known of it; who goes is released."""
        old, wanted = self._found, dict.fromkeys(endpoints)
        for endpoint in old.keys() - wanted.keys():
            endpoint.release("health check", now)
        self._found = {endpoint: old.get(endpoint) or self._begin(endpoint, now) for endpoint in wanted}

    @property
    def all(self) -> tuple[HealthCheck, ...]:
        return tuple(self._found.values())

    def of(self, endpoint: Endpoint) -> HealthCheck | None:
        """What is known of an endpoint; None if it is not checked."""
        return self._found.get(endpoint)

    async def ask(self, check: HealthCheck, station: LoopPools) -> Health:
        """Ask once, and say how it went."""
        try:
            return await self.way.ask(check.endpoint, station)
        except Exception:  # refused, reset, silent, nonsense: whatever it is, it is not healthy
            return FAILED

    def settle(self, check: HealthCheck, health: Health, now: float) -> None:
        """Take in what a check has found, unless its endpoint has left meanwhile."""
        if self._found.get(check.endpoint) is check:
            check.checked(health is PASSED, now, fatal=health is FATAL)
            if health is PASSED and self.outlier is not None:
                self.outlier.passed_health_check(check.endpoint, now)

    def _begin(self, endpoint: Endpoint, now: float) -> HealthCheck:
        check = HealthCheck(endpoint, **self._rhythm)
        if not check.healthy:
            endpoint.hold("health check", now, "it has not passed a health check yet")
        return check


def head(method: bytes, path: str, host: str) -> bytes:
    """The head of a request without a body. Raises ValueError for what no request can say."""
    fields = [(b"Host", host.encode("ascii")), (b"User-Agent", b"meshlib")]
    try:
        return request_bytes(method, path.encode("ascii"), fields)[0]
    except WireError as error:
        raise ValueError(str(error)) from None


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes((*found, number))


def client_tls() -> ssl.SSLContext:
    """How servers are checked where no client's own settings apply: against the system's authorities."""
    return ssl.create_default_context()

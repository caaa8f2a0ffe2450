"""How is a connection opened? TCP (happy eyeballs), a Unix socket, and TLS on top."""

from __future__ import annotations

import asyncio
import ssl as _ssl
from errno import EMFILE, ENFILE
from ipaddress import ip_address
from typing import Any, Final

from meshlib.wire.h1_connection import Connection
from meshlib.wire.h1_errors import ConnectError, ConnectTimeout, NoSocket

EYEBALLS_DELAY: Final = 0.25  # seconds between attempts at different addresses (RFC 8305, section 5)
_A_DAY: Final = 86_400.0  # asyncio itself would end a TLS handshake after 60 s; here only the caller's limit counts
_EXHAUSTED: Final = (EMFILE, ENFILE)


class Dialer:
    """Knows one endpoint's address: where the socket goes, and the name that its certificate must carry."""

    def __init__(
        self, host: str, port: int, *, uds: str | None, ssl: _ssl.SSLContext | None, server_hostname: str | None
    ) -> None:
        self._host = host
        self._port = port
        self._uds = uds
        self._ssl = ssl
        self._server_hostname = server_hostname or host
        self._is_name = uds is None and not _is_address(host)
        self.name: str = uds or f"{host}:{port}"

    async def connect(self, connection: Connection, limit: float | None) -> None:
        """Open `connection` within `limit` seconds for TCP, and as many again for TLS, which is how httpcore counts."""
        try:
            async with asyncio.timeout(limit) as clock:
                await self._connect(connection)
            if self._ssl is not None:
                async with asyncio.timeout(limit) as clock:
                    await self._start_tls(connection, self._ssl)
        except BaseException as error:
            if hasattr(connection, "transport"):
                connection.transport.abort()
            if not isinstance(error, OSError):
                raise
            if isinstance(error, TimeoutError) and clock.expired():
                raise ConnectTimeout(f"{self.name}: no connection within {limit} s") from error
            if error.errno in _EXHAUSTED:
                raise NoSocket(f"{self.name}: {error}") from error
            raise ConnectError(f"{self.name}: {error}") from error

    async def _connect(self, connection: Connection) -> None:
        loop = connection.loop
        if self._uds is not None:
            await loop.create_unix_connection(lambda: connection, self._uds)
            return
        eyeballs: dict[str, Any] = {}
        if self._is_name and isinstance(loop, asyncio.BaseEventLoop):  # uvloop has no such argument
            eyeballs["happy_eyeballs_delay"] = EYEBALLS_DELAY
        await loop.create_connection(lambda: connection, self._host, self._port, **eyeballs)

    async def _start_tls(self, connection: Connection, context: _ssl.SSLContext) -> None:
        context.set_alpn_protocols(["http/1.1"])  # each time: another client of this context may want HTTP/2
        transport = await connection.loop.start_tls(
            connection.transport,
            connection,
            context,
            server_hostname=self._server_hostname,
            ssl_handshake_timeout=_A_DAY,
        )
        assert transport is not None
        connection.connection_made(transport)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

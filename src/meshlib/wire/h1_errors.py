"""What can go wrong between us and a server, in the words that httpx uses.

    WireError                    `.family` is the name of the exception in httpx and httpx2 that means the same
    ├─ ConnectError              no connection: refused, unreachable, name unknown, certificate not accepted
    │  └─ PoolClosed             the pool takes no new exchange: the endpoint left, or the client was closed
    ├─ ConnectTimeout
    ├─ PoolTimeout               no connection came free in time
    │  └─ PoolFull               too many exchanges wait already
    │     └─ NoSocket            this process may open no more files
    ├─ WriteError  ├─ WriteTimeout
    ├─ ReadError   ├─ ReadTimeout
    │  └─ Cut                    we closed the connection ourselves, because the client was closed
    ├─ RemoteProtocolError       the server's bytes are no HTTP/1.1 that h11 accepts, or they ended too early
    └─ LocalProtocolError        the request may not be sent like this

This room's caller turns them into exceptions of the family that its client belongs to.
"""

from __future__ import annotations

from typing import Any, ClassVar


class WireError(Exception):
    """An exchange failed. `sent` is True when a byte of the request may have reached the server."""

    family: ClassVar[str] = "TransportError"

    def __init__(self, message: str = "", *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent

    def told(self, lib: Any, request: Any) -> Any:
        """The same as the exception that httpx, or whichever `lib` it is, would raise for `request`."""
        error = getattr(lib, self.family)(str(self), request=request)
        error.sent = self.sent
        return error


class ConnectError(WireError):
    family = "ConnectError"


class PoolClosed(ConnectError):
    """The pool takes no new exchange. Nothing was sent: safe to try elsewhere."""


class ConnectTimeout(WireError):
    family = "ConnectTimeout"


class PoolTimeout(WireError):
    family = "PoolTimeout"


class PoolFull(PoolTimeout):
    """`max_pending` exchanges wait for a connection already."""


class NoSocket(PoolFull):
    """The operating system gives this process no more sockets, which is not the endpoint's fault."""


class WriteError(WireError):
    family = "WriteError"


class WriteTimeout(WireError):
    family = "WriteTimeout"


class ReadError(WireError):
    family = "ReadError"


class Cut(ReadError):
    """The client was closed while the answer was still coming. No evidence about the server."""


class ReadTimeout(WireError):
    family = "ReadTimeout"


class RemoteProtocolError(WireError):
    family = "RemoteProtocolError"


class LocalProtocolError(WireError):
    family = "LocalProtocolError"

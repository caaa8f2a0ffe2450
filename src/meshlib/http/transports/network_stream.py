"""What does `response.extensions["network_stream"]` tell over our own connections? What httpcore's tells: who is there.

It cannot be read or written: after a plain answer the connection belongs to its pool again. Requests that upgrade, for
which one does that, take httpx's own road.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ...wire.h1_connection import Connection

_NAMES: Final = {"ssl_object": "ssl_object", "client_addr": "sockname", "server_addr": "peername", "socket": "socket"}


class NetworkStream:
    """The connection that an answer came over."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get_extra_info(self, info: str) -> Any:
        """`ssl_object`, `client_addr`, `server_addr`, `socket` or `is_readable`; None for anything else."""
        if info == "is_readable":
            return self._connection.readable()
        name = _NAMES.get(info)
        return None if name is None else self._connection.transport.get_extra_info(name)

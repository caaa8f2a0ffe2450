"""Whom must a certificate name that comes over a transport of the caller's? The service, as it must over our own.

To httpx's pool a connection leads to the endpoint's address, and that is all: services behind one address would share
it, though it was verified for one of them. So each name has a pool of its own, with the settings of the transport that
the client would have used. A proxy's tunnel (`CONNECT`) needs more than that, because httpx 0.28 checks the
certificate that comes through it against the address.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from ..family import Family
from .guarded_network import guarded
from .httpx_pools import LeakSweeper, Pools, leave_to_parent


def pooled(transport: Any, lib: Any, method: str) -> bool:
    """Whether it is httpx's own, and nobody has patched this one instance."""
    return (
        type(transport) in (lib.AsyncHTTPTransport, lib.HTTPTransport)
        and method not in transport.__dict__
        and hasattr(transport, "_pool")
    )


def proxied(transport: Any) -> bool:
    """Whether a transport that is `pooled` goes through a proxy."""
    return hasattr(transport._pool, "_proxy_url")


def tunnels(transport: Any, family: Family) -> Pools:
    """Pools with the settings of `transport`, which is `pooled`."""
    old = family.lib.__name__ == "httpx"
    told = old and proxied(transport)

    def make(_path: str | None, name: str) -> Any:
        twin = guarded(_twin(transport, name if told else ""), family.lib)
        return LeakSweeper(twin, family) if old and type(transport) is family.lib.AsyncHTTPTransport else twin

    return Pools(make)


def _twin(transport: Any, name: str) -> Any:
    """A transport with the same settings and no connections. `name`: whom certificates must name, if told here."""
    twin = copy(transport)
    twin._pool = pool = copy(transport._pool)
    pool._connections, pool._requests = [], []
    pool._optional_thread_lock = type(pool._optional_thread_lock)()
    if name and pool._ssl_context is not None:
        pool._ssl_context = Named(pool._ssl_context, name)
    return twin


def start_anew(transport: Any, lib: Any) -> None:
    """In a forked child: leave the connections of a transport of httpx's own kind to the parent."""
    if type(transport) in (lib.AsyncHTTPTransport, lib.HTTPTransport) and hasattr(transport, "_pool"):
        leave_to_parent(transport)
        transport._pool = _twin(transport, "")._pool


class Named:
    """A TLS context for which every server is called `name`: in SNI, and in what its certificate must say."""

    __slots__ = ("_context", "_name")

    def __init__(self, context: Any, name: str) -> None:
        self._context = context
        self._name = name

    def wrap_bio(
        self, incoming: Any, outgoing: Any, server_side: bool = False, server_hostname: Any = None, session: Any = None
    ) -> Any:
        return self._context.wrap_bio(incoming, outgoing, server_side, self._name, session)

    def wrap_socket(self, *args: Any, server_hostname: Any = None, **how: Any) -> Any:
        return self._context.wrap_socket(*args, server_hostname=self._name, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

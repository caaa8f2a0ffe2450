"""The request as it goes to one endpoint: a private clone, so that the caller's own stays logical."""

from __future__ import annotations

from math import inf
from typing import Any

from ..balancing import Endpoint
from .exchange import Exchange
from .family import Family


def wire_request(family: Family, exchange: Exchange, endpoint: Endpoint, remaining: float) -> Any:
    """The clone for `endpoint`, to be answered within `remaining` seconds.

    `Host:` stays what the caller's URL says. Certificates are checked against that name too (or the cluster's
    `tls_name`), though the socket goes to the endpoint. The deadline can only shorten httpx's own time-outs.
    """
    request = exchange.request
    extensions = dict(request.extensions)
    if remaining < inf:
        asked = extensions.get("timeout", {})
        left = max(remaining, 0.001)
        extensions["timeout"] = {
            phase: left if asked.get(phase) is None else min(asked[phase], left)
            for phase in ("connect", "read", "write", "pool")
        }
    url = request.url
    if url.scheme == "https":
        name = exchange.cluster.tls_name if exchange.cluster is not None else None
        extensions.setdefault("sni_hostname", name or url.host)
    wire = family.lib.Request(
        request.method,
        url.copy_with(host=endpoint.host, port=endpoint.port),
        headers=request.headers,
        stream=request.stream,
        extensions=extensions,
    )
    if hasattr(request, "_content"):
        wire._content = request._content
    return wire

"""The request as it goes to one endpoint: a private clone, so that the caller's own stays logical."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import inf
from typing import Any

from ...routing.context import DEADLINE_HEADER, ContextDeadline
from .exchange import Attempt, Exchange
from .rule_actions import wire_form

ORIGINATED = {"http": "https", "ws": "wss"}
PHASES = ("connect", "read", "write", "pool")


def wire_request(attempt: Attempt, remaining: float) -> Any:
    """The clone for the attempt's endpoint, to be answered within `remaining` seconds; where a deadline is in force,
    the next hop is told.

    `Host:` stays what the caller's URL says. Certificates are checked against that name too (or the cluster's
    `tls_name`), though the socket goes to the endpoint. The deadline can only shorten httpx's own time-outs. The URL
    of a Unix socket's endpoint stays whole: there the transport has the address.
    """
    exchange: Exchange = attempt.what
    cluster, endpoint = attempt.cluster, attempt.endpoint
    assert endpoint is not None
    request = exchange.request
    extensions = dict(request.extensions)
    asked = extensions.get("timeout")
    if remaining < inf or asked is not None:
        extensions["timeout"] = shortened(asked or {}, remaining)
    url = request.url
    if cluster.tls and url.scheme in ORIGINATED:
        url = url.copy_with(scheme=ORIGINATED[url.scheme])
    if url.scheme in ("https", "wss"):
        extensions.setdefault("sni_hostname", cluster.tls_name or url.host)
    if not endpoint.host.startswith("unix:"):
        url = url.copy_with(host=endpoint.host, port=endpoint.port)
    headers = request.headers
    if exchange.shadow or not attempt.decision.plain:
        url, headers = wire_form(attempt, url, headers)
    if exchange.deadline < inf and DEADLINE_HEADER not in headers:
        headers = headers.copy()
        headers[DEADLINE_HEADER] = told_deadline(remaining)
    wire = exchange.family.lib.Request(
        request.method, url, headers=headers, stream=request.stream, extensions=extensions
    )
    if hasattr(request, "_content"):
        wire._content = request._content
    return wire


def told_deadline(remaining: float) -> str:
    """How the next hop is told that it has `remaining` seconds: Linkerd's `l5d-ctx-deadline`."""
    now = time.time()
    return str(ContextDeadline(now, now + remaining))


def shortened(asked: Mapping[str, float | None], remaining: float) -> dict[str, float | None]:
    """The time-outs that were asked for, by phase, and none of them above `remaining` seconds."""
    if remaining == inf:
        return dict(asked)
    left = max(remaining, 0.001)
    return {phase: min(left, inf if (limit := asked.get(phase)) is None else limit) for phase in PHASES}

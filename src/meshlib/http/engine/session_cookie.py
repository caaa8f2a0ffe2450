"""How does a caller without a session cookie come to one, so that its calls stick to one endpoint?

The cookie is made up by us and set in the answer, as Envoy does where a cookie's hash policy has a `ttl`. The client's
own jar takes it and sends it from then on; the server need not know of it.
"""

from __future__ import annotations

from typing import Any

from ...balancing.hashing import hash64
from ...routing.split import Sticky, StickyKey
from .exchange import Exchange


def made_up(exchange: Exchange) -> str:
    """The value for one exchange: the same for all its attempts, and hardly ever that of another."""
    return f"{hash64(f'{exchange.start!r} {id(exchange)}'):016x}"


def key_of(sticky: Sticky, exchange: Exchange) -> int | None:
    """What a hashing balancer goes by."""
    return sticky.hash(exchange.route, None if sticky.session is None else made_up(exchange))


def set_session(session: StickyKey, exchange: Exchange, response: Any) -> None:
    """Set the cookie, if the request had none."""
    if session.value(exchange.route):
        return
    lasting = f"; Max-Age={session.ttl:.0f}" if session.ttl else ""
    text = f"{session.name}={made_up(exchange)}{lasting}; Path={session.path}; HttpOnly"
    response.headers = exchange.family.lib.Headers([*response.headers.raw, (b"set-cookie", text.encode())])
    if hasattr(response, "_sets_cookies"):
        response._sets_cookies = True

"""Has anybody put himself between httpx's clients and the network? Mocks and instrumentation do, by replacing methods.

The fast lane goes past those methods, so it may be used only while all of them are the library's own. What counts is
where a function's code comes from: a replacement has other code, whenever it was put there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from ..family import Family

_HOME: Final = str(Path(__file__).parents[1])
# What happens between `client.get` and the transport. Whoever overrides one of these in a class wants it called.
STEPS: Final = (
    "build_request",
    "request",
    "send",
    "_build_redirect_request",
    "_build_request_auth",
    "_merge_cookies",
    "_merge_headers",
    "_merge_queryparams",
    "_merge_url",
    "_send_handling_auth",
    "_send_handling_redirects",
    "_send_single_request",
    "_transport_for_url",
)
_NAMES: Final = frozenset(STEPS)
# What a class may make afresh for each request, where the lean path would use what it found once.
_SETTINGS: Final = frozenset({
    "auth", "base_url", "cookies", "event_hooks", "follow_redirects", "headers", "params", "timeout",
    "_build_request_auth", "_enforce_trailing_slash", "_set_timeout",
})  # fmt: skip
# What a client has when nobody has put anything there: as long as there are no more, none can be a step.
_USUAL: Final = frozenset({
    "_auth", "_base_url", "_cookies", "_default_encoding", "_event_hooks", "_headers", "_meshlib_door", "_mounts",
    "_params", "_state", "_timeout", "_transport", "_trust_env", "follow_redirects", "max_redirects",
})  # fmt: skip
_steps: Final = attrgetter(*STEPS)
_handle: Final = attrgetter("handle_async_request")
_ours_before: Final = attrgetter("request", "send", "_send_single_request")


class TransportPatches:
    """The library's own way from one client's default transport to the network."""

    __slots__ = ("_connection", "_known", "_pool", "_pool_kind", "_roots", "_transport", "_transport_kind")

    def __init__(self, family: Family, transport: Any) -> None:
        self._transport = transport.__dict__
        self._transport_kind = type(transport)
        self._pool = transport._pool.__dict__
        self._pool_kind = type(transport._pool)
        core = sys.modules[self._pool_kind.__module__.partition(".")[0]]
        self._connection: Any = core.AsyncHTTPConnection
        self._roots = _root(family.lib), _root(core)
        self._known: tuple[Any, ...] = (None, None, None)  # what was found when all was well

    def untouched(self) -> bool:
        transport, pool, connection = self._known
        return (
            (
                # By `is` here and below: a tracer's wrapper is equal to what it wraps.
                (
                    self._transport_kind.handle_async_request is transport
                    and self._pool_kind.handle_async_request is pool
                    and self._connection.handle_async_request is connection
                )
                or self._written((*map(_handle, (self._transport_kind, self._pool_kind, self._connection)),))
            )
            and len(self._transport) == 1  # its pool, and nothing that was put there since
            and "handle_async_request" not in self._pool
        )

    def _written(self, found: tuple[Any, ...]) -> bool:
        if not _written(found, self._roots):
            return False
        self._known = found
        return True


class ClientPatches:
    """The library's own steps of one client, from `request` to `_send_single_request`."""

    __slots__ = ("_kind", "_known", "_number", "_roots", "_theirs", "_way")

    def __init__(self, family: Family, kind: type[Any], way: TransportPatches) -> None:
        self._kind = kind
        self._way = way
        self._theirs = family.lib.AsyncClient
        self._roots = _root(family.lib), _HOME
        self._known: tuple[Any, ...] = (None,) * (len(STEPS) + 3)
        self._number = -1  # of the client's attributes when it had the usual ones alone

    def untouched(self, own: dict[str, Any]) -> bool:
        """Whether they, and the way beneath them, are the library's for the client whose attributes are `own`."""
        # Ours stand before some of theirs; a tracer that replaces theirs still wants to see every call.
        kind, theirs, known = self._kind, self._theirs, self._known
        return (
            (
                (
                    kind.build_request is known[0]
                    and kind.request is known[1]
                    and kind.send is known[2]
                    and kind._build_redirect_request is known[3]
                    and kind._build_request_auth is known[4]
                    and kind._merge_cookies is known[5]
                    and kind._merge_headers is known[6]
                    and kind._merge_queryparams is known[7]
                    and kind._merge_url is known[8]
                    and kind._send_handling_auth is known[9]
                    and kind._send_handling_redirects is known[10]
                    and kind._send_single_request is known[11]
                    and kind._transport_for_url is known[12]
                    and theirs.request is known[13]
                    and theirs.send is known[14]
                    and theirs._send_single_request is known[15]
                )
                or self._written((*_steps(kind), *_ours_before(theirs)))
            )
            and (len(own) == self._number or self._own_none(own))
            and self._way.untouched()
        )

    def _own_none(self, own: dict[str, Any]) -> bool:
        if own.keys() <= _USUAL:
            self._number = len(own)
        return _NAMES.isdisjoint(own)

    def _written(self, found: tuple[Any, ...]) -> bool:
        if not _written(found, self._roots):
            return False
        self._known = found
        return True


def _written(functions: Iterable[Any], roots: tuple[str, ...]) -> bool:
    """Whether all are as the libraries wrote them."""
    # Not `isinstance`: tracers' wrappers claim to be functions, and show the code of what they wrap.
    return all(type(one) is FunctionType and one.__code__.co_filename.startswith(roots) for one in functions)


def overridden(family: Family, kind: type[Any]) -> bool:
    """Whether a class that is neither the library's nor ours has steps or settings of its own."""
    roots = _root(family.lib), _HOME
    others = [one for one in kind.__mro__ if not _home(one).startswith(roots)]
    return any((_NAMES | _SETTINGS) & one.__dict__.keys() for one in others)


def original(function: Any, lib: Any) -> bool:
    """Whether `function` is the library's own."""
    return _written([function], (_root(lib),))


def _home(kind: type) -> str:
    return getattr(sys.modules.get(kind.__module__), "__file__", None) or ""


def _root(module: Any) -> str:
    return str(Path(module.__file__).parent)

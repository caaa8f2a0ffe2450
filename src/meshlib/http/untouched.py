"""Has anybody put himself between httpx's clients and the network? Mocks and instrumentation do, by replacing methods.

The fast lane goes past those methods, so it may be used only while all of them are the library's own. What counts is
where a function's code comes from: a replacement has other code, whenever it was put there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from .family import Family

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


class Watch:
    """Some methods of one class: are they as they were written?"""

    __slots__ = ("_kind", "_known", "_look", "_roots")

    def __init__(self, kind: Any, names: tuple[str, ...], *roots: str) -> None:
        self._kind = kind
        self._look: Callable[[Any], Any] = attrgetter(*names)
        self._roots = roots
        self._known: Any = None  # what was found when all was well

    def untouched(self) -> bool:
        found = self._look(self._kind)
        known = self._known
        if known is not None:
            return bool(found == known)  # functions are equal only to themselves
        # Not `isinstance`: tracers' wrappers claim to be functions, and show the code of what they wrap.
        functions = found if isinstance(found, tuple) else (found,)
        if all(type(one) is FunctionType and one.__code__.co_filename.startswith(self._roots) for one in functions):
            self._known = found
            return True
        return False


class Way:
    """The library's own way from one client's default transport to the network."""

    __slots__ = ("_transport", "_watches")

    def __init__(self, family: Family, transport: Any) -> None:
        self._transport = transport
        pool = type(transport._pool)
        core = sys.modules[pool.__module__.partition(".")[0]]
        network = _root(core)
        self._watches = (
            Watch(type(transport), ("handle_async_request",), _root(family.lib)),
            Watch(pool, ("handle_async_request",), network),
            Watch(core.AsyncHTTPConnection, ("handle_async_request",), network),
        )

    def untouched(self) -> bool:
        transport = self._transport
        return (
            len(transport.__dict__) == 1  # its pool, and nothing that was put there since
            and "handle_async_request" not in transport._pool.__dict__
            and all(watch.untouched() for watch in self._watches)
        )


class Steps:
    """The library's own steps of one client, from `request` to `_send_single_request`."""

    __slots__ = ("_client", "_theirs")

    def __init__(self, family: Family, kind: type[Any]) -> None:
        library = _root(family.lib)
        self._client = Watch(kind, STEPS, library, _HOME)
        # Ours stand before these; a tracer that replaces them still wants to see every call.
        self._theirs = Watch(family.lib.AsyncClient, ("request", "send", "_send_single_request"), library)

    def untouched(self, client: Any) -> bool:
        return self._client.untouched() and self._theirs.untouched() and client.__dict__.keys().isdisjoint(_NAMES)


def original(function: Any, lib: Any) -> bool:
    """Whether `function` is the library's own."""
    return type(function) is FunctionType and function.__code__.co_filename.startswith(_root(lib))


def _root(module: Any) -> str:
    return str(Path(module.__file__).parent)

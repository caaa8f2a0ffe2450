"""Whatever the mesh raises through a client is also the fitting exception of httpx (or httpx2).

    BreakerOpen, NoEndpoint                 ConnectError      nothing was sent
    BulkheadFull, RateLimited, Throttled    PoolTimeout       nothing was sent: our own limits
    DeadlineExceeded                        ReadTimeout       ConnectTimeout when nothing was sent
    MeshError itself                        ReadError         the client was closed while it waited

So code written for httpx keeps catching what it caught, and code written for meshlib can be exact.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from ..errors import (
    BreakerOpen,
    BulkheadFull,
    DeadlineExceeded,
    MeshError,
    NoEndpoint,
    RateLimited,
    Rejected,
    Throttled,
)

_TWINS: dict[type[MeshError], tuple[str, str]] = {  # the exception of httpx, and the policy that raises it
    BreakerOpen: ("ConnectError", "breaker"),
    NoEndpoint: ("ConnectError", "balancer"),
    BulkheadFull: ("PoolTimeout", "bulkhead"),
    RateLimited: ("PoolTimeout", "rate limit"),
    Throttled: ("PoolTimeout", "throttle"),
    Rejected: ("ConnectError", "gate"),
    DeadlineExceeded: ("ReadTimeout", "deadline"),
    MeshError: ("ReadError", "mesh"),
}


class Errors:
    """The exceptions of one family: which of its own mean what, and ours in its dress."""

    def __init__(self, lib: ModuleType) -> None:
        source: Any = lib
        self.transport: type[Exception] = source.TransportError
        self.not_sent: tuple[type[Exception], ...] = (source.ConnectError, source.ConnectTimeout)
        self.slow: tuple[type[Exception], ...] = (source.ReadTimeout, source.WriteTimeout)
        self.own_fault: tuple[type[Exception], ...] = (
            source.PoolTimeout,
            source.LocalProtocolError,
            source.UnsupportedProtocol,
            source.ProxyError,
        )
        self.decoding: type[Exception] = source.DecodingError
        self._lib = source

    def dress(self, error: MeshError, request: Any) -> MeshError:
        """The same error as an exception of this family, with `.request` set and the kind of its `.policy`."""
        if isinstance(error, self.transport):
            return error
        twin, policy = next(_TWINS[kind] for kind in type(error).__mro__ if kind in _TWINS)
        if twin == "ReadTimeout" and not getattr(error, "sent", True):
            twin = "ConnectTimeout"
        dressed = _bare(self._lib.__name__, type(error), twin, error.args)
        dressed.__dict__.update(error.__dict__, policy=policy, _request=request)
        dressed.__cause__, dressed.__context__ = error.__cause__, error.__context__
        return dressed.with_traceback(error.__traceback__)


def _bare(lib: str, ours: Any, twin: str, args: tuple[Any, ...]) -> MeshError:
    """An error of ours in the dress of `lib`, with nothing set but its arguments. Pickled ones are made again by it."""
    kind = _class(lib, ours, twin)
    error = kind.__new__(kind, *args)
    error.args = args  # which some make of themselves only in `__init__`
    return error


@cache
def _class(lib: str, ours: Any, twin: str) -> type[MeshError]:
    body = {
        "__doc__": ours.__doc__,
        "__module__": __name__,
        "__reduce__": lambda error: (_bare, (lib, ours, twin, error.args), error.__dict__),
    }
    return type(ours.__name__, (ours, getattr(import_module(lib), twin)), body)

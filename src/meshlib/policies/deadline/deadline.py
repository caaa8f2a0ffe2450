"""Deadline: the time by which everything inside it must end; nested calls inherit it.

It is kept in a contextvar, so child tasks inherit it; threads get it through `carry` (or through `asyncio.to_thread`
and `anyio.to_thread.run_sync`, which copy the context). A nested deadline can only shorten it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar, Token
from math import inf
from types import TracebackType
from typing import ParamSpec, TypeVar

from ...runtime import SYSTEM, Runtime
from ..shell import checks

P = ParamSpec("P")
R = TypeVar("R")

_DEADLINE: ContextVar[float] = ContextVar("meshlib.deadline", default=inf)

current: Callable[[], float] = _DEADLINE.get
"""The deadline in force here, in monotonic seconds; `inf` where there is none."""

enter: Callable[[float], Token[float]] = _DEADLINE.set
reset: Callable[[Token[float]], None] = _DEADLINE.reset


def leave(token: Token[float]) -> None:
    """End what `enter` began. In another context (a generator that is closed elsewhere) it does nothing."""
    try:
        _DEADLINE.reset(token)
    except ValueError:
        pass


def remaining(*, runtime: Runtime = SYSTEM) -> float:
    """The seconds left until the deadline in force here: never below 0, `inf` where there is none.

    A sync call cannot be cancelled: pass the rest to code with a timeout of its own, as in
    `socket.settimeout(meshlib.remaining())`.
    """
    return max(0.0, _DEADLINE.get() - runtime.now())


class deadline:
    """`with meshlib.deadline(2.0):` gives everything inside at most 2.0 seconds in all; nested ones only shorten.

    Mesh requests and calls guarded by a retry, a timeout or the like end by it with `DeadlineExceeded`; other code can
    call `remaining()`. It does not interrupt plain code, nor functions guarded by gates alone (a breaker, a bulkhead):
    use a `Timeout` for those. Raises ValueError for seconds below 0 or NaN.
    """

    __slots__ = ("_runtime", "_seconds", "_token", "at")

    def __init__(self, seconds: float, *, runtime: Runtime = SYSTEM) -> None:
        # A float of at least 0 is valid: the common case, at a tenth of the cost of the check.
        valid = type(seconds) is float and seconds >= 0.0
        self._seconds = seconds if valid else checks.seconds("seconds", seconds, zero=True, infinite=True)
        self._runtime = runtime
        self.at: float = inf  # monotonic seconds, once entered

    def __enter__(self) -> deadline:
        at, outer = self._runtime.now() + self._seconds, _DEADLINE.get()
        self.at = at = at if at < outer else outer
        self._token = _DEADLINE.set(at)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            _DEADLINE.reset(self._token)
        except ValueError:  # see `leave`
            pass


def carry(fn: Callable[P, R]) -> Callable[P, R]:
    """`fn`, to be run in another thread under the deadline that is in force here: `pool.submit(carry(work), …)`."""
    at = _DEADLINE.get()

    @functools.wraps(fn)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _DEADLINE.set(min(at, _DEADLINE.get()))
        try:
            return fn(*args, **kwargs)
        finally:
            _DEADLINE.reset(token)

    return carried

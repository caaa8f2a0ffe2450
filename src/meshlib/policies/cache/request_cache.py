"""Request cache and single flight: equal calls share one run, within one request or at the same time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from contextvars import ContextVar, Token
from math import inf
from types import TracebackType
from typing import Any, ClassVar, cast

from ... import forked
from ...call import AsyncStep, Call, Classifier, R, Step
from ...runtime import SYSTEM, Runtime
from ..deadline import deadline
from ..deadline.deadline_timer import bounded, bounded_async
from ..shell import checks
from ..shell.call_policy import CallPolicy, F, call_key, pack
from ..shell.codegen import is_coroutine_function
from .flight import Flight, share, share_async

_SCOPE: ContextVar[dict[Hashable, Flight[Any]] | None] = ContextVar("meshlib.request_scope", default=None)


class _Scope:
    """The scope that the forking thread was in, in a forked child."""

    def __init__(self) -> None:
        forked.register(self)

    def _after_fork(self) -> None:
        _forget_runs(_SCOPE.get() or {})


_scope = _Scope()


def _forget_runs(flights: dict[Hashable, Flight[Any]]) -> None:
    """In a forked child: what is not over runs in the parent, and would never end here."""
    for place, flight in list(flights.items()):
        flight._after_fork()
        if flight.outcome is None:
            del flights[place]


class request_scope:
    """`with meshlib.request_scope():` inside, functions under a `RequestCache` run once for equal arguments.

    One scope is one request of a server, one job, one page; child tasks share it. The results are dropped at its end.
    A scope within a scope begins empty.
    """

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token: Token[dict[Hashable, Flight[Any]] | None] = _SCOPE.set({})

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            _SCOPE.reset(self._token)
        except ValueError:
            pass  # left in another context (a generator that is closed elsewhere): nothing to end here


class _SharedRuns(CallPolicy):
    """Equal calls share one run. Equal are calls of equal `key(*args, **kwargs)`; default: all arguments."""

    shares = True
    keeps_results: ClassVar[bool] = False  # whether a result is kept after the run

    def __init__(self, *, key: Callable[..., Hashable] | None, name: str, runtime: Runtime) -> None:
        super().__init__(name, runtime=runtime)
        self.key: Callable[..., Hashable] | None = checks.function("key", key, "the arguments")
        self._own: dict[Hashable, Flight[Any]] = {}

    def _after_fork(self) -> None:
        super()._after_fork()
        _forget_runs(self._own)

    # One policy may guard many functions, and their calls are never equal: hence `step` in the key.
    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        key, own, keeps = self.key, self._own, self.keeps_results

        def shared(call: Call) -> R:
            flights: dict[Hashable, Flight[R]] | None = self._flights(own)
            if flights is None:
                return step(call)
            same = step, call_key(call, key)
            flight = flights.get(same)
            if flight is None:
                new: Flight[R] = Flight(running=True)
                flight = flights.setdefault(same, new)
                runs = flight is new
            elif keeps and flight.outcome is not None and flight.outcome[1] is None:
                return cast(R, flight.outcome[0])
            else:
                runs = False
            try:
                return share(flight, runs, step, call, call.deadline, run, self.name)
            finally:
                self._drop(flights, same, flight)

        return shared

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        key, own, keeps = self.key, self._own, self.keeps_results

        async def shared(call: Call) -> R:
            flights = self._flights(own)
            if flights is None:
                return await step(call)
            same = step, call_key(call, key)
            flight = flights.get(same)
            if flight is None:
                new: Flight[R] = Flight(running=True)
                flight = flights.setdefault(same, new)
                runs = flight is new
            elif keeps and flight.outcome is not None and flight.outcome[1] is None:
                return cast(R, flight.outcome[0])
            else:
                runs = False
            try:
                return await share_async(flight, runs, step, call, call.deadline, run)
            finally:
                self._drop(flights, same, flight)

        return shared

    def _drop(self, flights: dict[Hashable, Flight[Any]], same: Hashable, flight: Flight[Any]) -> None:
        """Remove the flight once it has ended, or has no members left."""
        outcome = flight.outcome
        ended = flight.members == 0 if outcome is None else not self.keeps_results or outcome[1] is not None
        if ended and flights.get(same) is flight:
            flights.pop(same, None)

    def _flights(self, own: dict[Hashable, Flight[Any]]) -> dict[Hashable, Flight[Any]] | None:
        return own


class SingleFlight(_SharedRuns):
    """Equal calls that overlap are one call: the first runs, the others wait for its result (or its error).

    If the caller that runs it is cancelled, a waiting one runs it again; a waiting caller that is cancelled leaves
    alone. After Go's singleflight; Hystrix has it within its collapser. Results are shared, so do not change them.
    Raises ValueError for values out of range.
    """

    def __init__(
        self, *, key: Callable[..., Hashable] | None = None, name: str = "single flight", runtime: Runtime = SYSTEM
    ) -> None:
        super().__init__(key=key, name=name, runtime=runtime)


class RequestCache(_SharedRuns):
    """Within a `request_scope`, equal calls run once, overlapping or not; errors are not kept. Outside: no cache.

    After Hystrix's request cache (which keeps errors too). Raises ValueError for values out of range.
    """

    keeps_results = True

    def __init__(
        self, *, key: Callable[..., Hashable] | None = None, name: str = "request cache", runtime: Runtime = SYSTEM
    ) -> None:
        super().__init__(key=key, name=name, runtime=runtime)

    def guard(self, fn: F, run: Runtime, classify: Classifier, *, inner: bool = False) -> F:
        # A kept result is returned before a `Call` is made. With a deadline, or a key, the full way is taken.
        if inner or self.key is not None:
            return super().guard(fn, run, classify, inner=inner)
        steps: list[Callable[[Call], Any]] = []

        def over(leaf: Step[Any]) -> Step[Any]:
            steps.append(leaf)
            return bounded(self.wrap(leaf, run, classify), run)

        def over_async(leaf: AsyncStep[Any]) -> AsyncStep[Any]:
            steps.append(leaf)
            return bounded_async(self.wrap_async(leaf, run, classify), run)

        slow: Any = pack(fn, over, over_async)
        step, scope, due = steps[0], _SCOPE.get, deadline.current

        def kept(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
            flights = scope()
            if not flights or due() < inf:
                return None
            equal = args, tuple(sorted(kwargs.items())) if kwargs else ()  # as `identity` says
            flight = flights.get((step, equal))
            return None if flight is None else flight.outcome

        if is_coroutine_function(fn):

            @functools.wraps(fn)
            async def guarded_async(*args: Any, **kwargs: Any) -> Any:
                outcome = kept(args, kwargs)
                return outcome[0] if outcome is not None and outcome[1] is None else await slow(*args, **kwargs)

            return cast("F", guarded_async)

        @functools.wraps(fn)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            outcome = kept(args, kwargs)
            return outcome[0] if outcome is not None and outcome[1] is None else slow(*args, **kwargs)

        return cast("F", guarded)

    def _flights(self, own: dict[Hashable, Flight[Any]]) -> dict[Hashable, Flight[Any]] | None:
        return _SCOPE.get()

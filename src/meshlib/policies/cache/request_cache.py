"""Has this been asked already? Within one request: a scope remembers. At the same moment: equal calls share one run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from contextvars import ContextVar, Token
from math import inf
from types import TracebackType
from typing import Any, ClassVar, cast

from ...call import AsyncStep, Call, Classifier, R, Step
from ...runtime import SYSTEM, Runtime
from ..deadline import deadline
from ..deadline.deadline_timer import bounded, bounded_async
from ..shell import checks
from ..shell.call_policy import CallPolicy, F, call_key, pack
from ..shell.codegen import is_coroutine_function
from .flight import Flight, share, share_async

_SCOPE: ContextVar[dict[Hashable, Flight[Any]] | None] = ContextVar("meshlib.request_scope", default=None)


class request_scope:
    """`with meshlib.request_scope():` inside, functions under a `RequestCache` run once for equal arguments.

    One scope is one request of a server, one job, one page; child tasks share it. What was remembered goes with it.
    A scope within a scope begins empty.
    """

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token: Token[dict[Hashable, Flight[Any]] | None] = _SCOPE.set({})

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            _SCOPE.reset(self._token)
        except ValueError:
            pass  # left from another context (a generator that is closed elsewhere): nothing to end here


class _Shares(CallPolicy):
    """Equal calls share one run. What equal means is said by `key(*args, **kwargs)`; default: all arguments."""

    shares = True
    remembers: ClassVar[bool] = False  # whether a good outcome stays when the run is over

    def __init__(self, *, key: Callable[..., Hashable] | None, name: str, runtime: Runtime) -> None:
        super().__init__(name, runtime=runtime)
        self.key = checks.function("key", key, "the arguments")

    # One policy may guard many functions, and their calls are never equal: hence `step` in the place.
    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        key, own, remembers = self.key, dict[Hashable, Flight[R]](), self.remembers

        def shared(call: Call) -> R:
            flights = self._flights(own)
            if flights is None:
                return step(call)
            place = step, call_key(call, key)
            flight = flights.get(place)
            if flight is None:
                new: Flight[R] = Flight(led=True)
                flight = flights.setdefault(place, new)
                leads = flight is new
            elif remembers and flight.outcome is not None and flight.outcome[1] is None:
                return cast(R, flight.outcome[0])
            else:
                leads = False
            try:
                return share(flight, leads, step, call, call.deadline, run, self.name)
            finally:
                self._landed(flights, place, flight)

        return shared

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        key, own, remembers = self.key, dict[Hashable, Flight[R]](), self.remembers

        async def shared(call: Call) -> R:
            flights = self._flights(own)
            if flights is None:
                return await step(call)
            place = step, call_key(call, key)
            flight = flights.get(place)
            if flight is None:
                new: Flight[R] = Flight(led=True)
                flight = flights.setdefault(place, new)
                leads = flight is new
            elif remembers and flight.outcome is not None and flight.outcome[1] is None:
                return cast(R, flight.outcome[0])
            else:
                leads = False
            try:
                return await share_async(flight, leads, step, call, call.deadline, run)
            finally:
                self._landed(flights, place, flight)

        return shared

    def _landed(self, flights: dict[Hashable, Flight[Any]], place: Hashable, flight: Flight[Any]) -> None:
        """Forget the flight once it is over, or nobody is in it any more."""
        outcome = flight.outcome
        forgets = flight.members == 0 if outcome is None else not self.remembers or outcome[1] is not None
        if forgets and flights.get(place) is flight:
            flights.pop(place, None)

    def _flights(self, own: dict[Hashable, Flight[R]]) -> dict[Hashable, Flight[R]] | None:
        return own


class SingleFlight(_Shares):
    """Equal calls that overlap are one call: the first runs, the others wait for its result (or its error).

    If the one who runs it is cancelled, one of those who wait begins again; their own cancellations touch nobody else.
    After Go's singleflight; Hystrix has it within its collapser. Results are shared, so do not change them.
    Raises ValueError for values without sense.
    """

    def __init__(
        self, *, key: Callable[..., Hashable] | None = None, name: str = "single flight", runtime: Runtime = SYSTEM
    ) -> None:
        super().__init__(key=key, name=name, runtime=runtime)


class RequestCache(_Shares):
    """Within a `request_scope`, equal calls run once, overlapping or not; errors are not remembered. Outside: no cache.

    After Hystrix's request cache (which remembers errors too). Raises ValueError for values without sense.
    """

    remembers = True

    def __init__(
        self, *, key: Callable[..., Hashable] | None = None, name: str = "request cache", runtime: Runtime = SYSTEM
    ) -> None:
        super().__init__(key=key, name=name, runtime=runtime)

    def guard(self, fn: F, run: Runtime, classify: Classifier, *, inner: bool = False) -> F:
        # What is remembered is given before anything is packed into a `Call`. A deadline, or a key, goes the whole way.
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

        def known(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
            flights = scope()
            if not flights or due() < inf:
                return None
            equal = args, tuple(sorted(kwargs.items())) if kwargs else ()  # as `identity` says
            flight = flights.get((step, equal))
            return None if flight is None else flight.outcome

        if is_coroutine_function(fn):

            @functools.wraps(fn)
            async def guarded_async(*args: Any, **kwargs: Any) -> Any:
                outcome = known(args, kwargs)
                return outcome[0] if outcome is not None and outcome[1] is None else await slow(*args, **kwargs)

            return cast("F", guarded_async)

        @functools.wraps(fn)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            outcome = known(args, kwargs)
            return outcome[0] if outcome is not None and outcome[1] is None else slow(*args, **kwargs)

        return cast("F", guarded)

    def _flights(self, own: dict[Hashable, Flight[R]]) -> dict[Hashable, Flight[R]] | None:
        return _SCOPE.get()

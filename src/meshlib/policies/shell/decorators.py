"""The lower-case decorators: `@retry`, `@retry(attempts=5)`, `@circuit_breaker(name="payments", cooldown=5.0)`.

Each stands for its policy and takes what the policy takes. The decorated function keeps its type, and a policy that was
given no name is named after the function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import EllipsisType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from ..breaker.circuit_breaker import CircuitBreaker
from ..cache.request_cache import RequestCache, SingleFlight
from ..concurrency.adaptive_limit import AdaptiveLimit
from ..concurrency.bulkhead import Bulkhead
from ..deadline.timeout import Timeout
from ..fallback import Fallback
from ..rate.rate_limit import RateLimit
from ..retry.hedge import Hedge
from ..retry.retry import Retry
from ..throttle.throttle import Throttle
from .classifiers import Errors

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])


class _Guards(Protocol):
    def __call__(self, fn: F, /) -> F: ...


class Decorator(Generic[P]):
    """Makes a policy and guards a function with it. Bare, the policy has its defaults."""

    def __init__(self, policy: Callable[P, _Guards]) -> None:
        self._policy = policy
        self.__doc__ = policy.__doc__

    @overload
    def __call__(self, fn: F, /) -> F: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Callable[[F], F]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and callable(args[0]):
            return named_after(self._policy)(args[0])
        return named_after(self._policy, *args, **kwargs)


def named_after(policy: Callable[..., _Guards], *args: Any, **kwargs: Any) -> Callable[[F], F]:
    """A decorator that makes the policy: once if it is named (then all functions share it), else one per function."""
    made = policy(*args, **kwargs)  # also where nobody named it: nonsense is refused here, not at the function
    if "name" in inspect.signature(policy).bind(*args, **kwargs).arguments:
        return made

    def decorate(fn: F) -> F:
        name = getattr(fn, "__name__", None)
        return (policy(*args, **kwargs, name=name) if name else made)(fn)

    return decorate


circuit_breaker = Decorator(CircuitBreaker)
retry = Decorator(Retry)
timeout = Decorator(Timeout)
bulkhead = Decorator(Bulkhead)
adaptive_limit = Decorator(AdaptiveLimit)
rate_limit = Decorator(RateLimit)
throttle = Decorator(Throttle)
hedge = Decorator(Hedge)
single_flight = Decorator(SingleFlight)
request_cache = Decorator(RequestCache)


def fallback(
    value: Any = ...,
    *,
    instead: Callable[..., Any] | None = None,
    stale: float | None = None,
    key: Callable[..., Any] | None = None,
    on: Errors | None = None,
    **options: Any,
) -> Callable[[F], F]:
    """`@fallback(value)`, `@fallback(function_of_the_error)`, `@fallback(instead=other)`, `@fallback(stale=60.0)`.

    Never bare: there is no answer that would be right for everybody. See `Fallback`.
    """
    if isinstance(value, EllipsisType):
        return named_after(Fallback, instead=instead, stale=stale, key=key, on=on, **options)
    return named_after(Fallback, value, instead=instead, stale=stale, key=key, on=on, **options)

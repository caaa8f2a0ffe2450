"""Decorators: `@circuit_breaker`, `@circuit_breaker(name="payments", cooldown=5.0)`, `@retry(on=OSError)` and others.

Each makes its policy and takes its arguments; `help` and editors show them. The decorated function keeps its type, and
a policy without a name is named after the function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import EllipsisType
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

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


class Decorator(Protocol[P]):
    """Makes a policy and guards a function with it. Bare, the policy has its defaults."""

    @overload
    def __call__(self, fn: F, /) -> F: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Callable[[F], F]: ...


def _decorator(name: str, policy: Callable[P, _Guards]) -> Decorator[P]:
    """The decorator of `policy`: a function with its parameters and its documentation."""

    def decorator(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and callable(args[0]):
            return named_after(policy)(args[0])
        return named_after(policy, *args, **kwargs)

    decorator.__name__ = decorator.__qualname__ = name
    decorator.__doc__ = policy.__doc__
    shown = inspect.signature(policy).replace(return_annotation=inspect.Signature.empty)
    decorator.__signature__ = shown  # type: ignore[attr-defined]
    return cast("Decorator[P]", decorator)


def named_after(policy: Callable[..., _Guards], *args: Any, **kwargs: Any) -> Callable[[F], F]:
    """A decorator that makes the policy: once if it is named (then all functions share it), else one per function."""
    made = policy(*args, **kwargs)  # also without a name: bad arguments are refused here, not at the function
    if "name" in inspect.signature(policy).bind(*args, **kwargs).arguments:
        return made

    def decorate(fn: F) -> F:
        name = getattr(fn, "__name__", None)
        return (policy(*args, **kwargs, name=name) if name else made)(fn)

    return decorate


circuit_breaker = _decorator("circuit_breaker", CircuitBreaker)
retry = _decorator("retry", Retry)
timeout = _decorator("timeout", Timeout)
bulkhead = _decorator("bulkhead", Bulkhead)
adaptive_limit = _decorator("adaptive_limit", AdaptiveLimit)
rate_limit = _decorator("rate_limit", RateLimit)
throttle = _decorator("throttle", Throttle)
hedge = _decorator("hedge", Hedge)
single_flight = _decorator("single_flight", SingleFlight)
request_cache = _decorator("request_cache", RequestCache)


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

    Never bare: no answer is right for all functions. See `Fallback`.
    """
    if isinstance(value, EllipsisType):
        return named_after(Fallback, instead=instead, stale=stale, key=key, on=on, **options)
    return named_after(Fallback, value, instead=instead, stale=stale, key=key, on=on, **options)

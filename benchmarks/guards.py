"""What hot_path.py measures: for each policy, every way to guard a function that we know of, and the floor."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Decorate = Callable[[Any], Any]


class Failed(Exception):
    """What the function raises that opens a breaker."""


@dataclass
class Row:
    """One way to guard a function. `make` builds a new decorator; `peer` is the distribution that it needs."""

    name: str
    make: Callable[[], Decorate]
    peer: str | None = None
    make_async: Callable[[], Decorate] | None = None  # where it is another one
    sync: bool = True
    is_async: bool = True
    half_open: Callable[[], Decorate] | None = None  # a breaker whose probe is out


# --- the floors ---------------------------------------------------------------------------------------------------


def closure_breaker(fn: Any) -> Any:
    run, until = 0, 0.0

    if inspect.iscoroutinefunction(fn):

        async def guarded_async(x: Any) -> Any:
            nonlocal run, until
            if until and time.monotonic() < until:
                raise ConnectionError("open")
            try:
                result = await fn(x)
            except Exception:
                run += 1
                if run >= 5:
                    until = time.monotonic() + 30.0
                raise
            if run:
                run = 0
            return result

        return guarded_async

    def guarded(x: Any) -> Any:
        nonlocal run, until
        if until and time.monotonic() < until:
            raise ConnectionError("open")
        try:
            result = fn(x)
        except Exception:
            run += 1
            if run >= 5:
                until = time.monotonic() + 30.0
            raise
        if run:
            run = 0
        return result

    return guarded


def closure_retry(fn: Any) -> Any:
    if inspect.iscoroutinefunction(fn):

        async def guarded_async(x: Any) -> Any:
            for attempt in (1, 2, 3):
                try:
                    return await fn(x)
                except Exception:
                    if attempt == 3:
                        raise
            return None

        return guarded_async

    def guarded(x: Any) -> Any:
        for attempt in (1, 2, 3):
            try:
                return fn(x)
            except Exception:
                if attempt == 3:
                    raise
        return None

    return guarded


def closure_bulkhead(fn: Any) -> Any:
    places = [0] * 100
    take, put = places.pop, places.append

    if inspect.iscoroutinefunction(fn):

        async def guarded_async(x: Any) -> Any:
            take()
            try:
                return await fn(x)
            finally:
                put(0)

        return guarded_async

    def guarded(x: Any) -> Any:
        take()
        try:
            return fn(x)
        finally:
            put(0)

    return guarded


# --- ours ---------------------------------------------------------------------------------------------------------


def breaker(**settings: Any) -> Decorate:
    from meshlib import CircuitBreaker

    return CircuitBreaker("bench", **settings)


def half_open_breaker() -> Decorate:
    from meshlib import CircuitBreaker

    made = CircuitBreaker("bench", cooldown=3600.0, cooldown_max=3600.0)
    made.open()
    made.half_open()
    made.enter(time.monotonic())  # the one probe, which does not come back
    return made


def of(module: str, name: str, /, *args: Any, **settings: Any) -> Callable[[], Decorate]:
    """`from module import name`, made with these arguments, when it is needed."""

    def make() -> Decorate:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found(*args, **settings)  # type: ignore[operator,no-any-return]

    return make


def resilient(**parts: str) -> Callable[[], Decorate]:
    def make() -> Decorate:
        import pyresilience

        settings = {field: getattr(pyresilience, name)() for field, name in parts.items()}
        return pyresilience.resilient(**settings)  # type: ignore[no-any-return]

    return make


def purgatory(factory: str) -> Callable[[], Decorate]:
    return lambda: of("purgatory", factory)()("bench")  # type: ignore[no-any-return]


def tenacity() -> Decorate:
    import tenacity

    return tenacity.retry(stop=tenacity.stop_after_attempt(3), reraise=True)


def backoff() -> Decorate:
    import backoff

    return backoff.on_exception(backoff.expo, Exception, max_tries=3)  # type: ignore[no-any-return]


# --- the table ----------------------------------------------------------------------------------------------------

SECTIONS: dict[str, list[Row]] = {
    "breaker": [
        Row("meshlib, 5 in a row", breaker, half_open=half_open_breaker),
        Row("meshlib, rate of 100 calls", lambda: breaker(failure_rate=0.5, window_calls=100)),
        Row("meshlib, rate over 10 s", lambda: breaker(failure_rate=0.5, window=10.0)),
        Row("meshlib, rate and slow calls", lambda: breaker(failure_rate=0.5, slow_call_rate=0.5, slow_call=1.0)),
        Row("meshlib, failure by result", lambda: breaker(failure_result=lambda result: result is None)),
        Row("closure", lambda: closure_breaker),
        Row("resilix", of("resilix", "CircuitBreaker", failures=5), "resilix"),
        Row("circuitbreaker", of("circuitbreaker", "CircuitBreaker", failure_threshold=5), "circuitbreaker"),
        Row("pybreaker", of("pybreaker", "CircuitBreaker", fail_max=5), "pybreaker", is_async=False),
        Row("aiobreaker", of("aiobreaker", "CircuitBreaker", fail_max=5), "aiobreaker"),
        Row("purgatory", purgatory("SyncCircuitBreakerFactory"), "purgatory", purgatory("AsyncCircuitBreakerFactory")),
        Row("nopanic", of("nopanic", "circuit_breaker"), "nopanic"),
        Row("interlock", of("interlock", "CircuitBreaker", name="bench"), "interlock-cb"),
        Row("pyresilience", resilient(circuit_breaker="CircuitBreakerConfig"), "pyresilience"),
        Row("hyx", of("hyx.circuitbreaker", "consecutive_breaker"), "hyx", sync=False),
        Row("fluxgate", of("fluxgate", "CircuitBreaker"), "fluxgate", of("fluxgate", "AsyncCircuitBreaker")),
    ],
    "retry": [
        Row("meshlib", of("meshlib", "Retry", attempts=3)),
        Row("closure", lambda: closure_retry),
        Row("tenacity", tenacity, "tenacity"),
        Row("stamina", of("stamina", "retry", on=Exception, attempts=3), "stamina"),
        Row("backoff", backoff, "backoff"),
        Row("nopanic", of("nopanic", "retry", attempts=3), "nopanic"),
        Row("resilix", of("resilix", "protect.when", Exception, retry=3), "resilix"),
        Row("pyresilience", resilient(retry="RetryConfig"), "pyresilience"),
    ],
    "bulkhead": [
        Row("meshlib", of("meshlib", "Bulkhead", 100)),
        Row("closure", lambda: closure_bulkhead),
        Row("nopanic", of("nopanic", "bulkhead", 100), "nopanic"),
        Row("resilix", of("resilix", "protect.bulkhead", 100), "resilix"),
        Row("pyresilience", resilient(bulkhead="BulkheadConfig"), "pyresilience"),
    ],
}

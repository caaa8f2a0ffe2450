"""Rows of hot_path.py for the gates that bound concurrency and rates: ours, the floors, the peers that have them."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from guards import Decorate, Row, of


def closure_rate(fn: Any) -> Any:
    """A token bucket of a million a second, safe under threads, in one function."""
    interval, depth, full_at, lock, now = 1e-6, 1.0, 0.0, Lock(), time.monotonic

    def take() -> None:
        nonlocal full_at
        at = now()
        with lock:
            after = (full_at if full_at > at else at) + interval
            if after - at > depth:
                raise ConnectionError("limited")
            full_at = after

    if inspect.iscoroutinefunction(fn):

        async def guarded_async(x: Any) -> Any:
            take()
            return await fn(x)

        return guarded_async

    def guarded(x: Any) -> Any:
        take()
        return fn(x)

    return guarded


def pyresilience(part: str, config: str, **settings: Any) -> Callable[[], Decorate]:
    def make() -> Decorate:
        module = importlib.import_module("pyresilience")
        return module.resilient(**{part: getattr(module, config)(**settings)})  # type: ignore[no-any-return]

    return make


def hyx_bucket() -> Decorate:
    return of("hyx.ratelimit", "tokenbucket", 1e6, 1.0, 1e6)()


def aiolimiter() -> Decorate:
    """It is no decorator: the shortest one around it."""
    limiter = importlib.import_module("aiolimiter").AsyncLimiter(1e6, 1.0)

    def decorate(fn: Any) -> Any:
        async def guarded(x: Any) -> Any:
            async with limiter:
                return await fn(x)

        return guarded

    return decorate


def limits() -> Decorate:
    module = importlib.import_module("limits")
    strategy = module.strategies.FixedWindowRateLimiter(module.storage.MemoryStorage())
    item = module.RateLimitItemPerSecond(10**9)

    def decorate(fn: Any) -> Any:
        def guarded(x: Any) -> Any:
            if not strategy.hit(item, "bench"):
                raise ConnectionError("limited")
            return fn(x)

        return guarded

    return decorate


def semaphore() -> Decorate:
    """What asyncio itself has for it."""
    places = asyncio.Semaphore(100)

    def decorate(fn: Any) -> Any:
        async def guarded(x: Any) -> Any:
            async with places:
                return await fn(x)

        return guarded

    return decorate


def quiet_throttle() -> Decorate:
    module = importlib.import_module("meshlib.policies.throttle")
    return module.Throttle(name="bench")  # type: ignore[no-any-return]


GATES: dict[str, list[Row]] = {
    "bulkhead that may wait": [
        Row("meshlib", of("meshlib", "Bulkhead", 100, max_wait=1.0)),
        Row("nopanic", of("nopanic", "bulkhead", 100, max_wait=1.0), "nopanic"),
        Row(
            "pyresilience", pyresilience("bulkhead", "BulkheadConfig", max_concurrent=100, max_wait=1.0), "pyresilience"
        ),
        Row("hyx", of("hyx.bulkhead", "bulkhead", 100, 200), "hyx", sync=False),
        Row("asyncio.Semaphore", semaphore, sync=False),
    ],
    "rate limit": [
        Row("meshlib, token bucket", of("meshlib.policies.rate", "RateLimit", 1e6)),
        Row("meshlib, GCRA", lambda: of("meshlib.policies.rate", "RateLimit", _smooth())()),
        Row("meshlib, by key", of("meshlib.policies.rate", "RateLimit", 1e6, key=lambda x: x)),
        Row("closure", lambda: closure_rate),
        Row("nopanic", of("nopanic", "rate_limit", 1e6, burst=1e6), "nopanic"),
        Row("pyresilience", pyresilience("rate_limiter", "RateLimiterConfig", max_calls=10**9), "pyresilience"),
        Row("hyx", hyx_bucket, "hyx", sync=False),
        Row("aiolimiter", aiolimiter, "aiolimiter", sync=False),
        Row("limits", limits, "limits", is_async=False),
    ],
    "adaptive limit": [
        Row("meshlib, AIMD", lambda: _adaptive("AIMD")),
        Row("meshlib, Gradient2", lambda: _adaptive("Gradient2")),
        Row("meshlib, Vegas", lambda: _adaptive("Vegas")),
    ],
    "throttle": [Row("meshlib", quiet_throttle)],
}


def _smooth() -> Any:
    return importlib.import_module("meshlib.policies.rate").Smooth(1_000_000, 1.0, burst=1_000_000)


def _adaptive(kind: str) -> Decorate:
    limit = getattr(importlib.import_module("meshlib.policies.limits"), kind)()
    return importlib.import_module("meshlib.policies.limiter").AdaptiveLimit(limit, name="bench")  # type: ignore[no-any-return]

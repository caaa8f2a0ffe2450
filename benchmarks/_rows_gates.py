"""Rows of hot_path.py: what bounds how many calls there are at once, or in a second."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from guards import Decorate, Make, Row, Section, asking, interlock, is_async, of, pyresilience, within

# --- how many at once -----------------------------------------------------------------------------------------------


def closure_bulkhead(size: int) -> Make:
    def decorate(fn: Any) -> Any:
        places = [0] * size
        take, put = places.pop, places.append

        if is_async(fn):

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

    return lambda: decorate


def bulkhead(name: str, make: Callable[[int], Make], peer: str | None = None, **more: Any) -> Row:
    return Row(name, make(100), peer, failing=make(100), tight=make(1), **more)


def resilix_bulkhead(size: int) -> Make:
    return of("resilix", "protect.bulkhead", size, wait=False)


def pyresilient(size: int, wait: float = 0.0) -> Make:
    return pyresilience(bulkhead=("BulkheadConfig", {"max_concurrent": size, "max_wait": wait}))


BULKHEAD = Section(
    (
        bulkhead("meshlib", lambda n: of("meshlib", "Bulkhead", n)),
        bulkhead("closure", closure_bulkhead,
            why="its refusal is an IndexError of the list, and nobody can ask how many are in"),
        bulkhead("nopanic", lambda n: of("nopanic", "bulkhead", n, max_wait=0.0), "nopanic"),
        bulkhead("resilix", resilix_bulkhead, "resilix"),
        bulkhead("interlock", lambda n: interlock(lambda m: m.BulkheadStrategy(n)), "interlock-cb"),
        bulkhead("pyresilience", pyresilient, "pyresilience"),
        bulkhead("grit", lambda n: of("grit", "bulkhead", n, 0.0), "grit-toolkit"),
        bulkhead("aioresilience", lambda n: of("aioresilience", "bulkhead", n), "aioresilience", sync=False),
    ),
    refuses="fill",
)  # fmt: skip

PATIENT = Section(
    (
        Row("meshlib", of("meshlib", "Bulkhead", 100, max_wait=1.0)),
        Row("nopanic", of("nopanic", "bulkhead", 100, max_wait=1.0), "nopanic"),
        Row("resilix", of("resilix", "protect.bulkhead", 100), "resilix"),
        Row("pyresilience", pyresilient(100, 1.0), "pyresilience"),
        Row("hyx", of("hyx.bulkhead", "bulkhead", 100, 200), "hyx", sync=False),
        Row("asyncio.Semaphore", within(None, lambda: asyncio.Semaphore(100)), sync=False),
    ),
)


def executor() -> Decorate:
    pool = ThreadPoolExecutor(10)
    return lambda fn: lambda x: pool.submit(fn, x).result()


def bulkman() -> Decorate:
    module = importlib.import_module("bulkman")
    pool = module.BulkheadThreading(module.BulkheadConfig(name="bench", max_concurrent_calls=10))
    return lambda fn: lambda x: pool.execute(fn, x).result()


NO_THREADS = "it does not bound what waits: whoever comes is queued"
THREADS = Section(
    (
        Row("meshlib", of("meshlib", "ThreadBulkhead", 10), is_async=False, failing=of("meshlib", "ThreadBulkhead", 10),
            tight=of("meshlib", "ThreadBulkhead", 1)),
        Row("ThreadPoolExecutor", executor, is_async=False, failing=executor, why=NO_THREADS),
        Row("bulkman", bulkman, "bulkman", is_async=False, failing=bulkman),
    ),
    refuses="fill",
    about="Each call goes to another thread and comes back; CPU of both.",
)  # fmt: skip


# --- how many in a second -------------------------------------------------------------------------------------------


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

    if is_async(fn):

        async def guarded_async(x: Any) -> Any:
            take()
            return await fn(x)

        return guarded_async

    def guarded(x: Any) -> Any:
        take()
        return fn(x)

    return guarded


def ours(kind: str, *wide: Any, tight: tuple[Any, ...], **settings: Any) -> tuple[Make, Make]:
    def make(arguments: tuple[Any, ...]) -> Make:
        rate = of("meshlib", kind, *arguments)
        return lambda: of("meshlib", "RateLimit", rate(), **settings)()

    return make(wide), make(tight)


def rate(name: str, makes: tuple[Make, Make | None], peer: str | None = None, **more: Any) -> Row:
    """A limit that never refuses here, and one of a few permits an hour."""
    return Row(name, makes[0], peer, tight=makes[1], **more)


def limits(strategy: str) -> tuple[Make, Make]:
    def ask(item: str, amount: int) -> Callable[[], Callable[[], object]]:
        def make() -> Callable[[], object]:
            module = importlib.import_module("limits")
            hit = getattr(module.strategies, strategy)(module.storage.MemoryStorage()).hit
            quota = getattr(module, item)(amount)
            return lambda: hit(quota, "bench")

        return make

    return asking(ask("RateLimitItemPerSecond", 10**9)), asking(ask("RateLimitItemPerHour", 3))


def pyrate(algorithm: str, log: bool = False) -> tuple[Make, Make]:
    def ask(amount: int, interval: int) -> Callable[[], Callable[[], object]]:
        def make() -> Callable[[], object]:
            module = importlib.import_module("pyrate_limiter")
            bucket = module.InMemoryBucket if log else module.StateBucket
            made = bucket([module.Rate(amount, interval)], algorithm=getattr(module, algorithm)())
            limiter = module.Limiter(made)
            return lambda: limiter.try_acquire("bench", blocking=False)

        return make

    return asking(ask(10**6, 1_000)), asking(ask(3, 3_600_000))


def throttled(using: str, key: str = "bench") -> tuple[Make, Make]:
    def ask(quota: str, amount: int) -> Callable[[], Callable[[], object]]:
        def make() -> Callable[[], object]:
            module = importlib.import_module("throttled")
            store = module.MemoryStore()
            limit = module.Throttled(using=using, quota=getattr(module, quota)(amount), store=store).limit
            return lambda: not limit(key).limited

        return make

    return asking(ask("per_sec", 10**6)), asking(ask("per_hour", 3))


def pyresilient_rate(calls: int, period: float) -> Make:
    return pyresilience(rate_limiter=("RateLimiterConfig", {"max_calls": calls, "period": period}))


def aioresilient() -> Decorate:
    """Asked by key; it refuses by saying False."""
    limiter = importlib.import_module("aioresilience").LocalRateLimiter()
    check = limiter.check_rate_limit

    def decorate(fn: Any) -> Any:
        async def guarded(x: Any) -> Any:
            if not await check("bench", "1000000/second"):
                raise ConnectionError("refused")
            return await fn(x)

        return guarded

    return decorate


def asynciolimiter() -> Decorate:
    limiter = importlib.import_module("asynciolimiter").LeakyBucketLimiter(1e6, capacity=10**6)

    def decorate(fn: Any) -> Any:
        async def guarded(x: Any) -> Any:
            await limiter.wait()
            return await fn(x)

        return guarded

    return decorate


BARE_REFUSAL = "its refusal says neither by whom nor until when"
RATE = Section(
    (
        rate("meshlib, token bucket", ours("TokenBucket", 1e6, 1e6, tight=(1e-3, 3.0))),
        rate("closure", (lambda: closure_rate, None), why="one function: no events, no metrics, no waiting"),
        rate("nopanic", (of("nopanic", "rate_limit", 1e6, burst=1e6),
                         of("nopanic", "rate_limit", 3, 3600.0, max_wait=0.0)), "nopanic"),
        rate("pyresilience", (pyresilient_rate(10**9, 1.0), pyresilient_rate(3, 3600.0)), "pyresilience"),
        rate("grit", (of("grit", "limiter", 1e6), None), "grit-toolkit"),
        rate("crashbytes", (of("crashbytes_resilience", "rate_limiter", 10**9),
                            of("crashbytes_resilience", "rate_limiter", 3, 3600.0)), "crashbytes-resilience",
             why=BARE_REFUSAL),
        rate("hyx", (of("hyx.ratelimit", "tokenbucket", 1e6, 1.0, 1e6), None), "hyx", sync=False,
             why="it takes no key and gives nothing back; it admits 19 at once where 10 are its rate"),
        rate("aiolimiter", (within(None, lambda: of("aiolimiter", "AsyncLimiter", 1e6, 1.0)()), None), "aiolimiter",
             sync=False),
        rate("asynciolimiter", (asynciolimiter, None), "asynciolimiter", sync=False,
             why="one event loop only: it asks no clock and takes no lock, and can only wait, never refuse"),
        rate("pyrate-limiter", pyrate("TokenBucket"), "pyrate-limiter"),
        rate("throttled-py", throttled("token_bucket"), "throttled-py"),
        rate("aioresilience", (aioresilient, None), "aioresilience", sync=False),
    ),
    refuses="spend",
)  # fmt: skip

SMOOTH = Section(
    (
        rate("meshlib, GCRA", ours("Smooth", 10**6, 1.0, tight=(3, 3600.0))),
        rate("pyrate-limiter", pyrate("GCRA"), "pyrate-limiter"),
        rate("throttled-py", throttled("gcra"), "throttled-py"),
    ),
    refuses="spend",
)

WINDOWS = Section(
    (
        rate("meshlib, fixed", ours("FixedWindow", 10**9, 1.0, tight=(3, 3600.0))),
        rate("meshlib, sliding", ours("SlidingWindow", 10**6, 1.0, tight=(3, 3600.0))),
        rate("limits, fixed", limits("FixedWindowRateLimiter"), "limits"),
        rate("limits, sliding", limits("SlidingWindowCounterRateLimiter"), "limits"),
        rate("pyrate-limiter, fixed", pyrate("FixedWindow", log=True), "pyrate-limiter"),
        rate("throttled-py, fixed", throttled("fixed_window"), "throttled-py"),
        rate("throttled-py, sliding", throttled("sliding_window"), "throttled-py"),
        rate("ratelimit", (of("ratelimit", "limits", 10**9, 1), of("ratelimit", "limits", 3, 3600)), "ratelimit",
             is_async=False, why=BARE_REFUSAL),
    ),
    refuses="spend",
)  # fmt: skip

KEYED = Section(
    (
        rate("meshlib", ours("TokenBucket", 1e6, 1e6, tight=(1e-3, 3.0), key=lambda x: x)),
        rate(
            "nopanic",
            (lambda: _keyed(1e6, 1.0, burst=1e6), lambda: _keyed(3, 3600.0, max_wait=0.0)),
            "nopanic",
            why="it keeps a whole limiter per key",
        ),
        rate("limits, fixed", limits("FixedWindowRateLimiter"), "limits"),
        rate("throttled-py", throttled("token_bucket"), "throttled-py"),
        rate("aioresilience", (aioresilient, None), "aioresilience", sync=False),
    ),
    refuses="spend",
)


def _keyed(*args: Any, **settings: Any) -> Decorate:
    module = importlib.import_module("nopanic")
    return module.keyed(lambda _: module.rate_limit(*args, **settings), key=lambda x: x)  # type: ignore[no-any-return]


# --- limits that adapt ----------------------------------------------------------------------------------------------


def adaptive(kind: str, wide: dict[str, Any], tight: dict[str, Any]) -> Row:
    def make(settings: dict[str, Any]) -> Make:
        limit = of("meshlib", kind, **settings)
        return lambda: of("meshlib", "AdaptiveLimit", limit(), max_wait=None, name="bench")()

    return Row(f"meshlib, {kind}", make(wide), failing=make(wide), tight=make(tight))


def aimd() -> Any:
    module = importlib.import_module("aioresilience")
    return module.AdaptiveConcurrencyLimiter("bench")


ONE = {"initial_limit": 1, "min_limit": 1, "max_limit": 1}
ADAPTIVE = Section(
    (
        adaptive("AIMD", {}, {"initial": 1, "min_limit": 1, "max_limit": 1}),
        adaptive("Gradient2", {}, {"initial": 1, "min_limit": 1, "max_limit": 1}),
        adaptive("Vegas", {}, {"initial": 1, "max_limit": 1}),
        Row("aioresilience, AIMD", within(None, aimd), "aioresilience", sync=False, failing=within(None, aimd)),
    ),
    refuses="fill",
    about="ace-concurrency adapts to the load of the machine, not to its calls.",
)


def throttle(kind: str) -> Row:
    def make() -> Decorate:
        return of("meshlib", "Throttle", of("meshlib", kind)(), name="bench")()

    def patient() -> Decorate:  # whatever fails, nothing is shed
        return of("meshlib", "Throttle", of("meshlib", kind)(), name="bench", random=lambda: 1.0)()

    # Finagle's average moves with time, of which our burst takes next to none: it would shed nothing.
    return Row(f"meshlib, {kind}", make, failing=patient, tight=None if kind == "NackThrottle" else make)


THROTTLE = Section(
    (
        throttle("SreThrottle"), throttle("FailureThrottle"), throttle("NackThrottle"),
        Row("nopanic, adaptive rate", of("nopanic", "adaptive_rate_limit", 1e6), "nopanic",
            why="it is another policy: a rate that halves when it hears of throttling; the nearest that there is"),
    ),
    about="No peer has the formulas of the SRE book, failsafe-go or Finagle. *refused* is after 2,000 failures: "
    "nearly all calls are shed.",
)  # fmt: skip

SECTIONS = {
    "bulkhead": BULKHEAD,
    "bulkhead that may wait": PATIENT,
    "thread pool": THREADS,
    "rate limit": RATE,
    "smooth rate limit": SMOOTH,
    "windowed rate limit": WINDOWS,
    "rate limit by key": KEYED,
    "adaptive limit": ADAPTIVE,
    "adaptive throttle": THROTTLE,
}

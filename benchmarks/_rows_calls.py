"""Rows of hot_path.py: what calls again, ends a call, or answers in its place; and everything together."""

from __future__ import annotations

import asyncio
import importlib
import time
from contextvars import ContextVar
from typing import Any

from guards import Decorate, Make, Row, Section, interlock, is_async, of, pyresilience

NO_BUDGET = "it keeps no retry budget and no deadline, and hears no `Retry-After`"


def closure_retry(fn: Any) -> Any:
    if is_async(fn):

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


def tenacity() -> Decorate:
    module = importlib.import_module("tenacity")
    return module.retry(stop=module.stop_after_attempt(3), reraise=True)  # type: ignore[no-any-return]


def backoff(**settings: Any) -> Make:
    def make() -> Decorate:
        module = importlib.import_module("backoff")
        wait = module.constant if settings else module.expo
        return module.on_exception(wait, Exception, max_tries=3, **settings)  # type: ignore[no-any-return]

    return make


def stamina(**settings: Any) -> Make:
    """Without its log of each retry."""

    def make() -> Decorate:
        importlib.import_module("stamina.instrumentation").set_on_retry_hooks([])
        made: Decorate = importlib.import_module("stamina").retry(on=Exception, attempts=3, **settings)
        return made

    return make


def redress_retry() -> Decorate:
    module = importlib.import_module("redress")
    return module.retry(  # type: ignore[no-any-return]
        classifier=lambda error: module.ErrorClass.TRANSIENT, strategy=lambda ctx: 0.0, max_attempts=3
    )


RESILIX_RETRY = of("resilix", "protect.when", Exception, retry=3)
RETRY = Section(
    (
        Row("meshlib", of("meshlib", "Retry", attempts=3, on=Exception),
            failing=of("meshlib", "Retry", attempts=3, on=Exception, backoff=0.0, budget=None)),
        Row("closure", lambda: closure_retry, failing=lambda: closure_retry, why="it only counts to three"),
        Row("nopanic", of("nopanic", "retry", attempts=3), "nopanic",
            failing=of("nopanic", "retry", attempts=3, backoff=0.0), why=NO_BUDGET),
        Row("resilix", RESILIX_RETRY, "resilix", failing=RESILIX_RETRY, why=NO_BUDGET),
        Row("grit", of("grit", "retry", 3), "grit-toolkit", failing=of("grit", "retry", 3, wait=lambda n: 0.0),
            why=NO_BUDGET),
        Row("crashbytes", of("crashbytes_resilience", "retry", 3), "crashbytes-resilience",
            failing=of("crashbytes_resilience", "retry", 3, 0.0), why=NO_BUDGET),
        Row("tenacity", tenacity, "tenacity", failing=tenacity),
        Row("stamina", stamina(), "stamina", failing=stamina(wait_initial=0.0, wait_jitter=0.0, wait_max=0.0)),
        Row("backoff", backoff(), "backoff", failing=backoff(interval=0, jitter=None)),
        Row("redress", redress_retry, "redress", failing=redress_retry),
        Row("hyx", of("hyx.retry", "retry", attempts=3), "hyx", sync=False,
            failing=of("hyx.retry", "retry", attempts=3, backoff=0.0)),
        Row("pyresilience", pyresilience(retry=("RetryConfig", {})), "pyresilience",
            failing=pyresilience(retry=("RetryConfig", {"delay": 0.0, "jitter": False}))),
    ),
    about="*failing* is three attempts that all fail, without a wait between them.",
)  # fmt: skip


# --- time ---------------------------------------------------------------------------------------------------------


def asyncio_timeout(fn: Any) -> Any:
    """What the standard library has: no deadline for what is inside, no telling whose limit it was."""
    timeout = asyncio.timeout

    async def guarded(x: Any) -> Any:
        async with timeout(1.0):
            return await fn(x)

    return guarded


def sync_limit(fn: Any) -> Any:
    """A plain function can only be told how long it may take, and asked afterwards."""
    at: ContextVar[float] = ContextVar("at")
    now = time.monotonic

    def guarded(x: Any) -> Any:
        end = now() + 1.0
        token = at.set(end)
        try:
            result = fn(x)
        finally:
            at.reset(token)
        if now() > end:
            raise TimeoutError
        return result

    return guarded


def closure_timeout(fn: Any) -> Any:
    return asyncio_timeout(fn) if is_async(fn) else sync_limit(fn)


TIMEOUT = Section(
    (
        Row("meshlib", of("meshlib", "Timeout", 1.0), failing=of("meshlib", "Timeout", 1.0)),
        Row("closure", lambda: closure_timeout, failing=lambda: closure_timeout,
            why="it knows no deadline from outside and says not whose limit it was"),
        Row("nopanic", of("nopanic", "timeout", 1.0), "nopanic", failing=of("nopanic", "timeout", 1.0)),
        Row("hyx", of("hyx.timeout", "timeout", 1.0), "hyx", sync=False, failing=of("hyx.timeout", "timeout", 1.0),
            why="it offers no deadline to what is inside, and takes none from outside"),
        Row("interlock", interlock(lambda m: m.TimeoutStrategy(1.0)), "interlock-cb",
            failing=interlock(lambda m: m.TimeoutStrategy(1.0))),
        Row("resilix", of("resilix", "protect.timeout", 1.0), "resilix", sync=False,
            failing=of("resilix", "protect.timeout", 1.0)),
        Row("grit", of("grit", "timeout", 1.0), "grit-toolkit", failing=of("grit", "timeout", 1.0)),
        Row("pyresilience", pyresilience(timeout=("TimeoutConfig", {"seconds": 1.0})), "pyresilience",
            failing=pyresilience(timeout=("TimeoutConfig", {"seconds": 1.0}))),
        Row("aioresilience", of("aioresilience", "timeout", 1.0), "aioresilience", sync=False,
            failing=of("aioresilience", "timeout", 1.0)),
    ),
    about="The plain functions of ours are told their time and asked afterwards; peers run them in a thread, or under "
    "`SIGALRM`. The closure is `asyncio.timeout`, or a context variable and two looks at the clock.",
)  # fmt: skip


def block(module: str, name: str) -> Make:
    """A new context manager around each call, as a handler of a request has it."""

    def make() -> Decorate:
        scope = getattr(importlib.import_module(module), name)

        def decorate(fn: Any) -> Any:
            if is_async(fn):

                async def guarded_async(x: Any) -> Any:
                    with scope(1.0):
                        return await fn(x)

                return guarded_async

            def guarded(x: Any) -> Any:
                with scope(1.0):
                    return fn(x)

            return guarded

        return decorate

    return make


_AT: ContextVar[float] = ContextVar("deadline", default=float("inf"))


def closure_deadline(fn: Any) -> Any:
    now, read, write, reset = time.monotonic, _AT.get, _AT.set, _AT.reset

    if is_async(fn):

        async def guarded_async(x: Any) -> Any:
            token = write(min(now() + 1.0, read()))
            try:
                return await fn(x)
            finally:
                reset(token)

        return guarded_async

    def guarded(x: Any) -> Any:
        token = write(min(now() + 1.0, read()))
        try:
            return fn(x)
        finally:
            reset(token)

    return guarded


DEADLINE = Section(
    (
        Row("meshlib", block("meshlib", "deadline"), failing=block("meshlib", "deadline")),
        Row("closure", lambda: closure_deadline, failing=lambda: closure_deadline,
            why="it is no object: nothing is made, entered and left, and nobody checks the seconds"),
        Row("nopanic", block("nopanic", "deadline"), "nopanic", failing=block("nopanic", "deadline")),
    ),
    about="`with deadline(1.0):` around the call. clientwright has one for its clients, on Python 3.12 and up.",
)  # fmt: skip

HEDGE = Section(
    (
        Row("meshlib, delay learnt", of("meshlib", "Hedge"), sync=False, failing=of("meshlib", "Hedge")),
        Row("meshlib, delay given", of("meshlib", "Hedge", 1.0), sync=False, failing=of("meshlib", "Hedge", 1.0)),
        Row("nopanic", of("nopanic", "hedge", delay=1.0), "nopanic", sync=False,
            failing=of("nopanic", "hedge", delay=1.0)),
        Row("grit", of("grit", "hedge", 1.0), "grit-toolkit", sync=False, failing=of("grit", "hedge", 1.0)),
    ),
    about="A call that is answered in time. The peers have given delays only; httpx-hedged and hedge-python learn "
    "theirs, for HTTP clients alone.",
)  # fmt: skip


# --- answers ------------------------------------------------------------------------------------------------------


def closure_fallback(fn: Any) -> Any:
    if is_async(fn):

        async def guarded_async(x: Any) -> Any:
            try:
                return await fn(x)
            except Exception:
                return 0

        return guarded_async

    def guarded(x: Any) -> Any:
        try:
            return fn(x)
        except Exception:
            return 0

    return guarded


def zero(_: Any) -> int:
    return 0


def same(name: str, make: Make, peer: str | None = None, **more: Any) -> Row:
    """Where failures need nothing else."""
    return Row(name, make, peer, failing=make, **more)


FALLBACK = Section(
    (
        same("meshlib", of("meshlib", "Fallback", 0)),
        same("closure", lambda: closure_fallback,
            why="it looks for no deadline from outside, and takes a coroutine for an answer"),
        same("nopanic", of("nopanic", "fallback", 0), "nopanic"),
        same("resilix", of("resilix", "protect.when", Exception, return_=0), "resilix"),
        same("interlock", interlock(lambda m: m.FallbackStrategy(zero)), "interlock-cb"),
        same("pyresilience", pyresilience(fallback=("FallbackConfig", {"handler": 0})), "pyresilience"),
        same("hyx", of("hyx.fallback", "fallback", 0), "hyx", sync=False),
        same("grit", of("grit", "fallback", 0), "grit-toolkit"),
        same("aioresilience", of("aioresilience", "fallback", 0), "aioresilience", sync=False),
    ),
    about="*failing* is a call that the fallback answers.",
)  # fmt: skip


# --- everything ---------------------------------------------------------------------------------------------------


def pipeline() -> Decorate:
    mesh = importlib.import_module("meshlib")
    return mesh.Pipeline(  # type: ignore[no-any-return]
        mesh.Fallback(0),
        mesh.Timeout(1.0),
        mesh.Retry(3, on=Exception),
        mesh.CircuitBreaker(name="bench"),
        mesh.Bulkhead(100),
    )


def compose() -> Decorate:
    made = importlib.import_module("nopanic")
    return made.compose(  # type: ignore[no-any-return]
        made.fallback(0), made.timeout(1.0), made.retry(3), made.circuit_breaker(), made.bulkhead(100)
    )


def grit() -> Decorate:
    made = importlib.import_module("grit")
    layers = made.fallback(0), made.timeout(1.0), made.retry(3), made.breaker(5), made.bulkhead(100)
    return made.policy(*layers)  # type: ignore[no-any-return]


def interlock_all(m: Any) -> Any:
    return m.CircuitBreakerStrategy(m.CircuitBreaker(name="bench"))


def resilix_all() -> Decorate:
    """Its own order; the bulkhead and the timeout are of its async half."""
    protect = importlib.import_module("resilix").protect
    layers = [protect.when(Exception, retry=3, return_=0), protect.circuit(), protect.bulkhead(100)]

    def decorate(fn: Any) -> Any:
        for layer in [*reversed(layers), *([protect.timeout(1.0)] if is_async(fn) else [])]:
            fn = layer(fn)
        return fn

    return decorate


EVERYTHING: dict[str, tuple[str, dict[str, Any]]] = {
    "fallback": ("FallbackConfig", {"handler": 0}), "timeout": ("TimeoutConfig", {"seconds": 1.0}),
    "retry": ("RetryConfig", {}), "circuit_breaker": ("CircuitBreakerConfig", {}), "bulkhead": ("BulkheadConfig", {}),
}  # fmt: skip

PIPELINE = Section(
    (
        Row("meshlib", pipeline),
        Row("nopanic", compose, "nopanic"),
        Row("resilix", resilix_all, "resilix", why="it limits plain functions in no way, and keeps no budget"),
        Row("grit", grit, "grit-toolkit"),
        Row("interlock", interlock(lambda m: m.FallbackStrategy(zero), lambda m: m.TimeoutStrategy(1.0), interlock_all,
                                   lambda m: m.BulkheadStrategy(100)), "interlock-cb"),
        Row("pyresilience", pyresilience(**EVERYTHING), "pyresilience"),
    ),
    about="Fallback, timeout, retry with three attempts, breaker and bulkhead together; interlock has no retry "
    "of its own and goes without.",
)  # fmt: skip

SECTIONS = {
    "retry": RETRY,
    "timeout": TIMEOUT,
    "deadline": DEADLINE,
    "hedge": HEDGE,
    "fallback": FALLBACK,
    "pipeline": PIPELINE,
}

"""Rows of hot_path.py: what learns from failures, and then refuses."""

from __future__ import annotations

import importlib
import time
from datetime import timedelta
from typing import Any

from guards import TRIAL, Decorate, Make, Row, Section, each, is_async, of, pyresilience

NEVER = 10**9  # failures


def closure(fn: Any) -> Any:
    run, until = 0, 0.0

    if is_async(fn):

        async def guarded_async(x: Any) -> Any:
            nonlocal run, until
            if until and time.monotonic() < until:
                raise ConnectionError("open")
            try:
                result = await fn(x)
            except Exception:
                run += 1
                if run == 5:
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
            if run == 5:
                until = time.monotonic() + 30.0
            raise
        if run:
            run = 0
        return result

    return guarded


def ours(name: str, never: dict[str, Any] | None = None, **settings: Any) -> Row:
    def make(lease: float | None = None, cooldown: float = 30.0, **more: Any) -> Make:
        def made() -> Decorate:
            mesh = importlib.import_module("meshlib")
            limits = {**settings, **more}
            on_result = limits.pop("on_result", None)
            trip = importlib.import_module("meshlib.policies.breaker.trip_arguments").choose_trip(**limits)
            probes = mesh.Probes(lease=lease)
            return mesh.CircuitBreaker(  # type: ignore[no-any-return]
                name="bench", trip=trip, cooldown=cooldown, probes=probes, on_result=on_result
            )

        return made

    # Its probe has a lease, after which another may come: here an hour, or the probe would be given up.
    trial = make(cooldown=TRIAL, lease=3600.0)
    return Row(name, make(), failing=make(**(never or {"consecutive_failures": NEVER})), tight=make(), trial=trial)


def purgatory(**settings: Any) -> Make:
    def factory(kind: str) -> Make:
        return lambda: of("purgatory", kind, **settings)()("bench")  # type: ignore[no-any-return]

    return each(factory("SyncCircuitBreakerFactory"), factory("AsyncCircuitBreakerFactory"))


def interlock(**settings: Any) -> Make:
    def make() -> Decorate:
        module = importlib.import_module("interlock")
        return module.CircuitBreaker(name="bench", config=module.Config(**settings))  # type: ignore[no-any-return]

    return make


def fluxgate(streak: int | None = None, cooldown: float | None = None) -> Make:
    def settings() -> dict[str, Any]:
        found: dict[str, Any] = {}
        if streak is not None:
            trippers = importlib.import_module("fluxgate.trippers")
            found["tripper"] = trippers.Closed() & trippers.FailureStreak(streak) | trippers.HalfOpened()
        if cooldown is not None:
            found["retry"] = importlib.import_module("fluxgate.retries").Cooldown(cooldown)
        return found

    return each(
        lambda: of("fluxgate", "CircuitBreaker", **settings())(),
        lambda: of("fluxgate", "AsyncCircuitBreaker", **settings())(),
    )


def redress(threshold: int = 5, recovery: float = 30.0) -> Make:
    """A policy of a breaker alone; the classifier calls every exception transient, as the others' defaults do."""

    def make() -> Decorate:
        module = importlib.import_module("redress")
        breaker = module.CircuitBreaker(
            failure_threshold=threshold, recovery_timeout_s=recovery, trip_on=set(module.ErrorClass)
        )

        def decorate(fn: Any) -> Any:
            if is_async(fn):
                policy_async = module.AsyncPolicy(circuit_breaker=breaker)

                async def guarded_async(x: Any) -> Any:
                    return await policy_async.call(lambda: fn(x))

                return guarded_async
            policy = module.Policy(circuit_breaker=breaker)

            def guarded(x: Any) -> Any:
                return policy.call(lambda: fn(x))

            return guarded

        return decorate

    return make


def peer(name: str, make: Any, distribution: str, never: Any, trial: Any, **more: Any) -> Row:
    return Row(name, make, distribution, failing=never, tight=make, trial=trial, **more)


FAILS_CHEAPLY = (
    "a failure is one addition to it: no classifier judges it, no generation tells whether it is of this round, no "
    "statistics are kept"
)
SOON = timedelta(seconds=TRIAL)
BREAKER = Section(
    (
        ours("meshlib, 5 in a row"),
        ours("meshlib, rate of 100 calls", {"minimum_calls": NEVER}, failure_rate=0.5, window_calls=100),
        ours("meshlib, rate over 10 s", {"minimum_calls": NEVER}, failure_rate=0.5, window=10.0),
        ours("meshlib, rate and slow calls", {"minimum_calls": NEVER}, failure_rate=0.5, slow_call_rate=0.5,
             slow_call=1.0),
        ours("meshlib, failure by result", on_result=lambda result: result is None),
        Row("closure", lambda: closure, failing=lambda: closure, tight=lambda: closure,
            why="it has no half-open state, no listeners, no cancellations, and no thread may share it"),
        peer("resilix", of("resilix", "CircuitBreaker", failures=5), "resilix",
             of("resilix", "CircuitBreaker", failures=NEVER),
             of("resilix", "CircuitBreaker", failures=5, reset_timeout=TRIAL),
             why=FAILS_CHEAPLY),
        peer("circuitbreaker", of("circuitbreaker", "CircuitBreaker", failure_threshold=5), "circuitbreaker",
             of("circuitbreaker", "CircuitBreaker", failure_threshold=NEVER),
             of("circuitbreaker", "CircuitBreaker", failure_threshold=5, recovery_timeout=TRIAL),
             why=FAILS_CHEAPLY),
        peer("pybreaker", of("pybreaker", "CircuitBreaker", fail_max=5), "pybreaker",
             of("pybreaker", "CircuitBreaker", fail_max=NEVER),
             of("pybreaker", "CircuitBreaker", fail_max=5, reset_timeout=TRIAL), is_async=False),
        peer("aiobreaker", of("aiobreaker", "CircuitBreaker", fail_max=5), "aiobreaker",
             of("aiobreaker", "CircuitBreaker", fail_max=NEVER),
             of("aiobreaker", "CircuitBreaker", fail_max=5, timeout_duration=SOON)),
        peer("purgatory", purgatory(default_threshold=5), "purgatory", purgatory(default_threshold=NEVER),
             purgatory(default_threshold=5, default_ttl=TRIAL)),
        peer("nopanic", of("nopanic", "circuit_breaker"), "nopanic", of("nopanic", "circuit_breaker", min_calls=NEVER),
             of("nopanic", "circuit_breaker", reset_timeout=TRIAL)),
        peer("interlock", interlock(), "interlock-cb",
             interlock(minimum_number_of_calls=10_000, window_size=10_000, failure_rate_threshold=1.0),
             interlock(wait_duration_in_open=TRIAL)),
        peer("pyresilience", pyresilience(circuit_breaker=("CircuitBreakerConfig", {})), "pyresilience",
             pyresilience(circuit_breaker=("CircuitBreakerConfig", {"failure_threshold": NEVER})),
             pyresilience(circuit_breaker=("CircuitBreakerConfig", {"recovery_timeout": TRIAL}))),
        peer("hyx", of("hyx.circuitbreaker", "consecutive_breaker"), "hyx",
             of("hyx.circuitbreaker", "consecutive_breaker", failure_threshold=NEVER),
             of("hyx.circuitbreaker", "consecutive_breaker", recovery_time_secs=TRIAL), sync=False),
        peer("fluxgate", fluxgate(), "fluxgate", fluxgate(streak=NEVER), fluxgate(streak=5, cooldown=TRIAL)),
        peer("grit", of("grit", "breaker", 5), "grit-toolkit", of("grit", "breaker", NEVER),
             of("grit", "breaker", 5, TRIAL), why=FAILS_CHEAPLY),
        peer("redress", redress(), "redress", redress(NEVER), redress(5, TRIAL)),
        peer("aioresilience", of("aioresilience", "circuit_breaker", "bench"), "aioresilience",
             of("aioresilience", "circuit_breaker", "bench", failure_threshold=NEVER),
             of("aioresilience", "circuit_breaker", "bench", recovery_timeout=TRIAL), sync=False),
    ),
    about="*half-open* is a refusal while a probe is out; a breaker that lets more than the probe in says so.",
)  # fmt: skip


# --- one endpoint -------------------------------------------------------------------------------------------------


def accrual(failures: int) -> Make:
    """No decorator: it steers a balancer. The shortest one around it, asked and told as a balancer does."""

    def make() -> Decorate:
        module = importlib.import_module("meshlib.policies.breaker.accrual")
        call = importlib.import_module("meshlib.call")
        waits = importlib.import_module("meshlib.policies.retry.backoff_schedules").constant_waits
        one = module.Accrual(module.ConsecutiveFailures(failures, lambda: waits(3600.0)))
        is_open, started, ended, now = one.is_open, one.started, one.ended, time.monotonic

        def decorate(fn: Any) -> Any:
            if is_async(fn):

                async def guarded_async(x: Any) -> Any:
                    at = now()
                    if not is_open(at):
                        raise ConnectionError("dead")
                    started(at)
                    try:
                        result = await fn(x)
                    except Exception:
                        ended(call.FAILURE, now())
                        raise
                    ended(call.SUCCESS, now())
                    return result

                return guarded_async

            def guarded(x: Any) -> Any:
                at = now()
                if not is_open(at):
                    raise ConnectionError("dead")
                started(at)
                try:
                    result = fn(x)
                except Exception:
                    ended(call.FAILURE, now())
                    raise
                ended(call.SUCCESS, now())
                return result

            return guarded

        return decorate

    return make


ACCRUAL = Section(
    (Row("meshlib, 5 in a row", accrual(5), failing=accrual(NEVER), tight=accrual(5)),),
    about="No Python library that we know has it for functions: grpc-client-kit takes a channel out after one failure.",
)


def refused_connect() -> Any:
    """Every error is a refused connect: then the benchmark's own failures bring it to refuse."""
    call = importlib.import_module("meshlib.call")
    return lambda about, result, error: call.SUCCESS if error is None else call.FAILURE


FAIL_FAST = Section(
    (
        Row("meshlib", of("meshlib", "FailFast"), failing=of("meshlib", "FailFast"),
            tight=lambda: of("meshlib", "FailFast", lambda: [3600.0] * 9, classify=refused_connect())()),
    ),
    about="No Python library that we know has it.",
)  # fmt: skip

SECTIONS = {"breaker": BREAKER, "failure accrual": ACCRUAL, "fail fast": FAIL_FAST}

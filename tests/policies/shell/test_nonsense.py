"""What makes no sense is refused where it is written, by a sentence that names the field."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import inf, nan
from typing import Any

import pytest
import tenacity
import tenacity.asyncio as tenacity_asyncio

from meshlib import (
    AdaptiveLimit,
    CircuitBreaker,
    Consecutive,
    Cooldown,
    Either,
    FailFast,
    FailureRate,
    Fallback,
    Hedge,
    Percentile,
    RateLimit,
    Retry,
    RetryBudget,
    RetryHooks,
    SingleFlight,
    Smooth,
    ThreadBulkhead,
    Throttle,
    Vegas,
    backoff,
)
from meshlib.call import FAILURE, raised
from meshlib.errors import BreakerOpen
from meshlib.policies.breaker import accrual
from meshlib.policies.concurrency import limit_algorithms
from meshlib.policies.rate import rate_limit
from meshlib.policies.throttle import throttle

SENSELESS: list[tuple[str, Callable[[], Any]]] = [
    ("buckets", lambda: FailureRate(buckets=-1)),
    ("trip", lambda: CircuitBreaker(trip=Consecutive(1), failure_rate=0.5)),
    ("trip", lambda: CircuitBreaker(trip=Consecutive(1), window=10.0)),
    ("trip", lambda: CircuitBreaker(trip=Consecutive(1), minimum_calls=7)),
    ("classify", lambda: CircuitBreaker(classify=raised, on=ValueError)),
    ("classify", lambda: CircuitBreaker(classify=ValueError("x"))),  # type: ignore[arg-type]
    ("on_result", lambda: CircuitBreaker(on_result=503)),  # type: ignore[arg-type]
    ("classify", lambda: Throttle(classify=raised, on=ValueError)),
    ("budget", lambda: Retry(on=Exception, budget=0.2)),  # type: ignore[arg-type]
    ("budget", lambda: Retry(on=Exception, budget=RetryBudget)),  # type: ignore[arg-type]
    ("budget", lambda: Hedge(budget=0.2)),  # type: ignore[arg-type]
    ("retry", lambda: Retry(retry=_never)),  # type: ignore[arg-type]
    ("backoff", lambda: Retry(on=Exception, backoff=count(1))),
    ("max_delay", lambda: backoff.full_jitter(1.0, "long")),  # type: ignore[arg-type]
    ("max_delay", lambda: backoff.full_jitter(1.0, nan)),
    ("permits", lambda: RateLimit(10, permits=100)),
    ("limit", lambda: RateLimit("many")),  # type: ignore[arg-type]
    ("start", lambda: rate_limit.Smooth(1, start=nan)),
    ("start", lambda: rate_limit.Cycles(1, start=inf)),
    ("start", lambda: throttle.NackThrottle(start=nan)),
    ("name", lambda: ThreadBulkhead(name="")),
    ("seconds", lambda: Cooldown(10.0, max_cooldown=5.0)),
    ("cooldown", lambda: CircuitBreaker(cooldown=Cooldown)),  # type: ignore[arg-type]
    ("cooldown", lambda: CircuitBreaker(cooldown=_never)),  # type: ignore[arg-type]
    ("window", lambda: CircuitBreaker(consecutive_failures=3, window=10.0)),
    ("minimum_calls", lambda: CircuitBreaker(minimum_calls=10)),
    ("classify", lambda: AdaptiveLimit(classify="all")),  # type: ignore[arg-type]
    ("partition_of", lambda: AdaptiveLimit(partition_of="tenant")),  # type: ignore[arg-type]
    ("bypass", lambda: AdaptiveLimit(bypass=True)),  # type: ignore[arg-type]
    ("initial", lambda: limit_algorithms.Vegas(initial=50, max_limit=20)),
    ("initial", lambda: limit_algorithms.AIMD(initial=50, min_limit=1, max_limit=20)),
    ("initial", lambda: limit_algorithms.Gradient2(initial=50, min_limit=1, max_limit=20)),
    ("min_limit", lambda: limit_algorithms.Gradient(min_limit=50, max_limit=20)),
    ("min_window", lambda: limit_algorithms.WindowedLimit(limit_algorithms.Vegas(), min_window=2.0, max_window=1.0)),
    ("min_delay", lambda: Percentile(min_delay=3.0, max_delay=2.0)),
    ("discard", lambda: Hedge(discard=True)),  # type: ignore[arg-type]
    ("on_result", lambda: Retry(on_result=503)),  # type: ignore[arg-type]
    ("retry_after", lambda: RetryHooks(retry_after=5.0)),  # type: ignore[arg-type]
    ("unsent", lambda: RetryHooks(unsent=OSError())),  # type: ignore[arg-type]
    ("discard", lambda: RetryHooks(discard=True)),  # type: ignore[arg-type]
    ("key", lambda: RateLimit(10, key="tenant")),  # type: ignore[arg-type]
    ("key", lambda: SingleFlight(key="user")),  # type: ignore[arg-type]
    ("key", lambda: Fallback(stale=1.0, key="user")),  # type: ignore[arg-type]
    ("instead", lambda: Fallback(instead=7)),  # type: ignore[arg-type]
    ("delays", lambda: FailFast([1.0, 2.0])),  # type: ignore[arg-type]
    ("backoff", lambda: accrual.ConsecutiveFailures(5, -5.0)),
    ("consecutive_failures", lambda: accrual.UnifiedAccrual(1.0, consecutive_failures=0, success_rate=0.0)),
    ("random", lambda: Throttle(random=0.5)),  # type: ignore[arg-type]
]

NOT_MADE: list[tuple[str, Callable[[], Any]]] = [
    ("trip", lambda: CircuitBreaker(trip=3)),  # type: ignore[arg-type]
    ("trip", lambda: CircuitBreaker(trip=Consecutive)),  # type: ignore[arg-type]
    ("trips", lambda: Either(3)),  # type: ignore[arg-type]
    ("manual", lambda: CircuitBreaker(manual=3)),  # type: ignore[arg-type]
    ("limit", lambda: AdaptiveLimit(20)),  # type: ignore[arg-type]
    ("limit", lambda: AdaptiveLimit(Vegas)),  # type: ignore[arg-type]
    ("limit", lambda: RateLimit(Smooth)),  # type: ignore[arg-type]
    ("by", lambda: Throttle(2.0)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("field", "make"), NOT_MADE, ids=[f"{n}: {field}" for n, (field, _) in enumerate(NOT_MADE)])
def test_a_number_or_a_class_in_the_place_of_an_object_is_refused_kindly(field: str, make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=f"^{field}=.*: expected "):
        make()


def test_a_policy_shows_its_kind_and_its_name() -> None:
    assert repr(CircuitBreaker(name="users")) == "CircuitBreaker('users', closed)"
    assert repr(Retry(on=Exception, name="users")) == "Retry('users')"


ASYNC: list[tuple[str, Callable[[], Any]]] = [
    ("stop", lambda: Retry(on=Exception, stop=_never)),  # type: ignore[arg-type]
    ("wait", lambda: Retry(on=Exception, wait=_never)),  # type: ignore[arg-type]
    ("retry", lambda: Retry(retry=tenacity_asyncio.retry_if_result(_never))),  # type: ignore[arg-type]
    ("retry", lambda: Retry(retry=tenacity.retry_if_result(bool) | tenacity_asyncio.retry_if_result(_never))),  # type: ignore[arg-type]
    ("on_result", lambda: Retry(on_result=_never)),  # type: ignore[arg-type]
    ("on", lambda: Retry(on=_never)),  # type: ignore[arg-type]
    ("on", lambda: CircuitBreaker(on=_never)),  # type: ignore[arg-type]
    ("on_result", lambda: CircuitBreaker(on_result=_never)),  # type: ignore[arg-type]
    ("classify", lambda: CircuitBreaker(classify=_never)),  # type: ignore[arg-type]
    ("on_result", lambda: Fallback(7, on_result=_never)),  # type: ignore[arg-type]
    ("classify", lambda: Fallback(7, classify=_never)),  # type: ignore[arg-type]
    ("key", lambda: RateLimit(10, key=_never)),
]


@pytest.mark.parametrize(("field", "make"), ASYNC, ids=[f"{n}: {field}" for n, (field, _) in enumerate(ASYNC)])
def test_a_question_that_is_not_awaited_cannot_be_asked_of_a_coroutine_function(
    field: str, make: Callable[[], Any]
) -> None:
    with pytest.raises(ValueError, match=f"^{field}.*expected a plain function"):
        make()


async def _never(state: object) -> bool:
    return False


@pytest.mark.parametrize(("field", "make"), SENSELESS, ids=[f"{n}: {field}" for n, (field, _) in enumerate(SENSELESS)])
def test_nonsense_is_refused_at_construction_by_the_name_of_its_field(field: str, make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=f"^{field}"):
        make()


def test_a_cooldown_above_the_usual_maximum_is_its_own_maximum() -> None:
    breaker = CircuitBreaker(consecutive_failures=1, cooldown=Cooldown(600.0, factor=2.0))
    breaker.leave(breaker.enter(0.0), FAILURE, 0.0)
    with pytest.raises(BreakerOpen) as refused:
        breaker.enter(0.0)
    assert refused.value.retry_after == 600.0

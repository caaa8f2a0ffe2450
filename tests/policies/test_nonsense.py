"""What makes no sense is refused where it is written, by a sentence that names the field."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import inf, nan
from typing import Any

import pytest

from meshlib import CircuitBreaker, Consecutive, Hedge, RateLimit, Retry, RetryBudget, ThreadBulkhead, Throttle
from meshlib.call import raised
from meshlib.policies import backoff, rate, throttle

SENSELESS: list[tuple[str, Callable[[], Any]]] = [
    ("buckets", lambda: CircuitBreaker(buckets=-1)),
    ("trip", lambda: CircuitBreaker(trip=Consecutive(1), failure_rate=0.5)),
    ("trip", lambda: CircuitBreaker(trip=Consecutive(1), window_calls=10)),
    ("failure_rate", lambda: CircuitBreaker(trip=Consecutive(1), failure_rate=3)),
    ("classify", lambda: CircuitBreaker(classify=raised, failures=ValueError)),
    ("classify", lambda: CircuitBreaker(classify=ValueError("x"))),  # type: ignore[arg-type]
    ("failure_result", lambda: CircuitBreaker(failure_result=503)),  # type: ignore[arg-type]
    ("classify", lambda: Throttle(classify=raised, failures=ValueError)),
    ("budget", lambda: Retry(budget=0.2)),  # type: ignore[arg-type]
    ("budget", lambda: Retry(budget=RetryBudget)),  # type: ignore[arg-type]
    ("budget", lambda: Hedge(budget=0.2)),  # type: ignore[arg-type]
    ("retry", lambda: Retry(retry=_never)),  # type: ignore[arg-type]
    ("backoff", lambda: Retry(backoff=count(1))),
    ("maximum", lambda: backoff.full_jitter(1.0, "long")),  # type: ignore[arg-type]
    ("maximum", lambda: backoff.full_jitter(1.0, nan)),
    ("permits", lambda: RateLimit(10, permits=100)),
    ("limit", lambda: RateLimit("many")),  # type: ignore[arg-type]
    ("start", lambda: rate.Smooth(start=nan)),
    ("start", lambda: rate.Cycles(start=inf)),
    ("start", lambda: throttle.NackThrottle(start=nan)),
    ("name", lambda: ThreadBulkhead(name="")),
]


async def _never(state: object) -> bool:
    return False


@pytest.mark.parametrize(("field", "make"), SENSELESS, ids=[f"{n}: {field}" for n, (field, _) in enumerate(SENSELESS)])
def test_nonsense_is_refused_at_construction_by_the_name_of_its_field(field: str, make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=f"^{field}"):
        make()

from __future__ import annotations

import time

import anyio
import pytest

from meshlib.errors import *
from meshlib.pipeline import Pipeline, PolicyOrderWarning
from meshlib.policies.breaker import CircuitBreaker
from meshlib.policies.budget import *
from meshlib.policies.deadline import deadline
from meshlib.policies.fallback import Fallback
from meshlib.policies.retry import Retry
from meshlib.policies.timeout import Timeout
from meshlib.testing import ManualClock


def failing(n, error=OSError):
    calls = []

    def f(x=0):
        calls.append(x)
        if len(calls) <= n:
            raise error("boom")
        return "ok"

    f.calls = calls
    return f


def test_retry():
    clock = ManualClock()
    f = failing(2)
    assert Pipeline(Retry(3), runtime=clock)(f)(1) == "ok"
    assert clock.slept == pytest.approx([0.005, 0.01])
    f = failing(9)
    with pytest.raises(OSError) as e:
        Pipeline(Retry(3), runtime=clock)(f)(1)
    assert e.value.__notes__ == ["gave up after 3 attempts: no attempts left"]
    f = failing(9)
    with pytest.raises(OSError) as e:
        Pipeline(Retry(3, budget=RetryBudget(0.0, min_per_second=0)), runtime=clock)(f)(1)
    assert e.value.__notes__ == ["gave up after 1 attempt: budget spent"]


def test_open_breaker():
    b = CircuitBreaker("b")
    b.force_open()
    t = time.perf_counter()
    with pytest.raises(BreakerOpen):
        Pipeline(Retry(3), b)(failing(0))()
    assert time.perf_counter() - t < 0.005


@pytest.mark.anyio
async def test_timeout():
    async def slow():
        await anyio.sleep(5)

    with pytest.raises(DeadlineExceeded) as e:
        await Pipeline(Timeout(0.02), CircuitBreaker("b"))(slow)()
    b = CircuitBreaker("b", consecutive_failures=2)
    f = Pipeline(Timeout(0.1, per_try=0.02), Retry(3), b)(slow)
    with pytest.raises(BreakerOpen) as e:
        await f()
    assert b.state == "open"
    with deadline(0.02), pytest.raises(DeadlineExceeded):
        await Pipeline(Retry(3))(slow)()
    clock = ManualClock()

    async def slow():
        await clock.sleep_async(5)

    f = Pipeline(Timeout(1, per_try=0.4), Retry(3, backoff=0.05), runtime=clock)(slow)
    with pytest.raises(DeadlineExceeded) as e:
        await f()
    assert clock.now() == 1.0
    assert await Pipeline(Fallback(7), Timeout(1, per_try=0.4), Retry(3, backoff=0.05), runtime=clock)(slow)() == 7
    assert clock.now() == 2.0


def test_order():
    with pytest.warns(PolicyOrderWarning):
        Pipeline(Retry(), Fallback(1))

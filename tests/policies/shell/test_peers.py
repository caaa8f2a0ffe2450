"""What users of other retries, limiters and bulkheads saw, and shall not see here (A14 to A19 of the peers' defects).

The breaker's are in `test_breaker_peers`; what needs a server (A18, A20, A21) is with the client and the balancers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from meshlib.errors import BreakerOpen, Rejected
from meshlib.pipeline import Pipeline
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.breaker.fail_fast import FailFast
from meshlib.policies.cache.collapse import collapse
from meshlib.policies.cache.request_cache import RequestCache, SingleFlight
from meshlib.policies.concurrency.adaptive_limit import AdaptiveLimit
from meshlib.policies.concurrency.bulkhead import Bulkhead
from meshlib.policies.deadline.timeout import Timeout
from meshlib.policies.fallback import Fallback
from meshlib.policies.rate.rate_limit import RateLimit, Smooth
from meshlib.policies.retry.hedge import Hedge
from meshlib.policies.retry.retry import Retry
from meshlib.policies.throttle.throttle import Throttle
from meshlib.testing import ManualClock


async def work(n: int) -> int:
    await asyncio.sleep(0)
    return n


async def many(ns: list[int]) -> list[int]:
    await asyncio.sleep(0)
    return ns


# A15: made here, where no event loop runs, and used below in two of them, more callers than places each time.
AT_IMPORT: dict[str, Callable[[int], Any]] = {
    "breaker": CircuitBreaker()(work),
    "bulkhead": Bulkhead(2, max_wait=30.0)(work),
    "adaptive limit": AdaptiveLimit(max_wait=30.0, max_queue=100)(work),
    "rate limit": RateLimit(Smooth(2000, per=1.0), max_wait=30.0)(work),
    "keyed rate limit": RateLimit(Smooth(2000, per=1.0), max_wait=30.0, key=lambda n: n % 2)(work),
    "throttle": Throttle(random=lambda: 1.0)(work),
    "fail fast": FailFast()(work),
    "retry": Retry(on=Exception)(work),
    "timeout": Timeout(30.0)(work),
    "hedge": Hedge(0.0, max_extra_load=1.0)(work),
    "fallback": Fallback(None)(work),
    "single flight": SingleFlight(key=lambda n: n)(work),
    "request cache": RequestCache()(work),
    "collapse": collapse(max_batch=3)(many),
    "all": Pipeline(
        Fallback(None),
        Timeout(30.0),
        Retry(on=Exception),
        Hedge(0.0),
        CircuitBreaker(),
        Bulkhead(2, max_wait=30.0, name="all"),
    )(work),
}


@pytest.mark.parametrize("name", AT_IMPORT)
def test_what_is_made_at_import_serves_one_event_loop_after_the_other(name: str) -> None:
    """A15: four peers needed a loop to be made, or belonged to the first that had to wait."""
    call = AT_IMPORT[name]

    async def crowd() -> list[int]:
        return await asyncio.gather(*(call(n) for n in range(20)))

    for _ in range(2):
        assert asyncio.run(crowd()) == list(range(20))


def test_a_server_that_only_fails_is_asked_little_more_than_it_is_called() -> None:
    """A18: by default a peer made 11 requests of one. Here the budget's fifth is the limit once its reserve is gone."""
    clock, requests = ManualClock(), list[int]()

    @Retry(on=Exception, backoff=0.0, runtime=clock)
    def fails() -> None:
        requests.append(1)
        raise OSError

    def calls(number: int) -> None:
        for _ in range(number):
            with pytest.raises(OSError):
                fails()
            clock.advance(0.001)

    calls(20_000)  # twenty seconds of a thousand a second: the reserve is spent
    requests.clear()
    calls(10_000)
    assert len(requests) <= 1.2 * 10_000 + 10 * 10 + 10, "a fifth, and the reserve of ten a second"


def test_a_retry_over_an_open_breaker_answers_at_once() -> None:
    """A19: a peer slept 31 s in the caller's call before it said that the circuit is open."""
    clock = ManualClock()
    breaker = CircuitBreaker(cooldown=30.0, runtime=clock)
    breaker.open()
    for policies in (
        (Retry(5, on=Exception, backoff=10.0), breaker),
        (Retry(5, on=Exception, backoff=10.0, rejections=True), breaker),
    ):
        with pytest.raises(BreakerOpen):
            Pipeline(*policies, runtime=clock)(lambda: None)()
    assert clock.now() == 0.0


def test_a_limiter_that_refuses_loses_no_tokens() -> None:
    """A17: a peer threw away what had accrued at each refusal, and let 20 of 60 through."""
    limit, admitted = RateLimit(20, burst=20), 0
    for tick in range(2001):
        try:
            limit.enter(tick / 1000)
        except Rejected:
            continue
        admitted += 1
    assert 0.95 * (20 + 20 * 2) <= admitted <= 20 + 20 * 2


@pytest.mark.parametrize("gate", [Bulkhead(2, max_wait=30.0), AdaptiveLimit(max_wait=30.0)], ids=["bulkhead", "limit"])
def test_places_come_back_from_calls_that_are_cancelled_inside_and_in_the_line(gate: Any) -> None:
    """A14: two cancelled calls shut a peer's bulkhead for ever."""

    @gate
    async def hangs() -> None:
        await asyncio.sleep(3600.0)

    async def main() -> None:
        for _ in range(20):
            tasks = [asyncio.create_task(hangs()) for _ in range(gate.max_concurrent + 3)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert (gate.metrics().in_flight, gate.metrics().waiting) == (0, 0)
    assert asyncio.run(gate(work)(7)) == 7

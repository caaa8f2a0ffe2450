"""Pairs of policies whose order matters: what each order means, and that the recommended one does what it says."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import anyio
import pytest

from meshlib.errors import BreakerOpen, BulkheadFull, DeadlineExceeded, Rejected
from meshlib.pipeline import Pipeline
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.cache.request_cache import SingleFlight
from meshlib.policies.concurrency.adaptive_limit import AdaptiveLimit
from meshlib.policies.concurrency.bulkhead import Bulkhead
from meshlib.policies.concurrency.limit_algorithms import FixedLimit
from meshlib.policies.deadline.timeout import Timeout
from meshlib.policies.fallback import Fallback
from meshlib.policies.rate.rate_limit import RateLimit
from meshlib.policies.retry.budget import RetryBudget
from meshlib.policies.retry.hedge import Hedge
from meshlib.policies.retry.retry import Retry
from meshlib.policies.throttle.throttle import SreThrottle, Throttle
from meshlib.testing import ManualClock

pytestmark = pytest.mark.anyio


class Server:
    """Answers after `times` in turn (the last one is repeated), and fails as long as `down`."""

    def __init__(self, clock: ManualClock, *times: float, down: bool = False) -> None:
        self.clock = clock
        self.times = times or (0.0,)
        self.down = down
        self.asked = 0

    async def ask(self) -> str:
        after = self.times[min(self.asked, len(self.times) - 1)]
        self.asked += 1
        await self.clock.sleep_async(after)
        if self.down:
            raise OSError("down")
        return "ok"

    def behind(self, *policies: Any) -> Any:
        return Pipeline(*policies, runtime=self.clock)(self.ask)


async def fails(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await call()


# --- retry and breaker -----------------------------------------------------------------------------------------------


async def test_a_breaker_inside_a_retry_counts_attempts_and_ends_the_retry() -> None:
    breaker, server = CircuitBreaker(name="users", consecutive_failures=2), Server(ManualClock(), down=True)
    await fails(server.behind(Retry(5, on=Exception, backoff=1.0), breaker), BreakerOpen)
    assert (server.asked, breaker.state) == (2, "open")


async def test_a_breaker_outside_a_retry_counts_calls() -> None:
    breaker, server = CircuitBreaker(name="users", consecutive_failures=2), Server(ManualClock(), down=True)
    call = server.behind(breaker, Retry(5, on=Exception, backoff=1.0))
    await fails(call, OSError)
    assert (server.asked, breaker.state) == (5, "closed")
    await fails(call, OSError)
    assert breaker.state == "open"


# --- fallback and timeout, fallback and breaker ----------------------------------------------------------------------


async def test_a_fallback_outside_a_timeout_answers_for_late_calls() -> None:
    assert await Server(ManualClock(), 60.0).behind(Fallback("stale"), Timeout(1.0))() == "stale"


async def test_a_fallback_inside_a_timeout_does_not() -> None:
    await fails(Server(ManualClock(), 60.0).behind(Timeout(1.0), Fallback("stale")), DeadlineExceeded)


async def test_a_timeout_outside_bounds_a_slow_fallback_too() -> None:
    clock = ManualClock()

    async def slow(error: Exception) -> str:
        await clock.sleep_async(60.0)
        return "late"

    await fails(Server(clock, down=True).behind(Timeout(1.0), Fallback(slow)), DeadlineExceeded)
    assert clock.now() == 1.0


async def test_a_fallback_answers_for_an_open_breaker() -> None:
    breaker = CircuitBreaker(name="users")
    breaker.force_open()
    assert await Server(ManualClock()).behind(Fallback("stale"), Retry(3, on=Exception), breaker)() == "stale"


# --- bulkhead and the rest -------------------------------------------------------------------------------------------


async def test_a_hedge_outside_a_bulkhead_takes_a_place_per_attempt() -> None:
    bulkhead, server = Bulkhead(2), Server(ManualClock(), 60.0, 0.0)
    assert await server.behind(Hedge(1.0), bulkhead)() == "ok"
    assert (server.asked, bulkhead.metrics().in_flight) == (2, 0)


async def test_a_full_bulkhead_costs_the_hedge_and_not_the_call() -> None:
    bulkhead, server = Bulkhead(1), Server(ManualClock(), 5.0)
    hedge = Hedge(1.0)
    assert await server.behind(hedge, bulkhead)() == "ok"
    assert (server.asked, hedge.sent, bulkhead.metrics().rejected) == (1, 1, 1)


async def test_a_bulkhead_outside_a_hedge_takes_one_place() -> None:
    bulkhead, server = Bulkhead(1), Server(ManualClock(), 60.0, 0.0)
    assert await server.behind(bulkhead, Hedge(1.0))() == "ok"
    assert (server.asked, bulkhead.metrics().in_flight) == (2, 0)


async def test_a_full_bulkhead_is_not_retried_and_is_no_evidence_for_the_breaker() -> None:
    clock, bulkhead = ManualClock(), Bulkhead(1)
    breaker = CircuitBreaker(name="users", consecutive_failures=1)
    server = Server(clock, 5.0)
    call = server.behind(Retry(3, on=Exception), breaker, bulkhead)
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        while not server.asked:
            await anyio.sleep(0)
        await fails(call, BulkheadFull)
    assert (server.asked, breaker.state) == (1, "closed")


async def test_a_retry_gives_its_place_back_while_it_waits() -> None:
    clock, bulkhead = ManualClock(), Bulkhead(1)
    seen: list[int] = []
    retry = Retry(2, on=Exception, backoff=1.0)
    retry.subscribe(lambda event: seen.append(bulkhead.metrics().in_flight))
    await fails(Server(clock, down=True).behind(retry, bulkhead), OSError)
    assert seen == [0, 0]


# --- retry and hedge -------------------------------------------------------------------------------------------------


async def test_a_hedge_inside_a_retry_hedges_each_attempt() -> None:
    server = Server(ManualClock(), 5.0, down=True)
    await fails(server.behind(Retry(2, on=Exception, backoff=0), Hedge(1.0)), OSError)
    assert server.asked == 4


async def test_retry_and_hedge_can_live_on_one_budget() -> None:
    clock, budget = ManualClock(), RetryBudget(0.0, min_per_second=0.3, ttl=10.0)
    server = Server(clock, 0.05, down=True)
    await fails(server.behind(Retry(9, on=Exception, backoff=0, budget=budget), Hedge(0.01, budget=budget)), OSError)
    assert (server.asked, budget.balance(clock.now())) == (1 + 3, 0)


async def test_a_limit_per_try_bounds_all_hedges_of_one_try() -> None:
    server = Server(ManualClock(), 60.0)
    await fails(
        server.behind(Timeout(10.0, per_try=2.0), Retry(2, on=Exception, backoff=0), Hedge(0.5)), DeadlineExceeded
    )
    assert server.asked == 4
    assert server.clock.now() == pytest.approx(5.0), "per try: 2.0 from each attempt's own start, 0.5 after the first"


# --- single flight and retry -----------------------------------------------------------------------------------------


async def test_a_single_flight_outside_a_retry_retries_once_for_all() -> None:
    server = Server(ManualClock(), 1.0, down=True)
    call = server.behind(SingleFlight(), Retry(3, on=Exception, backoff=0.1))
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(fails, call, OSError)
    assert server.asked == 3


# --- timeout and retry, timeout and breaker ---------------------------------------------------------------------------


async def test_a_timeout_outside_a_retry_bounds_all_attempts_and_waits() -> None:
    server = Server(ManualClock(), 0.4, down=True)
    await fails(server.behind(Timeout(1.0), Retry(9, on=Exception, backoff=0.2)), DeadlineExceeded)
    assert (server.asked, server.clock.now()) == (2, 1.0)


async def test_a_timeout_inside_a_retry_bounds_each_attempt() -> None:
    server = Server(ManualClock(), 60.0)
    await fails(server.behind(Retry(3, on=Exception, backoff=0.0), Timeout(1.0)), DeadlineExceeded)
    assert (server.asked, server.clock.now()) == (3, 3.0)


@pytest.mark.parametrize("breaker_first", [False, True])
async def test_a_call_that_runs_out_of_time_is_a_failure_to_a_breaker_inside_and_outside(breaker_first: bool) -> None:
    breaker, patience = CircuitBreaker(name="users", consecutive_failures=1), Timeout(1.0)
    order = (breaker, patience) if breaker_first else (patience, breaker)
    await fails(Server(ManualClock(), 60.0).behind(*order), DeadlineExceeded)
    assert breaker.state == "open"


async def test_a_timeout_outside_a_line_bounds_the_wait_in_it() -> None:
    clock, bulkhead = ManualClock(), Bulkhead(1, max_wait=inf)
    bulkhead.enter()
    await fails(Server(clock).behind(Timeout(1.0), bulkhead), DeadlineExceeded)
    assert (clock.now(), bulkhead.metrics().waiting) == (1.0, 0)


# --- limits and the rest ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda: RateLimit(1), lambda: Throttle(SreThrottle(k=1.0, minimum_calls=1), random=lambda: 0.0)]
)
async def test_a_refusal_of_our_own_is_not_retried_and_is_no_evidence(make: Callable[[], Any]) -> None:
    breaker = CircuitBreaker(name="users", consecutive_failures=2)
    server = Server(ManualClock(), down=True)
    call = server.behind(Retry(3, on=Exception, backoff=0.0), breaker, make())
    await fails(call, Rejected)
    assert (server.asked, breaker.state, breaker.metrics().consecutive_failures) == (1, "closed", 1)


async def test_an_open_breaker_takes_no_permit_of_the_rate_limit_below() -> None:
    breaker, limit = CircuitBreaker(name="users"), RateLimit(5)
    breaker.force_open()
    await fails(Server(ManualClock()).behind(breaker, limit), BreakerOpen)
    assert limit.metrics(0.0).available == 5


async def test_an_adaptive_limit_inside_a_retry_measures_attempts_and_not_waits() -> None:
    heard: list[float] = []

    class Heard(FixedLimit):
        def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
            heard.append(rtt)
            return self.limit

    server = Server(ManualClock(), 0.5, down=True)
    await fails(server.behind(Retry(2, on=Exception, backoff=60.0), AdaptiveLimit(Heard(5))), OSError)
    assert heard == [0.5, 0.5]


async def test_a_single_flight_outside_a_hedge_hedges_once_for_all() -> None:
    server, hedge = Server(ManualClock(), 5.0, 0.1), Hedge(1.0)
    call = server.behind(SingleFlight(), hedge)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(call)
    assert (server.asked, hedge.sent) == (2, 1)


# --- timeout and hanging servers -------------------------------------------------------------------------------------


async def test_everything_in_the_recommended_order() -> None:
    clock, breaker, bulkhead = ManualClock(), CircuitBreaker(name="users", consecutive_failures=4), Bulkhead(4)
    server = Server(clock, 60.0)
    policies = (
        Fallback("stale"),
        Timeout(2.0, per_try=0.5),
        Retry(3, on=Exception, backoff=0.1),
        Hedge(0.2),
        breaker,
        bulkhead,
    )
    call = server.behind(*policies)
    for _ in range(5):
        start = clock.now()
        assert await call() == "stale"
        assert clock.now() - start <= 2.0
    assert breaker.state == "open"
    assert bulkhead.metrics().in_flight == 0

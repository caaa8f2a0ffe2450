"""A number that somebody writes costs a number, and not memory or time by its size; or it is refused, with its bound.

Envoy's and Istio's way to say "no limit" is 1000000000 and 2147483647. Every whole number of every policy, rate, trip,
budget, accrual and balancer is looked up, so that a new one is tested, too.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import meshlib.policies
from meshlib import CircuitBreaker, Mesh, Probes, balancing
from meshlib.balancing import BasePicker, Endpoint
from meshlib.call import FAILURE, SUCCESS
from meshlib.errors import MeshError
from meshlib.policies.concurrency.limit_algorithms import Gradient2
from meshlib.policies.rate.redis_store import RedisStore
from meshlib.policies.retry import backoff
from meshlib.policies.retry.budget import ConcurrencyBudget

HUGE = (3_000_000, 2_147_483_647, 10**12)  # one after the other: what fails at the first leaves the machine alive
ROOM = 40_000  # bytes: a few calls' worth, and none of HUGE

# What else a constructor wants, and what must move together with the number.
WITH: dict[str, dict[str, Any]] = {
    "Fallback": {"value": None},
    "FailureCount": {"max_failures": 5},
    "ConsecutiveFailures": {"consecutive_failures": 5, "backoff": 1.0},
    "SuccessRate": {"success_rate": 0.5, "window_calls": 10, "backoff": 1.0},
    "SuccessRateWithin": {"success_rate": 0.5, "window": 10.0, "backoff": 1.0},
    "UnifiedAccrual": {"backoff": lambda: iter([1.0])},
    "Quota": {"limit": 1e13, "store": RedisStore(object()), "when_away": "open"},
    "RateLimit": {"limit": 1e13},
    "FixedLimit": {"limit": 5},
    "FixedWindow": {"limit": 5},
    "SlidingWindow": {"limit": 5},
    "Smooth": {"limit": 5},
    "Cycles": {"limit": 5},
    "WindowedLimit": {"delegate": Gradient2()},
    "take": {"waits": 1.0},
    "Aperture": {"peers": 10**13},
    "Maglev": {"size": 251},
}
TOGETHER = {
    "min_limit": "max_limit", "initial": "max_limit", "min_threads": "max_threads", "minimum_calls": "window_calls",
    "max_failures": "window_calls", "successes": "calls", "concurrency": "calls",
}  # fmt: skip
# Made by others, which check the numbers; what a function is told; base classes.
INTERNAL = {
    "CountWindow", "TimeWindow", "Totals", "Histogram", "ExpAverage", "Keys", "KeyedLimit",
    "TenacityOutcome", "RetryState", "TripContext", "WindowedTrip", "Slots", "SlidingCounts",
}  # fmt: skip


def whole_numbers(kind: Callable[..., Any]) -> list[str]:
    found = inspect.signature(kind).parameters.values()
    return [one.name for one in found if str(one.annotation).split(" | ")[0] in ("int", "Curve")]


def settings() -> Iterator[Any]:
    for found in pkgutil.walk_packages(meshlib.policies.__path__, "meshlib.policies."):
        for kind in vars(importlib.import_module(found.name)).values():
            if not inspect.isclass(kind) or kind.__module__ != found.name or kind.__name__[0] == "_":
                continue
            if not kind.__name__.endswith("Metrics") and kind.__name__ not in INTERNAL:
                for field in whole_numbers(kind):
                    yield pytest.param(kind, field, id=f"{kind.__name__}({field})")


POLICIES = [
    *settings(),
    pytest.param(backoff.take, "number", id="take(number)"),
]


def refused(field: str, error: ValueError) -> None:
    """In the project's words, and about the field that was huge (or one that bounds it)."""
    assert str(error).startswith((f"{field}=", *(f"{name}=" for name in TOGETHER))), error
    assert "expected" in str(error)


def used(thing: Any) -> None:
    """A few calls through whatever it is, as a driver makes them."""
    for number in range(40):
        now, failed = number / 10, number % 3 == 0
        with suppress(MeshError):
            if hasattr(thing, "enter") and hasattr(thing, "leave"):
                thing.leave(thing.enter(now), FAILURE if failed else SUCCESS, now, 0.01)
        if hasattr(thing, "fresh"):
            thing.reserve(now, 1, 0.5)
            thing.available(now)
        elif hasattr(thing, "update"):
            thing.update(now, 0.01, number + 1, failed)
        elif hasattr(thing, "probability"):
            thing.record(not failed, now, thing.begin(now))
            thing.probability(now)
        elif hasattr(thing, "withdraw"):
            thing.deposit(now)
            thing.withdraw(now)
        elif hasattr(thing, "revived"):
            (thing.failure if failed else thing.success)(now)
        elif hasattr(thing, "plain_until") and hasattr(thing, "record"):
            thing.record(failed, 0.01, now)


def cost(work: Callable[[], object]) -> int:
    """Bytes at the highest; the first time does what is done once for all."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_the_guard_sees_what_it_is_for() -> None:
    seen = {param.id for param in POLICIES}
    assert {
        "Bulkhead(max_concurrent)", "Bulkhead(max_queue)", "SlidingWindow(limit)", "CircuitBreaker(probes)",
        "Probes(successes)", "FailureRate(buckets)", "FailureRate(window_calls)",
        "SreThrottle(buckets)", "Retry(attempts)", "Hedge(max_hedges)",
        "Gradient2(max_limit)", "ThreadBulkhead(max_threads)", "UnifiedAccrual(minimum_calls)",
        "Fallback(max_keys)", "RateLimit(max_keys)", "AdaptiveLimit(max_queue)",
    } <= seen  # fmt: skip


@pytest.mark.parametrize(("kind", "field"), POLICIES)
def test_a_huge_number_costs_a_number(kind: Callable[..., Any], field: str) -> None:
    for huge in HUGE:
        check_policy(kind, field, huge)


def check_policy(kind: Callable[..., Any], field: str, huge: int) -> None:
    known = inspect.signature(kind).parameters
    wanted = {**WITH.get(kind.__name__, {}), field: huge}
    if TOGETHER.get(field) in known:
        wanted[TOGETHER[field]] = huge
    if kind is CircuitBreaker and field == "minimum_calls":
        wanted["failure_rate"] = 0.5

    def work() -> None:
        made = kind(**wanted)
        if isinstance(made, Probes):
            made = CircuitBreaker(probes=made)
        if kind.__name__ != "Quota":  # which would ask its store
            used(made)

    try:
        work()
    except ValueError as error:
        refused(field, error)
        return
    assert cost(work) < ROOM


def test_a_huge_number_of_permits_is_one_entry() -> None:
    for name in ("SlidingWindow", "FixedWindow"):
        kind = getattr(importlib.import_module("meshlib.policies.rate.rate_limit"), name)

        def work(kind: Any = kind) -> None:
            rate = kind(10**9)
            assert rate.reserve(0.0, 10**9) == 0.0
            wait = rate.reserve(0.5, 7 * 10**8, 10.0)
            rate.refund(0.5 + wait, 10**8)
            assert rate.available(0.6) == -6 * 10**8
            assert rate.available(3.5) == 10**9

        work()
        assert cost(work) < ROOM


def test_windows_reserved_far_in_advance_are_passed_at_once() -> None:
    rate = importlib.import_module("meshlib.policies.rate.rate_limit").FixedWindow(1)
    rate.reserve(0.0, 10**12, 1e13)
    assert rate.available(1e11) == 1 - (10**12 - 10**11)


def test_a_budget_by_calls_in_flight_counts_them() -> None:
    budget = ConcurrencyBudget(min_concurrent=HUGE[-1])
    assert cost(lambda: [budget.withdraw(0.0) for _ in range(100)]) < ROOM


BALANCERS = [
    pytest.param(name, field, id=f"{name}({field})")
    for name in (*balancing.NAMES, "layered")
    for kind in [balancing.BasePicker if name == "layered" else type(balancing.make_balancer(name))]
    for field in (["min_cluster_size"] if name == "layered" else whole_numbers(kind))
]


@pytest.mark.parametrize(("name", "field"), BALANCERS)
def test_a_huge_number_costs_a_balancer_a_number(name: str, field: str) -> None:
    for huge in HUGE[1:] if name in ("ring_hash", "maglev") else HUGE:  # three million is within Envoy's bounds
        check_balancer(name, field, huge, uneven=0)
        check_balancer(name, field, huge, uneven=1)


def check_balancer(name: str, field: str, huge: int, uneven: int) -> None:
    endpoints = [Endpoint("server", port, weight=1.0 + uneven * (port % 2)) for port in range(1, 9)]
    algorithm = "default" if name == "layered" else name
    more = WITH.get(_kind(algorithm).__name__, {})

    def work(**settings: Any) -> None:
        balancer = balancing.make_balancer(algorithm, "huge", endpoints, **settings)
        for turn in range(20):
            balancer.pick(lambda: 0.37, turn / 10, key=turn)
        balancer.pick(lambda: 0.37, 2.0, avoid=endpoints[:2])

    work(**more)
    usual = cost(lambda: work(**more))
    try:
        work(**{**more, field: huge})
    except ValueError as error:
        refused(field, error)
        return
    assert cost(lambda: work(**{**more, field: huge})) < usual + ROOM


def _kind(name: str) -> type[BasePicker]:
    kind: type[BasePicker] = type(balancing.make_balancer(name))
    return kind


MESH = """
services: {users: {retry: {attempts: N}, hedge: {delay: 1s, max_hedges: N}, budget: {min_per_second: N}}}
clusters:
  users:
    endpoints: ["a:1", "b:1", "c:1"]
    balancer: {kind: prequal, removals: N, pool_size: N}
    accrual: {consecutive_failures: N}
    outlier:
      consecutive_5xx: N
      success_rate: {min_hosts: N, min_requests: N}
      failure_percentage: {min_hosts: N, min_requests: N}
    health_check: {tcp: on, healthy_threshold: N, unhealthy_threshold: N}
    breaker: {window_calls: N, minimum_calls: N, probes: N}
    throttle: {minimum_calls: N}
    rate_limit: {limit: N, burst: N}
    adaptive_limit: {initial: N, min_limit: N, max_limit: N, max_queue: N}
    bulkhead: {max_concurrent: N, max_queue: N}
"""
ISTIO = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users}
spec:
  host: users
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: N}, http: {http1MaxPendingRequests: N, http2MaxRequests: N, maxRetries: N}}
    outlierDetection: {consecutive5xxErrors: N}
"""


@pytest.mark.parametrize("text", [MESH, ISTIO], ids=["mesh file", "istio"])
def test_a_file_of_huge_numbers_costs_no_more_than_one_of_small_ones(text: str, tmp_path: Path) -> None:
    def work(number: int) -> None:
        file = tmp_path / "mesh.yaml"
        file.write_text(re.sub(r"\bN\b", str(number), text))
        Mesh.from_file(file, watch=False).close()

    work(50)
    usual = cost(lambda: work(50))
    for huge in HUGE[:2]:
        assert cost(lambda huge=huge: work(huge)) < usual + 10 * ROOM  # type: ignore[misc]

"""Balancer adapter: a balancer in a loop of your own."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from random import Random

import pytest

from meshlib.balancing import NAMES, BalancerAdapter, Endpoint, make_balancer
from meshlib.call import IGNORED


@pytest.mark.parametrize("name", NAMES)
def test_a_strangers_loop_needs_four_words(name: str) -> None:
    random = Random(1)
    balancer = BalancerAdapter(
        make_balancer(name, "users", [Endpoint("h", port) for port in range(1, 6)]), random.random
    )
    under_way: list[tuple[float, int, Endpoint, float]] = []
    tie = count()
    for step in range(2000):
        now = step / 100
        while under_way and under_way[0][0] <= now:
            end, _, endpoint, latency = heappop(under_way)
            balancer.finish(endpoint, end, latency < 0.14, latency)
            balancer.report(endpoint, end, in_flight=float(endpoint.pending), latency=latency)
        endpoint = balancer.pick(now, key=random.getrandbits(64))
        balancer.start(endpoint, now)
        latency = random.uniform(0.05, 0.15)
        heappush(under_way, (now + latency, next(tie), endpoint, latency))
    assert sum(endpoint.pending for endpoint in balancer.balancer.endpoints) == len(under_way)


def test_without_a_permit_the_call_is_found_by_its_start() -> None:
    endpoint = Endpoint("h", 1)
    balancer = BalancerAdapter(make_balancer("default", "users", [endpoint]), Random(1).random)
    first, second = balancer.start(endpoint, 1.0), balancer.start(endpoint, 2.0)
    balancer.finish(endpoint, 2.5, True, 0.5)
    assert endpoint.pending == 1
    with pytest.raises(KeyError):
        balancer.finish(endpoint, 3.0, True, 1.0, permit=second)
    balancer.finish(endpoint, 3.0, IGNORED, 2.0, permit=first)
    with pytest.raises(ValueError, match="h:1: no call is under way"):
        balancer.finish(endpoint, 3.0, True, 2.0)


def test_probes_are_those_of_the_balancer() -> None:
    endpoints = [Endpoint("h", port) for port in range(1, 6)]
    assert BalancerAdapter(make_balancer("default", "users", endpoints), Random(1).random).probes() == []
    assert len(set(BalancerAdapter(make_balancer("prequal", "users", endpoints), Random(1).random).probes())) == 3

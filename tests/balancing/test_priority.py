"""Priorities, zones and panic: Envoy's tables."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from meshlib.balancing import Endpoint, make_balancer
from meshlib.balancing.locality_balancer import LocalityBalancer
from meshlib.balancing.priority import locality_weights, priority_loads, zone_shares
from meshlib.balancing.slow_start import slow_start_factor
from meshlib.balancing.subset import random_subset, subset, subset_or
from meshlib.call import FAILURE


@pytest.mark.parametrize(
    ("levels", "loads"),
    [
        ([(100, 100), (100, 100)], [100, 0]),
        ([(72, 100), (72, 100)], [100, 0]),
        ([(71, 100), (71, 100)], [99, 1]),
        ([(50, 100), (50, 100)], [70, 30]),
        ([(25, 100), (25, 100)], [50, 50]),
        ([(0, 100), (100, 100)], [0, 100]),
        ([(0, 100), (0, 100)], [50, 50]),
        ([(5, 100), (0, 100), (100, 100)], [7, 0, 93]),
    ],
)
def test_loads_follow_envoys_table(levels: list[tuple[int, int]], loads: list[int]) -> None:
    assert priority_loads(levels)[0] == loads


def test_panic_is_asked_only_when_the_levels_together_cannot_take_all() -> None:
    assert priority_loads([(25, 100), (25, 100)])[1] == [True, True]
    assert priority_loads([(25, 100), (100, 100)])[1] == [False, False]
    assert priority_loads([(0, 10)])[1] == [True]
    assert priority_loads([(0, 10)], panic=0.0) == ([0], [False])


def test_locality_weights_are_1_to_2_with_half_of_one_lost() -> None:
    first, second = locality_weights([(1, 50, 100), (2, 100, 100)])
    assert first / (first + second) == pytest.approx(0.26, abs=0.005)


def test_a_zone_keeps_its_calls_as_far_as_its_servers_suffice() -> None:
    assert zone_shares(0, [(0.3, 0.4), (0.7, 0.6)]) == [1.0, 0.0]
    assert zone_shares(0, [(0.5, 0.25), (0.25, 0.5), (0.25, 0.25)]) == [0.5, 0.5, 0.0]


def test_slow_start_grows_with_age() -> None:
    assert slow_start_factor(0.0, 60.0) == 0.1
    assert slow_start_factor(30.0, 60.0) == 0.5
    assert slow_start_factor(15.0, 60.0, 2.0) == 0.5
    assert slow_start_factor(61.0, 60.0) == 1.0


def test_subsets_by_labels() -> None:
    one = Endpoint("a", 1, labels={"version": "v1"}, zone="x")
    two = Endpoint("a", 2, labels={"version": "v2"})
    assert subset([one, two], {"version": "v1"}) == (one,)
    assert subset([one, two], {"zone": "x"}) == (one,)
    assert subset([one, two], {}) == (one, two)
    assert subset_or([one, two], {"version": "v3"}, {"version": "v2"}) == (two,)
    assert subset_or([one, two], {"version": "v3"}, None) == ()


def test_random_subsets_move_at_most_one_place() -> None:
    members = [Endpoint("a", port) for port in range(1, 41)]
    chosen = set(random_subset(members, 10, 7))
    without = set(random_subset([m for m in members if m is not next(iter(chosen))], 10, 7))
    assert len(chosen - without) == 1


def kill(endpoint: Endpoint) -> None:
    for _ in range(5):
        endpoint.leave(endpoint.enter(1.0), FAILURE, 1.0, 0.001)


def test_traffic_fails_over_to_the_next_priority_as_endpoints_of_the_first_are_ejected() -> None:
    members = [Endpoint("a", port, priority=port // 10) for port in range(20)]
    balancer, random = make_balancer("random", "users", members), Random(1).random
    assert {balancer.pick(random, 1.0).priority for _ in range(500)} == {0}
    for member in members[:5]:
        kill(member)
    picks = Counter(balancer.pick(random, 1.1).priority for _ in range(5000))
    assert picks[0] / 5000 == pytest.approx(0.7, abs=0.03)


def test_calls_stay_in_the_zone_and_spill_over() -> None:
    members = [Endpoint("a", port, zone="x" if port < 4 else "y") for port in range(10)]
    balancer = make_balancer("random", "users", members, zone="x")
    assert isinstance(balancer, LocalityBalancer)
    assert balancer.shares() == {(0, "x"): 1.0}
    spilling = make_balancer("random", "users", members, zone="x", callers={"x": 0.8, "y": 0.2})
    assert isinstance(spilling, LocalityBalancer)
    assert spilling.shares() == {(0, "x"): pytest.approx(0.5), (0, "y"): pytest.approx(0.5)}


def test_membership_changes_keep_the_groups_state() -> None:
    members = [Endpoint("a", port, priority=port // 2) for port in range(4)]
    balancer, random = make_balancer("default", "users", members), Random(2).random
    kill(members[0])
    balancer.update(members[:3])
    assert all(balancer.pick(random, 1.1) is not members[0] for _ in range(50))


def test_when_all_are_ejected_all_are_used() -> None:
    members = [Endpoint("a", port, priority=port // 2) for port in range(4)]
    balancer, random = make_balancer("default", "users", members), Random(3).random
    for member in members:
        kill(member)
    assert {balancer.pick(random, 1.1) for _ in range(200)} == set(members)

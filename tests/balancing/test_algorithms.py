"""What every algorithm owes, and what each one is known for."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.balancing import NAMES, ClusterHealth, Endpoint, LoadReport, make_balancer
from meshlib.balancing.least_loaded import LeastLoaded
from meshlib.balancing.peak_ewma import PeakEwma
from meshlib.balancing.reported_weights import report_weight, strides
from meshlib.call import FAILURE, SUCCESS
from meshlib.errors import NoEndpoint

HASHED = {"ring_hash", "maglev"}


def endpoints(*weights: float) -> list[Endpoint]:
    return [Endpoint("10.0.0.1", port, weight=weight) for port, weight in enumerate(weights, 1)]


def ask(endpoint: Endpoint, now: float, took: float = 0.1) -> None:
    endpoint.leave(endpoint.enter(now), SUCCESS, now + took, took)


def kill(endpoint: Endpoint, now: float) -> None:
    for _ in range(5):
        endpoint.leave(endpoint.enter(now), FAILURE, now, 0.001)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_cluster_refuses(name: str) -> None:
    with pytest.raises(NoEndpoint, match="the cluster has no endpoints"):
        make_balancer(name, "users").pick(Random(1).random, 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_single_endpoint_gets_everything_even_when_ejected(name: str) -> None:
    (only,) = members = endpoints(1)
    balancer, random = make_balancer(name, "users", members), Random(1).random
    assert balancer.pick(random, 1.0) is only
    kill(only, 1.0)
    assert balancer.pick(random, 1.1) is only


@pytest.mark.parametrize("name", NAMES)
def test_without_panic_a_cluster_without_healthy_endpoints_refuses_until_the_next_probe(name: str) -> None:
    members = endpoints(1, 1)
    balancer = make_balancer(name, "users", members, panic=0.0)
    for member in members:
        kill(member, 1.0)
    with pytest.raises(NoEndpoint, match=r"no healthy endpoint \(\d of \d ejected\); next probe in") as refused:
        balancer.pick(Random(1).random, 1.1)
    assert refused.value.retry_after == pytest.approx(0.15)


@pytest.mark.parametrize("name", NAMES)
@given(n=st.integers(3, 12), ill=st.sets(st.integers(0, 11), max_size=4), seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_picks_avoid_the_ill_unless_panicking(name: str, n: int, ill: set[int], seed: int) -> None:
    members, random = endpoints(*[1.0] * n), Random(seed).random
    balancer = make_balancer(name, "users", members)
    ejected = [members[index] for index in ill if index < n]
    for member in ejected:
        kill(member, 1.0)
    if len(ejected) <= n / 2:
        for step in range(60):
            assert balancer.pick(random, 1.1, key=step * 2**58) not in ejected


@pytest.mark.parametrize("name", NAMES)
def test_what_was_tried_already_is_avoided(name: str) -> None:
    members, random = endpoints(1, 1, 1, 1, 1), Random(3).random
    balancer = make_balancer(name, "users", members)
    for step in range(200):
        assert balancer.pick(random, 1.0, key=step * 2**56, avoid=members[:2]) not in members[:2]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"pick_first", "aperture"}))
def test_no_endpoint_starves(name: str) -> None:
    members, random = endpoints(1, 1, 1, 1, 1), Random(4).random
    balancer = make_balancer(name, "users", members)
    picks: Counter[Endpoint] = Counter()
    for step in range(5000):
        now = 1.0 + step * 0.02
        chosen = balancer.pick(random, now)
        picks[chosen] += 1
        ask(chosen, now, 0.01)
    assert min(picks[member] for member in members) > 5000 / 5 / 4


@pytest.mark.parametrize(
    "name", ["round_robin", "random", "least_loaded", "least_loaded_scan", "least_request", "default"]
)
@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 5), (3, 1, 1, 1)])
def test_weights_are_respected_within_one_percent(name: str, weights: tuple[float, ...]) -> None:
    members, random = endpoints(*weights), Random(5).random
    balancer = make_balancer(name, "users", members)
    picks: Counter[Endpoint] = Counter()
    for step in range(60_000):
        now = 1.0 + step * 0.02
        chosen = balancer.pick(random, now)
        picks[chosen] += 1
        ask(chosen, now, 0.01)
    for member, weight in zip(members, weights, strict=True):
        assert picks[member] / 60_000 == pytest.approx(weight / sum(weights), abs=0.01)


def test_round_robin_is_smooth() -> None:
    a, b, c = members = endpoints(5, 1, 1)
    balancer = make_balancer("round_robin", "users", members)
    rotations = [balancer.pick(Random(1).random, 0.0) for _ in range(7)]
    assert Counter(rotations) == {a: 5, b: 1, c: 1}
    assert make_balancer("round_robin", "users", endpoints(1, 1)).pick(Random(1).random, 0.0).port == 1


@pytest.mark.parametrize("name", sorted(HASHED))
def test_the_same_key_finds_the_same_endpoint(name: str) -> None:
    balancer, random = make_balancer(name, "users", endpoints(*[1.0] * 10)), Random(6).random
    keys = [Random(seed).getrandbits(64) for seed in range(50)]
    assert [balancer.pick(random, 0.0, key=key) for key in keys] == [
        balancer.pick(random, 9.0, key=key) for key in keys
    ]


# Envoy's ring is a function of the membership alone, so that all clients agree; the number of entries per endpoint
# changes with it, which moves some keys more than the tenth that has to move.
@pytest.mark.parametrize(("name", "most"), [("ring_hash", 0.2), ("maglev", 0.16)])
def test_few_keys_move_when_one_of_ten_leaves(name: str, most: float) -> None:
    members, random = endpoints(*[1.0] * 10), Random(7)
    balancer = make_balancer(name, "users", members)
    keys = [random.getrandbits(64) for _ in range(4000)]
    before = [balancer.pick(random.random, 0.0, key=key) for key in keys]
    balancer.update(members[:-1])
    after = [balancer.pick(random.random, 0.0, key=key) for key in keys]
    assert sum(one is not other for one, other in zip(before, after, strict=True)) / len(keys) < most


@pytest.mark.parametrize("name", sorted(HASHED))
def test_only_the_keys_of_an_ejected_endpoint_move_and_they_come_back(name: str) -> None:
    members, random = endpoints(*[1.0] * 10), Random(7)
    balancer = make_balancer(name, "users", members)
    keys = [random.getrandbits(64) for _ in range(2000)]
    before = [balancer.pick(random.random, 1.0, key=key) for key in keys]
    kill(members[0], 1.0)
    during = [balancer.pick(random.random, 1.1, key=key) for key in keys]
    assert all(now is then or then is members[0] for then, now in zip(before, during, strict=True))
    members[0].leave(members[0].enter(1.2), SUCCESS, 1.21, 0.01)
    assert [balancer.pick(random.random, 1.3, key=key) for key in keys] == before


def test_bounded_loads_move_the_keys_of_a_crowded_endpoint_on() -> None:
    members = endpoints(1, 1, 1, 1)
    balancer, random = make_balancer("ring_hash", "users", members, bound=1.25), Random(8).random
    picks: Counter[Endpoint] = Counter()
    for _ in range(100):
        chosen = balancer.pick(random, 0.0, key=42)
        chosen.enter(0.0)
        picks[chosen] += 1
    assert max(picks.values()) <= 1.25 * 100 / 4 + 2


def test_algorithms_can_be_swapped_without_losing_calls_in_flight() -> None:
    members = endpoints(1, 1)
    first = make_balancer("round_robin", "users", members)
    members[0].enter(1.0)
    second = make_balancer("default", "users", first.endpoints, health=first.health)
    assert [member.pending for member in second.endpoints] == [1, 0]


def test_a_newcomer_without_data_gets_one_call_from_peak_ewma() -> None:
    members = endpoints(1, 1)
    balancer = PeakEwma("users", members)
    ask(members[0], 1.0)
    assert balancer.load(members[1], 1.1) == 0.0
    members[1].enter(1.1)
    assert balancer.load(members[1], 1.1) > 1e5


def test_peak_ewma_multiplies_latency_by_calls_in_flight() -> None:
    members = endpoints(1, 1)
    balancer = PeakEwma("users", members)
    ask(members[0], 1.0, 0.2)
    members[0].enter(1.2)
    assert balancer.load(members[0], 1.2) == pytest.approx(0.4)


def test_least_loaded_takes_the_first_on_a_tie_and_the_emptier_otherwise() -> None:
    members = endpoints(1, 1)
    balancer = LeastLoaded("users", members)
    assert balancer.pick(lambda: 0.0, 0.0) is members[0]
    members[0].enter(0.0)
    assert balancer.pick(lambda: 0.0, 0.0) is members[1]


def test_pick_first_stays_until_the_first_is_ejected() -> None:
    members, random = endpoints(1, 1, 1), Random(9).random
    balancer = make_balancer("pick_first", "users", members)
    assert {balancer.pick(random, 1.0) for _ in range(9)} == {members[0]}
    kill(members[0], 1.0)
    assert {balancer.pick(random, 1.1) for _ in range(9)} == {members[1]}


def test_report_weights_are_those_of_a58() -> None:
    assert report_weight(LoadReport(0.0, qps=100.0, utilization=0.5)) == 200.0
    assert report_weight(LoadReport(0.0, qps=100.0, utilization=0.5, eps=50.0), 1.0) == 100.0
    assert report_weight(LoadReport(0.0, utilization=0.5)) == 0.0
    assert strides([1.0, 0.0]) is None
    assert strides([1.0, 3.0, 0.0]) == [21845, 65535, 43690]


def test_reported_weights_share_by_report_after_the_blackout() -> None:
    members, random = endpoints(1, 1), Random(10).random
    balancer = make_balancer("reported_weights", "users", members, blackout=10.0)
    for now in (0.0, 11.0):
        balancer.reported(members[0], LoadReport(now, qps=300.0, utilization=1.0), now)
        balancer.reported(members[1], LoadReport(now, qps=100.0, utilization=1.0), now)
    early = Counter(balancer.pick(random, 5.0) for _ in range(400))
    late = Counter(balancer.pick(random, 11.0) for _ in range(4000))
    assert early[members[0]] == 200
    assert late[members[0]] / 4000 == pytest.approx(0.75, abs=0.01)


def test_newcomers_start_slowly() -> None:
    members, random = endpoints(1, 1, 1), Random(11).random
    balancer = make_balancer("random", "users", members[:2], slow_start=10.0)
    balancer.update(members)
    picks = Counter(balancer.pick(random, 1.0) for _ in range(6000))
    assert picks[members[2]] / 6000 < 0.06
    picks = Counter(balancer.pick(random, 12.0) for _ in range(6000))
    assert picks[members[2]] / 6000 == pytest.approx(1 / 3, abs=0.03)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"balancer='rr': expected one of default, round_robin"):
        make_balancer("rr")


@pytest.mark.parametrize("name", ["default", "least_loaded", "peak_ewma", "round_robin", "random", "maglev"])
def test_a_pick_looks_at_a_few_however_many_there_are(name: str) -> None:
    looks = 0

    class Watched(Endpoint):
        __slots__ = ()

        def __getattribute__(self, attribute: str) -> object:
            nonlocal looks
            looks += attribute in ("healthy", "cost", "_waiting", "latency")
            return super().__getattribute__(attribute)

    members: list[Endpoint] = [Watched("a", port) for port in range(1, 2001)]
    balancer, random = make_balancer(name, "users", members), Random(12).random
    balancer.pick(random, 1.0)
    looks = 0
    for _ in range(100):
        balancer.pick(random, 1.0)
    assert looks < 100 * 30


def test_membership_of_the_ward_is_shared() -> None:
    health, members = ClusterHealth("users"), endpoints(1, 1)
    make_balancer("default", "users", members, health=health)
    assert all(member.health is health for member in members)


def test_a_weight_of_zero_means_only_if_there_is_no_other() -> None:
    members, random = endpoints(0, 1, 1, 1, 1), Random(13).random
    balancer = make_balancer("default", "users", members)
    assert balancer.endpoints == tuple(members)
    assert all(balancer.pick(random, 1.0) is not members[0] for _ in range(200))
    balancer.update(members[:1])
    assert balancer.pick(random, 1.0) is members[0]

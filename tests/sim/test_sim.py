"""The simulator agrees with theory, and the default rule with its goals."""

from __future__ import annotations

from math import isclose
from random import Random

import pytest

from meshlib.balancing import Endpoint, LoadReport, make_balancer
from meshlib.call import SUCCESS
from meshlib.sim import Client, Delay, Score, Sharing, World, arrivals


def test_things_of_the_same_time_keep_their_order() -> None:
    world, seen = World(), []
    for name in "abc":
        world.at(1.0, lambda now, name=name: seen.append(name))
    world.run(2.0)
    assert seen == ["a", "b", "c"]
    assert world.now == 2.0


def test_requests_share_the_processor() -> None:
    world, ends = World(), []
    server = Sharing(world, lambda: 1.0, cores=1.0)
    server.start(0.0, lambda healthy, now: ends.append(now))
    world.at(0.5, lambda now: server.start(now, lambda healthy, now: ends.append(now)))
    world.run(10.0)
    assert ends == pytest.approx([1.5, 2.0])


def test_a_request_uses_at_most_one_core_and_resizing_counts_at_once() -> None:
    world, ends = World(), []
    server = Sharing(world, lambda: 1.0, cores=4.0)
    server.start(0.0, lambda healthy, now: ends.append(now))
    world.at(0.5, lambda now: server.resize(now, 0.25))
    world.run(10.0)
    assert ends == pytest.approx([2.5])


def test_one_server_under_half_load_is_an_mm1_queue() -> None:
    world, score, random = World(), Score(), Random(1)
    endpoint = Endpoint("a", 1)
    endpoint.carrier = Sharing(world, lambda: random.expovariate(1.0))
    client = Client(world, make_balancer("random", "demo", [endpoint]), random.random, score)
    arrivals(world, client.ask, lambda now: 0.5, 40_000.0, lambda: random.expovariate(1.0))
    world.run(41_000.0)
    assert isclose(sum(score.times) / len(score.times), 2.0, rel_tol=0.05)  # 1 ÷ (1 - load)


def scene(seed: int, *, fails: bool = False, **options: float) -> tuple[Score, Delay]:
    world, score, random = World(), Score(), Random(seed)
    servers = [Delay(world, lambda: max(0.001, random.gauss(0.167, 0.005))) for _ in range(11)]
    members = [Endpoint("a", port) for port in range(1, 12)]
    for member, server in zip(members, servers, strict=True):
        member.carrier = server
    client = Client(world, make_balancer("default", "demo", members), random.random, score, **options)
    bad = servers[0]
    usual = bad.draw

    def sicken(now: float) -> None:
        bad.draw = lambda: 2.0
        bad.failing = (lambda: 0.001) if fails else None

    def heal(now: float) -> None:
        bad.draw, bad.failing = usual, None

    world.at(5.0, sicken)
    world.at(20.0, heal)
    arrivals(world, client.ask, lambda now: 1000.0, 30.0, lambda: 1.0)
    world.run(40.0)
    return score, bad


@pytest.mark.parametrize("seed", [1, 2])
def test_a_slow_server_costs_a_handful_of_requests_and_is_back_in_five_seconds(seed: int) -> None:
    score, bad = scene(seed)
    assert score.requests - score.good <= 27
    assert score.share(bad, 25.0, 28.0) >= 0.95


@pytest.mark.parametrize("seed", [1, 2])
def test_a_server_that_fails_fast_costs_a_handful_of_requests(seed: int) -> None:
    score, bad = scene(seed, fails=True)
    assert score.failed <= 13
    assert score.share(bad, 25.0, 28.0) >= 0.95


def test_hedging_saves_the_rest_for_less_than_two_percent() -> None:
    score, _ = scene(3, hedge=0.2)
    assert score.good == score.requests
    assert score.hedges < 0.02 * score.requests


def test_runs_repeat_themselves() -> None:
    assert scene(4)[0].times == scene(4)[0].times


def test_load_reports_show_what_other_clients_do() -> None:
    members = [Endpoint("a", port) for port in range(1, 4)]
    balancer, random = make_balancer("default", "demo", members), Random(5).random
    for member in members:
        balancer.reported(member, LoadReport(1.0, in_flight=1.0), 1.0)
        for _ in range(20):
            member.leave(member.enter(1.0), SUCCESS, 1.1, 0.1)
    balancer.reported(members[0], LoadReport(1.2, in_flight=30.0), 1.2)
    assert all(balancer.pick(random, 1.2) is not members[0] for _ in range(100))

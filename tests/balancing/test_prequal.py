"""Prequal: the pool of answers and the hot/cold rule."""

from __future__ import annotations

from math import inf
from random import Random

import pytest

from meshlib.balancing import Endpoint, LoadReport, Prequal
from meshlib.balancing.prequal import ProbeAnswer, ProbePool, reuse


def answers(pool: ProbePool, *told: tuple[float, float]) -> list[Endpoint]:
    members = [Endpoint("a", port) for port in range(1, len(told) + 1)]
    for member, (in_flight, latency) in zip(members, told, strict=True):
        pool.add(ProbeAnswer(member, in_flight, latency, 0.0))
    return members


def test_reuse_is_the_papers_formula() -> None:
    assert reuse(16, 100, 3.0) == pytest.approx(2 / (0.84 * 3 - 1))
    assert reuse(16, 10_000, 30.0) == 1.0
    assert reuse(16, 16, 3.0) == inf


def test_a_cold_one_with_the_least_latency_wins() -> None:
    pool = ProbePool()
    members = answers(pool, (1, 0.3), (2, 0.1), (3, 0.2), (4, 0.4), (50, 0.01))
    pool.hot_quantile = 0.6
    best = pool.best(0.5, inf)
    assert best is not None
    assert best.endpoint is members[1]
    assert best.in_flight == 3


def test_fewer_than_two_usable_answers_are_no_answer() -> None:
    pool = ProbePool()
    answers(pool, (1, 0.1))
    assert pool.best(0.0, inf) is None
    answers(pool, (1, 0.1), (2, 0.1))
    assert pool.best(1.5, inf) is None


def test_an_answer_is_used_a_limited_number_of_times() -> None:
    pool = ProbePool()
    answers(pool, (1, 0.1), (1, 0.2), (1, 0.3))
    used = [pool.best(0.0, 1) for _ in range(3)]
    assert [one.latency for one in used if one] == [0.1, 0.2]


def test_a_full_pool_drops_its_oldest_and_removal_alternates() -> None:
    pool = ProbePool(size=3)
    members = [Endpoint("a", port) for port in range(1, 5)]
    for at, member in enumerate(members):
        pool.add(ProbeAnswer(member, 1.0, 0.4 if at == 2 else 0.1, float(at)))
    assert [one.at for one in pool.answers] == [1.0, 2.0, 3.0]
    pool.remove_one()
    assert [one.at for one in pool.answers] == [2.0, 3.0]
    pool.remove_one()
    assert [one.at for one in pool.answers] == [3.0]


def test_probes_go_to_different_endpoints_and_reports_fill_the_pool() -> None:
    members, random = [Endpoint("a", port) for port in range(1, 21)], Random(1).random
    balancer = Prequal("users", members, rate=3.0)
    probed = balancer.probes(random)
    assert len(set(probed)) == 3
    for index, member in enumerate(probed):
        balancer.reported(member, LoadReport(1.0, in_flight=1.0, latency=0.1 * (index + 1)), 1.0)
    assert balancer.pick(random, 1.1) is probed[0]

"""Outlier ejection, sentence by sentence: Envoy's arithmetic, and gRPC's (A50) where it differs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.balancing import Endpoint
from meshlib.balancing.outlier_criteria import EjectionTime, FailurePercentageEjection, SuccessRateEjection
from meshlib.balancing.outlier_detection import OutlierDetection


def none() -> float:
    return 0.0


def fleet(n: int, detection: OutlierDetection) -> list[Endpoint]:
    members = [Endpoint("a", port) for port in range(1, n + 1)]
    detection.update(members)
    return members


def answer(detection: OutlierDetection, member: Endpoint, *statuses: int, now: float = 0.0) -> None:
    for status in statuses:
        detection.record(member, status, now, none)


def rate(detection: OutlierDetection, member: Endpoint, good: int, bad: int) -> None:
    """So many answers of both kinds, never many bad ones in a row."""
    for place in range(good + bad):
        detection.record(member, 500 if place < 2 * bad and place % 2 else 200, 0.0, none)


def eject(detection: OutlierDetection, member: Endpoint, now: float, random: Callable[[], float] = none) -> None:
    for _ in range(5):
        detection.record(member, 500, now, random)


# --- Runs ---


def test_a_gateway_run_is_ended_by_another_server_error_and_the_5xx_run_is_not() -> None:
    detection = OutlierDetection(enforce=("gateway",))
    members = fleet(3, detection)
    answer(detection, members[0], 502, 503, 504, 502, 500, 503, 503, 503, 503)
    assert (detection.detected["gateway"], detection.detected["5xx"]) == (0, 1)
    answer(detection, members[0], 504)
    assert detection.ejected == (members[0],)


def test_a_run_counts_anew_after_its_threshold_whether_or_not_anybody_was_ejected() -> None:
    detection = OutlierDetection(enforce=())
    members = fleet(3, detection)
    answer(detection, members[0], *[500] * 14)
    assert detection.detected["5xx"] == 2
    answer(detection, members[0], 500)
    assert detection.detected["5xx"] == 3
    assert not detection.ejected


def test_who_is_out_already_is_not_detected_again() -> None:
    detection = OutlierDetection()
    members = fleet(3, detection)
    answer(detection, members[0], *[500] * 40)
    assert (detection.detected["5xx"], detection.overflow) == (1, 0)


@pytest.mark.parametrize(("local", "gateway"), [("timeout", 1), ("connect", 1), ("reset", 0)])
def test_errors_of_our_own_side_count_as_504_503_and_500(local: str, gateway: int) -> None:
    detection = OutlierDetection(enforce=())
    members = fleet(3, detection)
    for _ in range(5):
        detection.record(members[0], None, 0.0, none, local=local)
    assert (detection.detected["5xx"], detection.detected["gateway"], detection.detected["local"]) == (1, gateway, 0)


def test_split_keeps_the_two_sides_apart() -> None:
    detection = OutlierDetection(split=True, enforce=())
    members = fleet(3, detection)
    for _ in range(4):
        detection.record(members[0], 500, 0.0, none)
        detection.record(members[0], None, 0.0, none, local="connect")
    assert detection.detected["local"] == 0  # each answer ends a run of our own errors
    detection.record(members[0], 500, 0.0, none)
    assert detection.detected["5xx"] == 1  # our own errors do not end a run of answers
    for _ in range(5):
        detection.record(members[0], None, 0.0, none, local="connect")
    assert detection.detected["local"] == 1


# --- How many at once ---


def test_the_cap_is_checked_before_enforcement_and_counted_as_overflow() -> None:
    detection = OutlierDetection(max_ejected=0.1, always_one=False, enforce=())
    members = fleet(3, detection)
    answer(detection, members[0], *[500] * 20)
    assert (detection.overflow, detection.detected["5xx"]) == (4, 4)


@pytest.mark.parametrize(("n", "most", "out"), [(10, 0.3, 3), (10, 0.35, 3), (3, 0.1, 1), (3, 0.5, 1), (4, 0.5, 2)])
def test_envoy_ejects_while_the_share_with_the_next_one_is_allowed(n: int, most: float, out: int) -> None:
    detection = OutlierDetection(max_ejected=most)
    for member in fleet(n, detection):
        eject(detection, member, 0.0)
    assert len(detection.ejected) == out


@pytest.mark.parametrize(("n", "most", "out"), [(10, 0.3, 3), (10, 0.35, 4), (3, 0.1, 1), (3, 0.5, 2), (3, 0.0, 0)])
def test_grpc_ejects_until_the_share_is_reached(n: int, most: float, out: int) -> None:
    detection = OutlierDetection.grpc(
        max_ejected=most, failure_percentage=FailurePercentageEjection(0.5, min_hosts=1, min_requests=10)
    )
    for member in fleet(n, detection):
        rate(detection, member, 0, 20)
        answer(detection, member, *[500] * 20)
    detection.sweep(10.0, none)
    assert len(detection.ejected) == out


@given(
    n=st.integers(1, 30),
    most=st.floats(0.0, 1.0),
    bad=st.lists(st.integers(0, 29), max_size=60),
    a50=st.booleans(),
    always_one=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_never_more_are_out_than_allowed_and_one_may_always_be(
    n: int, most: float, bad: list[int], a50: bool, always_one: bool
) -> None:
    detection = OutlierDetection(max_ejected=most, a50=a50, always_one=always_one)
    members = fleet(n, detection)
    for index in bad:
        eject(detection, members[index % n], 0.0)
        share = len(detection.ejected) / n
        assert share <= most + (1.0 / n if a50 else 1e-9) or (always_one and len(detection.ejected) == 1)
    if bad and always_one:
        assert detection.ejected


# --- For how long ---


def test_the_rest_is_base_times_repeats_up_to_the_longest_plus_jitter() -> None:
    detection = OutlierDetection(ejection_time=EjectionTime(30.0, max_time=100.0, jitter=8.0))
    members = fleet(3, detection)
    now, rests = 0.0, []
    for _ in range(6):
        eject(detection, members[0], now, lambda: 0.25)
        rests.append(detection.tally(members[0]).until - now)
        now = detection.tally(members[0]).until
        detection.sweep(now, none)
    assert rests == [32.0, 62.0, 92.0, 102.0, 102.0, 102.0]
    assert detection.tally(members[0]).multiplier == 5  # 30 × 4 < 100 + 30, and no further


def test_envoys_multiplier_falls_after_each_whole_interval_back_and_grpcs_at_every_sweep() -> None:
    for a50, expected in ((False, [2, 2, 1, 0, 0]), (True, [2, 1, 0, 0, 0])):
        detection = OutlierDetection(interval=10.0, ejection_time=30.0, a50=a50)
        members = fleet(3, detection)
        eject(detection, members[0], 0.0)
        detection.sweep(30.5, none)
        eject(detection, members[0], 31.0)
        detection.sweep(95.0, none)  # back
        seen = [detection.tally(members[0]).multiplier]
        for now in (100.0, 110.0, 120.0, 130.0):
            detection.sweep(now, none)
            seen.append(detection.tally(members[0]).multiplier)
        assert seen == expected


def test_no_endpoint_comes_back_between_sweeps_and_all_runs_begin_anew_then() -> None:
    detection = OutlierDetection(ejection_time=5.0)
    members = fleet(3, detection)
    eject(detection, members[0], 0.0)
    answer(detection, members[0], *[500] * 4, now=1.0)
    detection.tick(4.9, none)
    assert not members[0].healthy
    detection.tick(20.0, none)
    assert members[0].healthy
    answer(detection, members[0], *[500] * 4, now=20.0)
    assert members[0].healthy


# --- Comparison ---


@pytest.mark.parametrize(("bad", "out"), [(50, True), (40, True), (30, True)])
def test_the_rate_must_be_below_the_mean_minus_deviations(bad: int, out: bool) -> None:
    detection = OutlierDetection(consecutive_5xx=0, max_ejected=1.0)
    members = fleet(5, detection)
    for member in members[1:]:
        rate(detection, member, 100, 0)
    rate(detection, members[0], 100 - bad, bad)  # a lone one of five is always two deviations away: 2 > 1.9
    detection.sweep(10.0, none)
    assert (members[0] in detection.ejected) is out


def test_a_rate_exactly_at_the_bar_stays() -> None:
    detection = OutlierDetection(consecutive_5xx=0, success_rate=SuccessRateEjection(2.0))
    members = fleet(5, detection)
    for member in members[1:]:
        rate(detection, member, 100, 0)
    rate(detection, members[0], 50, 50)  # mean 0.9, deviation 0.2, bar 0.5
    detection.sweep(10.0, none)
    assert not detection.ejected


def test_endpoints_without_enough_calls_neither_count_nor_are_judged() -> None:
    detection = OutlierDetection(consecutive_5xx=0)
    members = fleet(6, detection)
    for member in members[2:]:
        rate(detection, member, 100, 0)
    rate(detection, members[0], 50, 50)
    rate(detection, members[1], 0, 40)  # worse, but only 40 calls: five with enough are left, and no more
    detection.sweep(10.0, none)
    assert detection.ejected == (members[0],)
    rate(detection, members[1], 0, 99)
    detection.sweep(20.0, none)
    assert members[1].healthy


def test_only_the_last_interval_is_judged() -> None:
    detection = OutlierDetection(consecutive_5xx=0)
    members = fleet(6, detection)
    for member in members:
        rate(detection, member, 60, 0)
    detection.sweep(10.0, none)
    for member in members:
        rate(detection, member, 20 if member is members[0] else 60, 40 if member is members[0] else 0)
    detection.sweep(20.0, none)
    assert not detection.ejected  # sixty calls in each interval are not a hundred


@pytest.mark.parametrize(("a50", "out"), [(False, True), (True, False)])
@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.85])
def test_a_failure_share_at_the_threshold(a50: bool, out: bool, threshold: float) -> None:
    detection = OutlierDetection(
        consecutive_5xx=0,
        failure_percentage=FailurePercentageEjection(threshold, min_hosts=1),
        a50=a50,
        enforce=("failure_percentage",),
    )
    members = fleet(2, detection)
    bad = round(threshold * 100)
    answer(detection, members[0], *[500] * bad, *[200] * (100 - bad))
    detection.sweep(10.0, none)
    assert bool(detection.ejected) is out


def test_split_compares_our_own_errors_by_themselves() -> None:
    detection = OutlierDetection(split=True, consecutive_local=0, max_ejected=1.0)
    members = fleet(6, detection)
    for member in members:
        rate(detection, member, 100, 0)
    for _ in range(100):
        detection.record(members[0], None, 0.0, none, local="connect")
    detection.sweep(10.0, none)
    assert detection.enforced["local_success_rate"] == 1
    assert detection.detected["success_rate"] == 0
    assert detection.ejected == (members[0],)


def test_grpc_knows_no_runs() -> None:
    detection = OutlierDetection.grpc()
    members = fleet(3, detection)
    answer(detection, members[0], *[503] * 60)
    assert not detection.ejected and not any(detection.detected.values())


def test_grpc_lets_back_after_it_has_compared() -> None:
    detection = OutlierDetection.grpc(
        ejection_time=10.0, failure_percentage=FailurePercentageEjection(min_hosts=1, min_requests=10)
    )
    members = fleet(10, detection)
    answer(detection, members[0], *[500] * 20)
    detection.sweep(10.0, none)
    answer(detection, members[1], *[500] * 20)
    detection.sweep(20.1, none)  # the first has rested long enough, but still counts as out: 10 % is reached
    assert members[0].healthy and members[1].healthy
    assert detection.overflow == 1


def test_enforcing_nothing_only_counts() -> None:
    detection = OutlierDetection(enforce=())
    members = fleet(6, detection)
    eject(detection, members[0], 0.0)
    assert detection.detected["5xx"] == 1
    assert not detection.ejected

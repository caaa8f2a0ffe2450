"""Adaptive limits: Netflix's own numbers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.policies.concurrency.limit_algorithms import (
    AIMD,
    ExpAverage,
    FixedLimit,
    Gradient,
    Gradient2,
    Limit,
    Vegas,
    WindowedLimit,
    log10_root,
    square_root,
)


def vegas() -> Vegas:
    return Vegas(alpha=3, beta=6, smoothing=1.0, initial=10, max_limit=20, random=lambda: 0.5)


def test_vegas_grows_by_beta_without_a_queue_and_large_limits_by_more() -> None:
    limit = vegas()
    assert limit.update(0.01, 0.01, 10) == 10  # the first one is the shortest
    assert limit.update(0.02, 0.01, 11) == 16
    large = Vegas(initial=10_000, max_limit=20_000)
    assert large.update(10.0, 10.0, 5000) == 10_000
    assert large.update(20.0, 10.0, 6000) == 10_024


def test_vegas_shrinks_when_a_queue_builds_up_and_stays_within_its_thresholds() -> None:
    limit = vegas()
    limit.update(0.01, 0.01, 10)
    assert limit.update(0.03, 0.02, 10) == 10  # queue 5: between alpha and beta
    assert limit.update(0.04, 0.014, 14) == 10
    assert limit.update(0.08, 0.04, 11) == 9  # queue 8: above beta


@pytest.mark.parametrize(("smoothing", "expected"), [(0.5, [75, 56]), (1.0, [50, 25])])
def test_vegas_smooths_its_steps(smoothing: float, expected: list[int]) -> None:
    limit = Vegas(decrease=lambda limit: limit / 2, smoothing=smoothing, initial=100, max_limit=200)
    assert limit.update(0.01, 0.01, 100) == 100
    assert [limit.update(0.03, 0.02, 100) for _ in range(2)] == expected


def test_vegas_takes_a_drop_as_a_reason_to_shrink_and_idleness_as_none_to_grow() -> None:
    limit = vegas()
    limit.update(0.01, 0.01, 10)
    assert limit.update(0.02, 0.01, 1, True) == 9
    assert limit.update(0.03, 0.01, 4) == 9


def test_vegas_measures_the_shortest_round_trip_anew_now_and_then() -> None:
    limit = Vegas(initial=10, probe_multiplier=1, random=lambda: 0.0)
    limit.update(0.01, 0.01, 1)
    for _ in range(3):
        limit.update(0.02, 0.05, 1)
    assert limit.shortest == 10_000_000
    limit.update(0.02, 0.05, 1)  # the 5th = 0.5 · 1 · 10
    assert limit.shortest == 50_000_000


def test_vegas_wants_a_round_trip() -> None:
    with pytest.raises(ValueError, match=r"^rtt=0\.0"):
        vegas().update(0.0, 0.0, 1)


def test_aimd_grows_by_one_under_load_and_backs_off_by_a_tenth() -> None:
    assert AIMD(min_limit=1, initial=10).limit == 10
    assert AIMD(min_limit=0, max_limit=21, initial=21).update(0.0, 0.001, 11) == 21
    assert AIMD(min_limit=1, initial=10).update(0.0, 0.001, 10) == 11
    assert AIMD(min_limit=1, initial=10).update(0.0, 0.001, 4) == 10
    assert AIMD(min_limit=1, initial=30).update(0.0, 0.001, 0, True) == 27
    assert AIMD(min_limit=1, initial=10, timeout=0.5).update(0.0, 0.6, 10) == 9
    assert AIMD(initial=20).update(0.0, 0.001, 0, True) == 20
    assert AIMD(initial=200).update(0.0, 0.001, 200) == 200


def test_gradient2_grows_by_its_queue_while_round_trips_are_steady() -> None:
    limit = Gradient2()
    assert [limit.update(n, 0.01, 20) for n in range(3)] == [20, 21, 22]  # 20 + 0.2 · 4 each time


def test_gradient2_shrinks_by_the_slope_and_no_more_than_half() -> None:
    limit = Gradient2(initial=100, min_limit=1, smoothing=1.0, tolerance=1.0)
    limit.update(0.0, 0.01, 100)
    assert limit.limit == 104
    # long = (10 + 1000) / 2 = 505, short = 1000: gradient 0.505
    assert limit.update(1.0, 1.0, 104) == int(104 * 0.505 + 4)


def test_gradient2_stays_while_less_than_half_of_it_is_used() -> None:
    limit = Gradient2()
    assert limit.update(0.0, 0.01, 9) == 20
    assert limit.long.count == 1


def test_gradient2_lets_the_long_average_down_after_a_long_overload() -> None:
    limit = Gradient2()
    for _ in range(10):
        limit.update(0.0, 1.0, 1)
    before = limit.long.value
    limit.update(0.0, 0.1, 1)
    factor = 2 / 601
    assert limit.long.value == pytest.approx((before * (1 - factor) + 0.1e9 * factor) * 0.95)


def jittered(limit: Limit, samples: int = 2000) -> Limit:
    """A caller that uses all it may, of a server that takes 0 to 100 ms whatever the load."""
    dice = Random(5)
    for n in range(samples):
        limit.update(n / 1000, 0.1 * dice.random() + 1e-6, limit.limit)
    return limit


@pytest.mark.parametrize("make", [lambda: Vegas(random=Random(1).random), lambda: Gradient(probe_interval=None)])
def test_round_trips_of_uneven_length_alone_bring_no_limit_below_twenty(make: Callable[[], Vegas | Gradient]) -> None:
    limit = jittered(make())
    assert 20 <= limit.limit <= 30
    for _ in range(20):
        limit.update(3.0, 0.05, limit.limit, True)
    assert limit.limit < 20  # drops are another matter
    assert 20 <= jittered(limit).limit <= 30


def test_a_limit_that_begins_below_twenty_goes_as_low_as_it_likes() -> None:
    for limit in (Vegas(initial=19, random=Random(1).random), Gradient(initial=19, probe_interval=None)):
        assert jittered(limit).limit < 15


def test_gradient2_rises_through_uneven_round_trips_if_it_looks_at_more_than_one() -> None:
    assert jittered(Gradient2()).limit < 30
    assert jittered(Gradient2(short_window=30)).limit == pytest.approx(200, abs=5)


def test_gradient2_shrinks_by_its_short_average_too() -> None:
    limit = Gradient2(initial=100, min_limit=1, smoothing=1.0, tolerance=1.0, short_window=3)
    for _ in range(10):
        limit.update(0.0, 0.01, 200)
    assert limit.update(1.0, 1.0, 200) == 140 * 0.5 + 4  # short = (10 + 1000) / 2 ms, long far below


def test_the_average_warms_up_as_a_mean() -> None:
    average = ExpAverage(100, 10)
    assert [average.add(n + 10) for n in range(10)] == [10, 10.5, 11, 11.5, 12, 12.5, 13, 13.5, 14, 14.5]
    assert average.add(100) == pytest.approx(16.2, abs=0.1)


def test_gradient_starts_again_at_its_queue_when_it_probes() -> None:
    limit = Gradient(initial=100, probe_interval=2, random=lambda: 0.0)
    assert limit.update(0.0, 0.01, 100) == 110
    assert limit.update(0.0, 0.01, 110) == 120
    assert limit.update(0.0, 0.01, 120) == 10
    assert Gradient(initial=100, probe_interval=None).update(0.0, 0.01, 100, True) == 98


class Recorded(FixedLimit):
    def __init__(self) -> None:
        super().__init__(10)
        self.seen = list[tuple[float, int, bool]]()

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        self.seen.append((round(rtt, 9), in_flight, dropped))
        return super().update(now, rtt, in_flight, dropped)


def test_a_window_passes_on_one_sample() -> None:
    inner = Recorded()
    limit = WindowedLimit(inner)
    limit.update(0.01, 0.01, 1)  # ends the window before, which was too small
    for n in range(9):
        limit.update(0.5, 0.010 + n / 1000, n, n == 3)
    limit.update(0.6, 0.00005, 99, True)  # too short to be a round trip
    assert inner.seen == []
    limit.update(1.02, 0.100, 5)
    assert inner.seen == [(0.0226, 8, True)]


def test_a_window_may_pass_on_a_percentile() -> None:
    inner = Recorded()
    limit = WindowedLimit(inner, percentile=0.9, min_samples=10)
    limit.update(0.0, 0.01, 1)
    for n in range(1, 11):
        limit.update(2.0 if n == 10 else 0.5, n / 100, 1)
    assert inner.seen == [(0.09, 1, False)]


def test_the_roots() -> None:
    assert [log10_root(n) for n in (0, 1, 99, 100, 1000, 10_000)] == [1, 1, 1, 2, 3, 4]
    assert [square_root(4)(n) for n in (1, 16, 25, 99)] == [4, 4, 5, 9]


@pytest.mark.parametrize("make", [AIMD, Vegas, Gradient2, Gradient, lambda: WindowedLimit(Gradient2(), min_samples=1)])
@given(
    samples=st.lists(st.tuples(st.floats(1e-6, 100.0), st.integers(0, 1500), st.booleans()), min_size=1, max_size=200)
)
def test_a_limit_never_leaves_its_range(make: Callable[[], Limit], samples: list[tuple[float, int, bool]]) -> None:
    limit = make()
    for now, (rtt, in_flight, dropped) in enumerate(samples):
        assert 1 <= limit.update(float(now), rtt, in_flight, dropped) <= 1000
        assert limit.limit == int(limit.limit)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: AIMD(backoff=0.4), "backoff"),
        (lambda: AIMD(backoff=1.0), "backoff"),
        (lambda: AIMD(min_limit=5, max_limit=4), "min_limit"),
        (lambda: Gradient2(tolerance=0.9), "tolerance"),
        (lambda: Gradient2(short_window=0), "short_window"),
        (lambda: Vegas(smoothing=0.0), "smoothing"),
        (lambda: FixedLimit(0), "limit"),
        (lambda: WindowedLimit(FixedLimit(1), min_window=0), "min_window"),
    ],
)
def test_nonsense_is_refused_at_construction(make: Callable[[], object], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}="):
        make()

"""Trips: when it is too much, exactly; and that a success which is not looked at could not have changed anything."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given

from meshlib.policies.breaker.trip import Consecutive, Either, FailureCount, FailureRate, SlowCallRate, Trip
from meshlib.policies.breaker.trip_arguments import trip_parts
from meshlib.policies.statistics.outcome_window import TimeWindow

MAKERS: list[Callable[[], Trip]] = [
    lambda: Consecutive(2),
    lambda: FailureRate(0.5, window_calls=4, minimum_calls=3),
    lambda: FailureRate(0.3, window=3.0, minimum_calls=2),
    lambda: FailureRate(0.6, window=1.0, buckets=2, minimum_calls=2, aligned=False),
    lambda: SlowCallRate(0.5, slow_call=1.0, window_calls=3, minimum_calls=2),
    lambda: FailureCount(2, window=4.0),
    lambda: Either(Consecutive(3), FailureRate(0.5, window_calls=6, minimum_calls=6), SlowCallRate(1.0, slow_call=1.0)),
]


@pytest.mark.parametrize(("bad", "rate"), [(7, 0.07), (29, 0.29), (57, 0.57), (1, 0.01), (100, 1.0), (33, 0.33)])
def test_a_rate_is_reached_at_exactly_its_share(bad: int, rate: float) -> None:
    trip = FailureRate(rate, window_calls=100, minimum_calls=100)
    for i in range(100):
        why = trip.record(i < bad - 1, 0.0, 0.0)
    assert why is None
    trip.clear()
    for i in range(100):
        why = trip.record(i < bad, 0.0, 0.0)
    assert why == f"{bad} of 100 calls failed"


def test_the_minimum_is_capped_at_the_window() -> None:
    trip = FailureRate(1.0, window_calls=2, minimum_calls=100)
    trip.record(True, 0.0, 0.0)
    assert trip.record(True, 0.0, 0.0) == "2 of 2 calls failed"


def test_the_share_reads_minus_one_below_the_minimum() -> None:
    trip = FailureRate(1.0, window_calls=4, minimum_calls=2)
    trip.record(True, 0.0, 0.0)
    assert trip.share(0.0) == -1.0
    trip.record(False, 0.0, 0.0)
    assert trip.share(0.0) == 0.5


def test_good_calls_that_leave_the_window_can_make_it_too_much() -> None:
    trip = FailureRate(0.5, window=2.0, minimum_calls=2)
    for failed, now in ((False, 0.0), (False, 0.0), (True, 1.0)):
        assert trip.record(failed, 0.0, now) is None
    assert trip.plain_until == 2.0
    assert trip.record(False, 0.0, 2.0) == "1 of 2 calls failed"


@pytest.mark.parametrize("maker", MAKERS)
@given(data=st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 1.0, 1.5]), st.sampled_from([0.0, 0.2, 1.0]))))
def test_a_plain_success_that_is_only_stepped_is_as_good_as_recorded(
    maker: Callable[[], Trip], data: list[tuple[bool, float, float]]
) -> None:
    quick, slow, now = maker(), maker(), 0.0
    for failed, took, wait in data:
        now += wait
        expected = slow.record(failed, took, now)
        if not failed and took <= quick.slow_call and now < quick.plain_until:
            quick.step()
            assert expected is None
        else:
            assert quick.record(failed, took, now) == expected
        if quick.quiet:
            assert not failed
        if expected:
            quick.clear()
            slow.clear()


def test_either_counts_everything_and_is_taken_apart() -> None:
    one, two = Consecutive(1), FailureCount(2, window_calls=2)
    trip = Either(Either(one), two)
    assert trip.record(True, 0.0, 0.0) == "1 failure in a row"
    assert trip_parts(trip) == (one, two) and two.totals(0.0).bad == 1
    trip.clear()
    assert trip.quiet is False and one.run == 0 and two.totals(0.0).calls == 0


def test_nonsense_is_refused_and_named() -> None:
    for make, field in (
        (lambda: Consecutive(0), "consecutive_failures="),
        (lambda: FailureRate(1.5), "failure_rate="),
        (lambda: FailureRate(window=1.0, window_calls=1), "window=1.0, window_calls=1"),
        (lambda: FailureCount(3, window_calls=2), "max_failures=3"),
        (lambda: SlowCallRate(slow_call=-1.0), "slow_call="),
        (lambda: FailureRate(buckets=0), "buckets="),
        (lambda: Either(), "trips="),
    ):
        with pytest.raises(ValueError, match=field):
            make()


def test_a_window_of_a_day_is_kept_in_a_thousand_slices() -> None:
    """One a second, it grew to 86,400, and every second all of them were summed up."""
    trip = FailureRate(0.5, window=86_400.0, minimum_calls=1)
    for second in range(100_000):
        trip.record(second % 4 == 0, 0.0, float(second))
    window = trip._window
    assert isinstance(window, TimeWindow)
    assert window.buckets == 1000
    assert len(window._past) < 1000
    assert 86_000 < trip.totals(100_000.0).calls <= 86_400

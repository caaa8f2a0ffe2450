"""Rates: the anchors' own numbers, and what must hold for any sequence of calls."""

from __future__ import annotations

import copy
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.policies.rate.rate_limit import Cycles, FixedWindow, Rate, SlidingWindow, Smooth, TokenBucket

CYCLE = 0.25


def take(rate: Rate, now: float, times: int = 1, permits: int = 1) -> float:
    return [rate.reserve(now, permits, inf) for _ in range(times)][-1]


# --- resilience4j's AtomicRateLimiter -------------------------------------------------------------------------------


def test_cycles_are_full_in_the_first_cycle() -> None:
    assert Cycles(1, per=CYCLE).available(CYCLE - 1e-8) == 1


def test_cycles_refresh_once_per_cycle() -> None:
    rate = Cycles(1, per=CYCLE)
    for now in (CYCLE, 2 * CYCLE):
        assert rate.reserve(now) == 0
        assert (rate.available(now), rate.wait(now)) == (0, CYCLE)
        assert rate.reserve(now) == -1
        assert (rate.available(now), rate.wait(now)) == (0, CYCLE)


def test_a_reservation_is_honoured_and_a_refused_one_takes_nothing() -> None:
    rate = Cycles(1, per=CYCLE)
    assert rate.reserve(CYCLE, 1, CYCLE) == 0
    assert rate.reserve(CYCLE, 1, CYCLE) == CYCLE
    assert (rate.available(CYCLE), rate.wait(CYCLE)) == (-1, 2 * CYCLE)
    assert rate.reserve(CYCLE, 1, CYCLE) == -1
    assert (rate.available(CYCLE), rate.wait(CYCLE)) == (-1, 2 * CYCLE)
    assert rate.available(2 * CYCLE + 1e-8) == 0
    assert rate.wait(2 * CYCLE + 1e-8) == pytest.approx(CYCLE - 1e-8)


def test_after_skipped_cycles_only_one_cycles_worth_is_there() -> None:
    rate = Cycles(1, per=CYCLE)
    rate.reserve(CYCLE, 2, 5 * CYCLE)
    assert (rate.available(6 * CYCLE + 1e-8), rate.wait(6 * CYCLE + 1e-8)) == (1, 0)


def test_many_cycles_are_reserved_when_more_is_asked_than_one_has() -> None:
    rate = Cycles(1, per=CYCLE)
    assert rate.reserve(CYCLE, 1, 5 * CYCLE) == 0
    assert rate.reserve(CYCLE, 3, 5 * CYCLE) == 3 * CYCLE
    assert rate.available(CYCLE) == -3
    assert rate.wait(CYCLE) == 4 * CYCLE


def test_permits_are_reserved_up_front() -> None:
    rate = Cycles(3, per=0.010)
    waits = [rate.reserve(0.010 + n * 1e-9, 1, 0.012) for n in range(1, 10)]
    expected = [0, 0, 0, 0.010 - 4e-9, 0.010 - 5e-9, 0.010 - 6e-9, -1, -1, -1]
    assert waits == pytest.approx(expected, abs=1e-12)


def test_a_larger_limit_shortens_waits_at_once() -> None:
    rate = Cycles(1, per=CYCLE)
    rate.reserve(CYCLE)
    rate.reserve(CYCLE, 1, CYCLE)
    assert (rate.available(CYCLE), rate.wait(CYCLE)) == (-1, 2 * CYCLE)
    rate.resize(2)
    assert (rate.available(CYCLE), rate.wait(CYCLE)) == (-1, CYCLE)
    assert (rate.available(2 * CYCLE + 1e-8), rate.wait(2 * CYCLE + 1e-8)) == (1, 0)


def test_a_changed_limit_counts_from_the_next_cycle() -> None:
    rate = Cycles(1, per=CYCLE)
    rate.reserve(0.0)
    rate.resize(2)
    assert rate.available(0.0) == 0
    assert rate.available(CYCLE) == 2
    assert rate.drain(CYCLE) == 2


# --- failsafe ------------------------------------------------------------------------------------------------------


def test_smooth_waits_as_failsafe_does() -> None:
    rate = Smooth(1, per=0.5, aligned=True)
    seen = []
    for now, permits, times in [(0, 1, 7), (0.8, 3, 1), (2.3, 1, 1), (3.5, 3, 1), (9.1, 3, 1), (11, 1, 1)]:
        wait = take(rate, now, times, permits)
        seen.append((round(wait, 9), rate.next_free))
    assert seen == [(3.0, 3.5), (3.7, 5.0), (2.7, 5.5), (3.0, 7.0), (0.9, 10.5), (0.0, 11.5)]


def test_smooth_with_short_intervals_waits_as_failsafe_does() -> None:
    rate = Smooth(5, per=1.0, aligned=True)
    seen = [(round(take(rate, now, 1, permits), 9), rate.next_free) for now, permits in [(0, 3), (0.55, 2), (2.21, 2)]]
    assert seen == [(0.4, 0.6), (0.25, 1.0), (0.19, 2.6)]


def test_bursty_waits_as_failsafe_does() -> None:
    rate = Cycles(2, per=1.0)
    seen = []
    for now, permits, times in [(0, 1, 7), (0.8, 3, 1), (2.3, 1, 1), (3.5, 1, 3), (7, 1, 1)]:
        wait = take(rate, now, times, permits)
        seen.append((round(wait, 9), rate.available(now), rate.cycle(now)))
    assert seen == [(3.0, -5, 0), (3.2, -8, 0), (2.7, -5, 2), (2.5, -6, 3), (0.0, 1, 7)]


def test_bursty_with_five_a_second_waits_as_failsafe_does() -> None:
    rate = Cycles(5, per=1.0)
    seen = [(round(take(rate, now, 1, k), 9), rate.available(now)) for now, k in [(0.3, 3), (1.55, 10), (2.21, 2)]]
    assert seen == [(0.0, 2), (0.45, -5), (0.79, -2)]


@pytest.mark.parametrize("make", [lambda: Smooth(1, per=500.0, aligned=True), lambda: Cycles(2, per=1.0)])
def test_many_permits_at_once_wait_as_long_as_one_by_one(make: Callable[[], Rate]) -> None:
    whole, single = make(), make()
    for now, permits in [(0.0, 7), (2.7, 5)]:
        assert take(whole, now, 1, permits) == take(single, now, permits)


# --- tower ---------------------------------------------------------------------------------------------------------


def test_a_window_begins_with_the_first_call_after_the_last_one_ended() -> None:
    rate = FixedWindow(1, per=0.1, aligned=False)
    assert rate.reserve(0.05) == 0
    assert rate.reserve(0.1) == -1
    assert rate.wait(0.1) == pytest.approx(0.05)
    assert rate.reserve(0.15) == 0
    assert rate.reserve(0.3) == 0
    assert rate.wait(0.3) == pytest.approx(0.1)


# --- the others ----------------------------------------------------------------------------------------------------


def test_a_token_is_there_at_the_very_moment_it_is_due() -> None:
    rate = TokenBucket(10, burst=10)
    assert [rate.reserve(0.0) for _ in range(11)] == [0.0] * 10 + [-1.0]
    for tenth in range(1, 1000):
        assert rate.reserve(tenth * 0.1) == 0
        assert rate.reserve(tenth * 0.1) == -1


def test_use_one_be_idle_then_burst_admits_no_more_than_the_bucket_holds() -> None:
    rate = TokenBucket(1, burst=10)
    rate.reserve(0.0)
    assert sum(rate.reserve(1000.0) == 0 for _ in range(50)) == 10


def test_refusals_cost_nothing() -> None:
    rate = TokenBucket(20, burst=20)
    admitted = sum(rate.reserve(ms / 1000) == 0 for ms in range(2001))
    assert admitted == 20 + 40


def test_a_sliding_window_has_no_border_to_meet_at() -> None:
    rate = SlidingWindow(2, per=1.0)
    assert [rate.reserve(now) for now in (0.9, 0.95, 1.0, 1.89, 1.9, 1.94, 1.95)] == [0, 0, -1, -1, 0, -1, 0]


def test_an_aligned_window_is_new_at_each_multiple_of_its_period() -> None:
    rate = FixedWindow(2, per=1.0)
    assert [rate.reserve(now) for now in (0.9, 0.95, 0.99, 1.0, 1.0, 1.0)] == [0, 0, -1, 0, 0, -1]


def test_gcra_spaces_evenly_and_allows_its_burst() -> None:
    rate = Smooth(10, per=1.0)
    assert [round(rate.reserve(0.0, 1, 1.0), 9) for _ in range(4)] == [0.0, 0.1, 0.2, 0.3]
    burst = Smooth(10, per=1.0, burst=3)
    assert [round(burst.reserve(0.0, 1, 1.0), 9) for _ in range(5)] == [0.0, 0.0, 0.0, 0.1, 0.2]


# --- properties ----------------------------------------------------------------------------------------------------

RATES: list[Callable[[], Rate]] = [
    lambda: TokenBucket(5, burst=3),
    lambda: Smooth(5, per=1.0, burst=3),
    lambda: Smooth(5, per=1.0, aligned=True),
    lambda: Cycles(3, per=0.6),
    lambda: FixedWindow(3, per=0.6),
    lambda: FixedWindow(3, per=0.6, aligned=False),
    lambda: SlidingWindow(3, per=0.6),
]
CALLS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 3), st.sampled_from([0.0, 0.5, 2.0])), min_size=1, max_size=60
)


@pytest.mark.parametrize("make", RATES)
@given(calls=CALLS)
def test_no_span_of_time_sees_more_than_burst_and_rate_allow(
    make: Callable[[], Rate], calls: list[tuple[int, int, float]]
) -> None:
    rate, now, used = make(), 0.0, list[tuple[float, int]]()
    for gap, permits, max_wait in calls:
        now += gap / 1000
        wait = rate.reserve(now, permits, max_wait)
        if wait >= 0:
            assert wait <= max_wait
            used.append((now + wait, permits))
    used.sort()
    # A call of k permits is used in one moment, while an even spread would have used them over the k - 1 before it.
    for begin in range(len(used)):
        total = 0
        for at, permits in used[begin:]:
            total += permits
            assert total <= 3 + 3 + 3 + 5 * (at - used[begin][0]) + 1e-6


@pytest.mark.parametrize("make", RATES)
@given(calls=CALLS)
def test_wait_tells_what_reserve_would_say_and_a_refusal_takes_nothing(
    make: Callable[[], Rate], calls: list[tuple[int, int, float]]
) -> None:
    rate, now = make(), 0.0
    for gap, permits, max_wait in calls:
        now += gap / 1000
        before, there = rate.wait(now, permits), rate.available(now)
        assert (before == 0) == (there >= permits - 1e-6)
        wait = rate.reserve(now, permits, max_wait)
        if wait < 0:
            assert before > max_wait
            assert rate.wait(now, permits) == before
        else:
            assert wait == before


@pytest.mark.parametrize("make", RATES)
@given(calls=CALLS)
def test_a_refund_leaves_no_trace(make: Callable[[], Rate], calls: list[tuple[int, int, float]]) -> None:
    with_refunds, without, now = make(), make(), 0.0
    for number, (gap, permits, max_wait) in enumerate(calls):
        now += gap / 1000
        if number % 2:
            wait = with_refunds.reserve(now, permits, max_wait)
            if wait >= 0:
                with_refunds.refund(now + wait, permits)
        else:
            wanted = without.reserve(now, permits, max_wait)
            assert with_refunds.reserve(now, permits, max_wait) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("make", RATES)
def test_an_idle_rate_is_as_good_as_new(make: Callable[[], Rate]) -> None:
    rate = make()
    assert rate.idle(0.0)
    rate.reserve(0.0)
    assert not rate.idle(0.0)
    assert rate.idle(10.0)
    assert rate.fresh().wait(10.0, 3) == rate.wait(10.0, 3)


@pytest.mark.parametrize("kind", [TokenBucket, Smooth, Cycles, FixedWindow, SlidingWindow])
@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_nonsense_is_refused_at_construction(kind: Callable[[float], Rate], limit: float) -> None:
    with pytest.raises(ValueError, match=r"^(limit|rate)="):
        kind(limit)


def test_a_copy_of_a_sliding_window_counts_by_itself() -> None:
    """A key that leaves the bucket it shared with others begins with what was left there, and no more."""
    shared = SlidingWindow(3, per=1.0)
    shared.reserve(0.0, 2)
    own = copy.copy(shared)
    assert (own.reserve(0.1), own.reserve(0.1)) == (0.0, -1.0)
    assert shared.available(0.1) == 1

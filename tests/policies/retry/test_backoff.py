"""Waits, with chance as a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from math import sqrt, tanh
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.policies.retry import backoff as recipes
from meshlib.policies.retry import backoff_schedules as backoff


def first(n: int, delays: Iterator[float]) -> list[float]:
    return list(islice(delays, n))


def half() -> float:
    return 0.5


def test_plain_schedules() -> None:
    assert first(3, backoff.constant_waits(2.0)) == [2.0, 2.0, 2.0]
    assert first(4, backoff.linear_waits(1.0, 2.0, 6.0)) == [1.0, 3.0, 5.0, 6.0]
    assert first(4, backoff.exponential_waits(1.0, 3.0, 20.0)) == [1.0, 3.0, 9.0, 20.0]


def test_equal_jittered_waits_out_its_last_step_below_the_maximum() -> None:
    assert first(9, backoff.equal_jittered(5.0, 300.0, half)) == [
        5.0,
        7.5,
        15.0,
        30.0,
        60.0,
        120.0,
        240.0,
        300.0,
        300.0,
    ]
    assert first(6, backoff.equal_jittered(5.0, 50.0, lambda: 0.0)) == [5.0, 5.0, 10.0, 20.0, 40.0, 50.0]


def test_equal_jittered_is_half_fixed_and_ends_at_the_maximum() -> None:
    assert first(6, backoff.equal_jittered(5.0, 50.0, half)) == [5.0, 7.5, 15.0, 30.0, 50.0, 50.0]
    assert first(3, backoff.equal_jittered(5.0, 5.0, half)) == [5.0, 5.0, 5.0]


def test_decorrelated_draws_between_the_last_and_three_times_that() -> None:
    assert first(4, backoff.decorrelated(1.0, 10.0, half)) == [1.0, 2.0, 4.0, 7.0]


def test_exponential_jittered_draws_from_the_wait_before() -> None:
    assert first(4, backoff.exponential_jittered(1.0, 300.0, half)) == [1.0, 1.0, 2.0, 8.0]


def test_exponential_jittered_stays_at_the_maximum_once_it_could_reach_it() -> None:
    assert first(6, backoff.exponential_jittered(1.0, 16.0, half)) == [1.0, 1.0, 2.0, 16.0, 16.0, 16.0]
    assert first(3, backoff.exponential_jittered(2.0, 2.0, half)) == [2.0, 2.0, 2.0]


def test_tower_adds_jitter_on_top() -> None:
    assert first(4, backoff.tower_waits(0.05, 0.1, 1.0, half)) == pytest.approx([0.075, 0.125, 0.125, 0.125])


def test_polly_follows_its_curve() -> None:
    curve = [2**t * tanh(sqrt(4 * t)) for t in (0.5, 1.5, 2.5)]
    waits = [curve[0] / 1.4, (curve[1] - curve[0]) / 1.4, (curve[2] - curve[1]) / 1.4]
    assert first(3, backoff.polly_exponential(1.0, half)) == pytest.approx(waits)
    assert first(2, backoff.spread_waits(backoff.constant_waits(2.0), half)) == [2.0, 2.0]


def test_resilience4j_truncates_to_milliseconds() -> None:
    assert first(6, backoff.resilience4j_exponential(5.0, 1.5)) == [5.0, 7.5, 11.25, 16.875, 25.312, 37.968]
    assert first(1, backoff.resilience4j_randomized(backoff.constant_waits(1.0), half)) == [1.0]


def test_take_until_ends_once_the_total_is_reached() -> None:
    assert list(backoff.waits_until(backoff.linear_waits(1.0, 1.0), 9.0)) == [1.0, 2.0, 3.0, 4.0], "Finagle's takeUntil"
    assert list(backoff.waits_until(backoff.constant_waits(3.0), 9.0)) == [3.0, 3.0, 3.0]
    assert list(backoff.waits_until(backoff.constant_waits(1.0), 0.0)) == []
    assert list(backoff.waits_until(iter([1.0]), 9.0)) == [1.0]


def test_from_nothing_nothing_grows() -> None:
    for delays in (
        backoff.linear_waits(0.0, 0.0),
        backoff.exponential_waits(0.0),
        backoff.polly_exponential(0.0, half),
    ):
        assert set(first(1100, delays)) == {0.0}
    assert (
        first(2, backoff.linear_waits(2.0, 2.0, 0.5))
        == first(2, backoff.exponential_waits(2.0, 2.0, 0.5))
        == [0.5, 0.5]
    )


def test_a_random_delay_lies_anywhere_in_its_range() -> None:
    assert [next(backoff.uniform_waits(1.0, 3.0, lambda draw=draw: draw)) for draw in (0.0, 0.5)] == [1.0, 2.0]


def test_a_spread_wait_moves_by_its_share_and_never_below_nothing() -> None:
    for draw, wait in ((0.0, 0.75), (0.4, 0.95), (0.5, 1.0), (0.6, 1.05)):
        assert next(backoff.spread_waits(backoff.constant_waits(1.0), lambda draw=draw: draw)) == pytest.approx(wait)
    assert next(backoff.spread_waits(backoff.constant_waits(1.0), lambda: 0.0, 0.0, 0.4)) == pytest.approx(0.6)
    assert next(backoff.spread_waits(backoff.constant_waits(1.0), lambda: 0.0, 0.0, 4.0)) == 0.0


def test_a_recipe_takes_a_random_source_or_uses_its_own() -> None:
    assert first(3, recipes.equal_jitter(5.0, 300.0)(half)) == [5.0, 7.5, 15.0]
    assert first(1, recipes.equal_jitter(5.0, 300.0)()) == [5.0]


def test_recipes_are_joined_and_cut() -> None:
    joined = recipes.concat(recipes.take(0.001, 1), recipes.take(recipes.linear(0.002, 0.001), 2), 0.004)
    assert first(5, joined()) == [0.001, 0.002, 0.003, 0.004, 0.004]
    assert list(recipes.concat([], [1.0], [])()) == [1.0]
    assert list(recipes.take_until(recipes.linear(1.0, 1.0), 9.0)()) == [1.0, 2.0, 3.0, 4.0]
    assert first(2, recipes.spread([10.0, 1.0], max_delay=1.1)(half)) == [1.1, 1.0]


def test_resilience4js_recipe_caps_what_was_drawn() -> None:
    assert first(3, recipes.resilience4j(0.1, 2.0, 0.3)()) == [0.1, 0.2, 0.3]
    assert first(3, recipes.resilience4j(0.1, 2.0, 0.3, random_share=0.5)(half)) == [0.1, 0.2, 0.3]
    assert first(1, recipes.resilience4j(0.001, 1.0, random_share=1.0)(lambda: 0.0)) == [0.001], (
        "a millisecond at least"
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: recipes.exponential_jitter(2.0, 1.0),
        lambda: recipes.tower(1.0, 2.0, -1.0),
        lambda: recipes.polly(-1.0),
        lambda: recipes.resilience4j(1.0, 0.5),
        lambda: recipes.resilience4j(1.0, 2.0, random_share=1.5),
        lambda: recipes.uniform(2.0, 1.0),
        lambda: recipes.spread(1.0, 2.0),
        lambda: recipes.take(1.0, -1),
        lambda: recipes.take_until(1.0, -1.0),
        lambda: recipes.concat(-1.0),
    ],
)
def test_a_recipe_without_sense_is_refused_when_it_is_written(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


@given(st.integers(0, 2**32), st.floats(0.001, 10.0), st.floats(1.0, 100.0))
@settings(deadline=None)
def test_no_schedule_leaves_its_bounds(seed: int, start: float, times: float) -> None:
    random, max_delay = Random(seed).random, start * times
    for delays in (
        backoff.equal_jittered(start, max_delay, random),
        backoff.decorrelated(start, max_delay, random),
        backoff.exponential_jittered(start, max_delay, random),
        backoff.full_jittered(start, max_delay, random),
    ):
        assert all(0.0 <= delay <= max_delay * (1 + 1e-9) for delay in first(100, delays))


def test_schedules_go_on_for_ever() -> None:
    for delays in (backoff.exponential_waits(1.0, max_delay=9.0), backoff.polly_exponential(1.0, half, 9.0)):
        assert first(3000, delays)[-1] == 9.0


def test_nonsense_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="max_delay=1"):
        backoff.equal_jittered(2.0, 1.0, half)
    with pytest.raises(ValueError, match="max_delay=-1"):
        backoff.exponential_waits(2.0, 2.0, -1.0)
    with pytest.raises(ValueError, match="start="):
        backoff.decorrelated(0.0, 1.0, half)

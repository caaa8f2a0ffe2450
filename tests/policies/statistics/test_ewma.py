"""Averages that forget: Finagle's and tower's numbers."""

from __future__ import annotations

from math import exp

import pytest

from meshlib.policies.statistics.ewma import Ema, PeakLatency


def test_the_first_sample_is_taken_as_it_is() -> None:
    ema = Ema(10.0)
    assert ema.observe(3.0, 100.0) == 3.0
    assert ema.observe(1.0, 110.0) == pytest.approx(1.0 * (1 - exp(-1)) + 3.0 * exp(-1))


def test_a_window_of_nothing_does_not_average() -> None:
    ema = Ema(0.0)
    ema.observe(3.0, 1.0)
    assert ema.observe(1.0, 2.0) == 1.0


def test_time_does_not_go_backwards() -> None:
    ema = Ema(1.0)
    ema.observe(1.0, 2.0)
    with pytest.raises(ValueError, match="stamp="):
        ema.observe(1.0, 1.0)


def test_a_peak_counts_at_once_and_falls_slowly() -> None:
    peak = PeakLatency(10.0)
    peak.observe(0.1, 0.0)
    assert peak.observe(2.0, 1.0) == 2.0
    assert peak.observe(0.1, 2.0) == pytest.approx(0.1 * (1 - exp(-0.1)) + 2.0 * exp(-0.1))


def test_load_counts_the_calls_in_flight_and_reading_does_not_write() -> None:
    peak = PeakLatency(0.5, first_guess=0.02)
    assert peak.load(1, 0.0) == pytest.approx(0.04)
    peak.observe(0.2, 0.2)
    assert [peak.load(1, 0.2), peak.load(0, 0.2)] == pytest.approx([0.4, 0.2])
    assert peak.load(0, 1.2) < 0.1
    assert peak.load(0, 0.2) == pytest.approx(0.2)


def test_where_looking_settles_the_next_sample_is_measured_against_what_was_seen() -> None:
    looks, does_not = PeakLatency(10.0, settles=True), PeakLatency(10.0)
    for cost in (looks, does_not):
        cost.observe(1.0, 0.0)
        assert cost.value(10.0) == pytest.approx(exp(-1))
    assert looks.observe(0.5, 10.0) == 0.5, "Finagle: 0.5 is a new peak above 0.37"
    assert does_not.observe(0.5, 10.0) == pytest.approx(0.5 + 0.5 * exp(-1)), "tower: the last sample was 1.0"


def test_without_data_an_endpoint_costs_nothing_until_a_call_is_under_way() -> None:
    cost = PeakLatency(10.0, penalty=140737.0, settles=True)
    assert [cost.load(pending, 1.0) for pending in (0, 1, 2)] == [0.0, 140738.0, 140739.0]
    cost.observe(0.1, 2.0)
    assert cost.load(1, 2.0) == 0.2

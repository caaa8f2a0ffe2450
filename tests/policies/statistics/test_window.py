"""Windows: what they hold, to the call and to the second."""

from __future__ import annotations

import threading
from collections import deque

import hypothesis.strategies as st
from hypothesis import given

from meshlib.policies.statistics.outcome_window import CountWindow, TimeWindow, Totals


def test_a_count_window_holds_the_last_calls_and_no_more() -> None:
    window = CountWindow(3)
    for bad in (True, False, False):
        window.record(bad, 0.0)
    assert window.totals(0.0) == Totals(3, 1)
    window.record(False, 0.0)
    assert window.totals(0.0) == Totals(3, 0)


@given(st.integers(1, 7), st.lists(st.booleans(), max_size=40))
def test_a_count_window_is_a_ring_of_outcomes(size: int, outcomes: list[bool]) -> None:
    window, ring = CountWindow(size), deque[bool](maxlen=size)
    for bad in outcomes:
        if bad:
            window.record(True, 0.0)
        else:
            window.step()
        ring.append(bad)
        assert window.totals(0.0) == Totals(len(ring), sum(ring))


@given(
    st.sampled_from([(5.0, 5), (10.0, 10), (1.0, 10), (0.3, 3), (7.0, 4)]),
    st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=30),
)
def test_an_aligned_time_window_holds_whole_slices(shape: tuple[float, int], steps: list[tuple[float, bool]]) -> None:
    seconds, buckets = shape
    window, now, calls = TimeWindow(seconds, buckets), 100.0, []
    width = seconds / buckets
    for wait, bad in steps:
        now += wait
        if not bad and now < window.turns:
            window.step()
        else:
            window.record(bad, now)
        # A call belongs to the slice that the window saw: rounding may move its edge by the last bit.
        calls.append((window._leaves, bad))
        alive = [bad for leaves, bad in calls if leaves > now]
        assert window.totals(now) == Totals(len(alive), sum(alive))
        assert window.turns > now and window._leaves - now <= seconds + width


def test_a_time_window_turns_at_whole_slices_of_the_clock() -> None:
    window = TimeWindow(5.0, 5)
    window.record(True, 10.9)
    assert window.turns == 11.0
    assert window.totals(14.999) == Totals(1, 1)
    assert window.totals(15.0) == Totals(0, 0)


def test_a_slice_that_is_not_aligned_begins_with_its_first_call() -> None:
    window = TimeWindow(10.0, 10, aligned=False)
    window.record(True, 0.9)
    assert window.turns == 1.9
    assert window.totals(10.89) == Totals(1, 1)
    assert window.totals(10.9) == Totals(0, 0)


def test_a_clock_read_before_the_turn_counts_in_the_current_slice() -> None:
    window = TimeWindow(2.0, 2)
    window.record(False, 5.0)
    window.record(True, 4.9)
    assert window.totals(4.0) == Totals(2, 1)
    assert window.totals(7.0) == Totals(0, 0)


def test_a_step_taken_late_is_counted_in_its_own_slice() -> None:
    window = TimeWindow(3.0, 3)
    window.record(False, 0.0)
    late = window.step
    window.record(False, 1.0)
    late()
    window.record(False, 2.0)
    assert window.totals(2.0) == Totals(4, 0)
    assert window.totals(3.0) == Totals(2, 0)


def test_a_long_silence_empties_it_at_once() -> None:
    window = TimeWindow(10.0, 10)
    for now in range(10):
        window.record(True, float(now))
    assert window.totals(1e9) == Totals(0, 0)


def test_steps_of_sixteen_threads_are_all_counted() -> None:
    window, start = CountWindow(10**9), threading.Barrier(16)

    def work() -> None:
        start.wait()
        for _ in range(2000):
            window.step()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert window.totals(0.0) == Totals(32_000, 0)

"""The anchors' own test cases, replayed: resilience4j, Polly, Hystrix, failsafe-go (see the names of the tests)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from meshlib.call import FAILURE, IGNORED, SUCCESS, Verdict
from meshlib.errors import BreakerOpen
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker, ManualControl, Probes, State, TripContext
from meshlib.policies.breaker.cooldown import interval
from meshlib.policies.breaker.trip import Either, FailureCount, FailureRate, SlowCallRate
from meshlib.testing import ManualClock

CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN
FORCED_OPEN, DISABLED, METRICS_ONLY = State.FORCED_OPEN, State.DISABLED, State.METRICS_ONLY


def played(breaker: CircuitBreaker, story: str, now: float = 0.0, took: float = 0.0) -> CircuitBreaker:
    """S succeeds, F fails, T fails too (a time-out), I is ignored, L succeeds slowly (5 s)."""
    for letter in story:
        verdict: Verdict = {"S": SUCCESS, "L": SUCCESS, "I": IGNORED}.get(letter, FAILURE)
        breaker.leave(breaker.enter(now), verdict, now, 5.0 if letter == "L" else took)
    return breaker


def refused(breaker: CircuitBreaker, now: float) -> float | None:
    with pytest.raises(BreakerOpen) as caught:
        breaker.enter(now)
    return caught.value.retry_after


# --- resilience4j: CircuitBreakerStateMachineTest and its neighbours


def r4j(*, failure_rate: float = 0.5, window_calls: int = 5, minimum_calls: int = 5, **settings: Any) -> CircuitBreaker:
    defaults: dict[str, Any] = {
        "cooldown": interval(5.0, 1.5),
        "probes": Probes(4, by_rate=True, max_duration=1.0),
        "ignore": KeyError,
        "runtime": ManualClock(),
    }
    rates: dict[str, Any] = {"window_calls": window_calls, "minimum_calls": minimum_calls}
    trip = Either(FailureRate(failure_rate, **rates), SlowCallRate(0.5, slow_call=4.0, **rates))
    return CircuitBreaker(name="r4j", trip=trip, **{**defaults, **settings})


def test_resilience4j_nothing_is_decided_below_the_minimum_and_the_rates_read_minus_one() -> None:
    look = played(r4j(), "FFFF").metrics(0.0)
    assert (look.state, look.calls, look.failures) == (CLOSED, 4, 4)
    assert look.failure_rate == look.slow_call_rate == -1.0


def test_resilience4j_a_success_can_be_the_call_that_opens() -> None:
    breaker = played(r4j(window_calls=10), "FFFS")
    assert played(breaker, "S").state == OPEN


def test_resilience4j_exactly_the_threshold_opens() -> None:
    assert played(r4j(window_calls=4, minimum_calls=4), "FFSS").state == OPEN
    assert played(r4j(window_calls=4, minimum_calls=4), "FSSS").state == CLOSED


def test_resilience4j_three_of_five_slow_calls_open() -> None:
    breaker = r4j(failure_rate=1.0)
    assert played(breaker, "SSLLL").state == OPEN
    assert breaker.metrics(0.0).slow_call_rate == 0.6


def test_resilience4j_slow_is_strictly_longer() -> None:
    assert played(r4j(), "SSSSS", took=4.0).state == CLOSED
    assert played(r4j(), "SSSSS", took=4.001).state == OPEN


def test_resilience4j_open_counts_refusals_and_half_open_begins_to_count_anew() -> None:
    breaker = played(r4j(), "FFFFF")
    for now in (1.0, 3.0, 4.999):
        refused(breaker, now)
    assert breaker.metrics(4.999).rejected_lately == 3
    breaker.leave(breaker.enter(6.0), IGNORED, 6.0)
    look = breaker.metrics(6.0)
    assert (look.state, look.rejected_lately, look.calls, look.failure_rate) == (HALF_OPEN, 0, 0, -1.0)


def test_resilience4j_the_second_wait_is_longer_and_a_close_begins_anew() -> None:
    breaker = played(r4j(), "FFFFF")
    played(breaker, "FFFS", now=5.0)
    assert breaker.state == OPEN
    assert refused(breaker, 5.0) == 7.5
    played(breaker, "SSSF", now=12.5)
    assert breaker.state == CLOSED
    assert refused(played(breaker, "FFFFF", now=20.0), 20.0) == 5.0


def test_resilience4j_three_of_four_failed_probes_reopen_and_one_of_four_closes() -> None:
    breaker = played(r4j(), "FFFFF")
    assert played(breaker, "SFF", now=5.0).state == HALF_OPEN
    assert played(breaker, "F", now=5.0).state == OPEN
    metrics = breaker.metrics(5.0)
    assert (metrics.failure_rate, metrics.calls, metrics.failures) == (0.75, 4, 3), "what the round said stays readable"
    breaker = played(r4j(), "FFFFF")
    assert played(breaker, "FSSS", now=5.0).state == CLOSED


def test_resilience4j_four_permits_and_no_fifth() -> None:
    breaker = played(r4j(), "FFFFF")
    permits = [breaker.enter(5.0) for _ in range(4)]
    refused(breaker, 5.0)
    for permit in permits[:3]:
        breaker.leave(permit, SUCCESS, 5.0)
    refused(breaker, 5.0)
    breaker.leave(permits[3], SUCCESS, 5.0)
    assert breaker.state == CLOSED


def test_resilience4j_half_open_is_decided_at_the_smaller_of_minimum_and_permits() -> None:
    breaker = r4j(window_calls=20, minimum_calls=2, probes=Probes(10, by_rate=True, max_duration=1.0))
    breaker.open()
    assert played(breaker, "S", now=5.0).state == HALF_OPEN
    assert played(breaker, "S", now=5.0).state == CLOSED


def test_resilience4j_slow_probes_reopen() -> None:
    breaker = played(r4j(failure_rate=1.0), "FFFFF")
    assert played(breaker, "LLSS", now=5.0).state == OPEN


def test_resilience4j_ignored_errors_keep_half_open_alive() -> None:
    breaker = played(r4j(), "FFFFF")
    assert played(breaker, "IIIIIIII", now=5.0).state == HALF_OPEN
    assert played(breaker, "SSSS", now=5.0).state == CLOSED


def test_resilience4j_a_probe_that_never_returns_keeps_its_place_if_it_may() -> None:
    breaker = played(r4j(probes=Probes(4, by_rate=True, lease=inf)), "FFFFF")
    for _ in range(4):
        breaker.enter(5.0)
    assert refused(breaker, 1e9) is None


def test_resilience4j_half_open_lasts_a_second_at_most() -> None:
    breaker = played(r4j(), "FFFFF")
    played(breaker, "SS", now=5.0)
    assert refused(breaker, 6.0) == 7.5
    assert breaker.state == OPEN


def test_resilience4j_half_open_may_end_closed() -> None:
    breaker = played(r4j(probes=Probes(4, by_rate=True, max_duration=1.0, then=CLOSED)), "FFFFF")
    played(breaker, "SS", now=5.0)
    breaker.enter(6.0)
    assert breaker.state == CLOSED


def test_resilience4j_forced_open_is_still_shut_after_the_wait_and_counts() -> None:
    breaker = r4j()
    breaker.force_open()
    assert refused(breaker, 6.0) is None
    assert breaker.metrics(6.0).rejected_lately == 1


def test_resilience4j_open_for_a_time_keeps_the_attempts() -> None:
    breaker = played(r4j(), "FFFFF")
    breaker.open(60.0)
    assert refused(breaker, 0.0) == 60.0
    played(breaker, "FFFF", now=60.0)
    assert refused(breaker, 60.0) == 7.5
    breaker.open()
    assert refused(breaker, 0.0) == 11.25


REACHED: dict[State, tuple[Callable[[CircuitBreaker], None], ...]] = {
    CLOSED: (),
    OPEN: (CircuitBreaker.open,),
    HALF_OPEN: (CircuitBreaker.open, CircuitBreaker.half_open),
    FORCED_OPEN: (CircuitBreaker.force_open,),
    DISABLED: (CircuitBreaker.disable,),
    METRICS_ONLY: (CircuitBreaker.metrics_only,),
}


@pytest.mark.parametrize("before", list(State))
@pytest.mark.parametrize("after", list(State))
def test_resilience4j_legal_moves_by_hand(before: State, after: State) -> None:
    breaker = CircuitBreaker(runtime=ManualClock())
    for move in REACHED[before]:
        move(breaker)
    heard: list[Any] = []
    breaker.subscribe(heard.append)
    move = {
        CLOSED: breaker.reset,
        OPEN: breaker.open,
        HALF_OPEN: breaker.half_open,
        FORCED_OPEN: breaker.force_open,
        DISABLED: breaker.disable,
        METRICS_ONLY: breaker.metrics_only,
    }[after]
    legal = after not in {CLOSED: {HALF_OPEN}, METRICS_ONLY: {OPEN, HALF_OPEN}}.get(before, set())
    if legal:
        move()
    else:
        with pytest.raises(RuntimeError, match=f"{before} cannot be made {after}"):
            move()
    assert breaker.state == (after if legal else before)
    assert len(heard) == (1 if legal and before != after else 0)


def test_resilience4j_interval_functions() -> None:
    wait = interval(5.0, 1.5)
    assert [wait(TripContext(n)) for n in range(1, 7)] == [5.0, 7.5, 11.25, 16.875, 25.312, 37.968]
    assert interval()(TripContext(1)) == 0.5
    assert interval(1.0, 2.0, max_cooldown=3.0)(TripContext(9)) == 3.0
    assert interval(1.0, 1.0)(TripContext(10_000)) == 1.0
    assert interval(1.0, 10.0)(TripContext(10_000)) > 1e12
    spread = interval(2.0, 1.0, spread=0.5)
    assert spread(TripContext(1, random=0.0)) == 1.0
    assert spread(TripContext(1, random=0.5)) == 2.0
    assert spread(TripContext(1, random=1 - 1e-12)) == 3.0


@pytest.mark.parametrize(
    "settings", [{"initial": 0}, {"factor": 0.5}, {"spread": 2.0}, {"max_cooldown": 0}, {"initial": float("nan")}]
)
def test_intervals_without_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))}="):
        interval(**settings)


def test_resilience4j_a_call_lives_for_all_seconds_of_its_window_but_a_part_of_one() -> None:
    breaker = CircuitBreaker(failure_rate=1.0, window=5.0, minimum_calls=1, runtime=ManualClock())
    breaker.metrics_only()
    played(breaker, "F", now=10.9)
    assert breaker.metrics(14.999).calls == 1
    assert breaker.metrics(15.0).calls == 0


# --- Polly: CircuitStateControllerTests, AdvancedCircuitBehaviorTests


def polly(**settings: Any) -> CircuitBreaker:
    trip = FailureRate(0.1, window=30.0, buckets=10, minimum_calls=10, aligned=False)
    return CircuitBreaker(name="polly", **{"trip": trip, "cooldown": 1.0, "runtime": ManualClock(), **settings})


def test_polly_ten_failures_open_and_the_refusal_says_when() -> None:
    breaker = played(polly(), "F" * 10)
    assert refused(breaker, 0.0) == 1.0
    assert refused(breaker, 0.5) == 0.5
    breaker.enter(1.0)
    assert refused(breaker, 1.25) == 0.75


def test_polly_a_failed_probe_opens_anew_and_a_good_one_empties_the_window() -> None:
    breaker = played(polly(), "F" * 10)
    assert played(breaker, "F", now=1.0).state == OPEN
    assert refused(breaker, 1.0) == 1.0
    assert played(breaker, "S", now=2.0).state == CLOSED
    assert breaker.metrics(2.0).calls == 0


def test_polly_the_generator_sees_the_half_open_attempts_and_begins_anew_after_a_close() -> None:
    seen: list[tuple[int, float, int]] = []

    def generator(opening: TripContext) -> float:
        seen.append((opening.half_opens, opening.failure_rate, opening.failures))
        return 1.0

    breaker = played(polly(cooldown=generator), "F" * 10)
    for now in range(1, 5):
        played(breaker, "F", now=float(now))
    assert [half_opens for half_opens, *_ in seen] == [0, 1, 2, 3, 4]
    assert seen[0] == (0, 1.0, 10)
    played(breaker, "S", now=5.0)
    played(breaker, "F" * 10, now=5.0)
    played(breaker, "F", now=6.0)
    played(breaker, "F", now=7.0)
    assert [half_opens for half_opens, *_ in seen[5:]] == [0, 1, 2]


def test_polly_one_manual_control_drives_many_breakers_and_those_to_come() -> None:
    control = ManualControl()
    first = polly(manual=control)
    control.force_open()
    second = polly(manual=control)
    for breaker in (first, second):
        assert breaker.state == FORCED_OPEN and refused(breaker, 0.0) is None
    control.reset()
    assert first.state == second.state == polly(manual=control).state == CLOSED
    control.metrics_only()
    control.disable()
    assert second.state == DISABLED


def test_a_breaker_that_joins_a_switch_while_it_is_thrown_ends_where_the_switch_is() -> None:
    control, joining = ManualControl(), threading.Event()
    control.force_open()

    class Slow(ManualClock):
        asked = 0

        def now(self) -> float:
            self.asked += 1
            if self.asked == 1:  # for the move that the control demands
                joining.set()
                resetting.join(0.05)  # the other thread, if it can, resets every breaker now
            return super().now()

    def reset() -> None:
        joining.wait(5.0)
        control.reset()

    resetting = threading.Thread(target=reset)
    resetting.start()
    late = CircuitBreaker(manual=control, runtime=Slow())
    resetting.join()
    assert late.state == CLOSED


def test_a_listener_may_throw_the_switch_that_moved_its_breaker() -> None:
    control = ManualControl()
    breakers = [CircuitBreaker(manual=control, runtime=ManualClock()) for _ in range(3)]
    for breaker in breakers:
        breaker.subscribe(lambda event: control.reset() if event.after == FORCED_OPEN else None)
    control.force_open()
    assert [breaker.state for breaker in breakers] == [CLOSED] * 3


def test_polly_a_slice_begins_with_its_first_call_and_leaves_after_the_whole_period() -> None:
    breaker = CircuitBreaker(
        trip=FailureRate(1.0, window=10.0, buckets=10, minimum_calls=2, aligned=False), runtime=ManualClock()
    )
    played(breaker, "S", now=0.9)
    played(breaker, "F", now=1.85)  # the same slice: 0.9 to 1.9
    assert breaker.metrics(10.85).calls == 2
    assert breaker.metrics(10.9).calls == 0


# --- Hystrix: HystrixCircuitBreakerTest (40 %, volume 1, sleep 200 ms, window 5 s)


def hystrix(*, minimum_calls: int = 8, **settings: Any) -> CircuitBreaker:
    defaults: dict[str, Any] = {
        "trip": FailureRate(0.4, window=5.0, buckets=10, minimum_calls=minimum_calls),
        "cooldown": 0.2,
    }
    return CircuitBreaker(name="hystrix", **{**defaults, **settings, "runtime": ManualClock()})


@pytest.mark.parametrize(
    ("story", "state"), [("SSSSFFFF", OPEN), ("SSFSSFSF", CLOSED), ("TTTTTTTT", OPEN), ("SSTSTTST", OPEN)]
)
def test_hystrix_stories(story: str, state: State) -> None:
    assert played(hystrix(), story).state == state


def test_hystrix_below_the_volume_nothing_opens() -> None:
    assert played(hystrix(minimum_calls=5), "FFFF").state == CLOSED
    assert played(hystrix(minimum_calls=5), "FFFFF").state == OPEN


def test_hystrix_one_trial_per_sleep_and_several_failing_trials_in_a_row() -> None:
    breaker = hystrix(minimum_calls=1)
    played(breaker, "F")
    for turn in range(1, 5):
        now = 0.2 * turn + 1e-9
        permit = breaker.enter(now)
        refused(breaker, now)
        breaker.leave(permit, FAILURE, now - 1e-9)
        assert breaker.state == OPEN
    assert played(breaker, "S", now=1.0 + 1e-6).state == CLOSED


def test_hystrix_a_cancelled_trial_does_not_stick() -> None:
    breaker = played(hystrix(minimum_calls=1), "F")
    assert played(breaker, "IS", now=0.2).state == CLOSED


# --- failsafe-go: closedstate_test, halfopenstate_test, openstate_test


def test_failsafe_alternating_with_three_of_four_never_opens() -> None:
    assert played(CircuitBreaker(trip=FailureCount(3, window_calls=4)), "SF" * 20).state == CLOSED
    assert played(CircuitBreaker(trip=FailureCount(2, window_calls=4)), "SFSF").state == OPEN


def test_failsafe_the_rate_reads_from_the_first_call_on() -> None:
    breaker = CircuitBreaker(name="failsafe", trip=FailureCount(5, window_calls=10))
    assert breaker.failure_rate(0.0) == -1.0
    look = played(breaker, "SFSFSFS").metrics(0.0)
    assert (look.calls, look.failures, round(look.failure_rate, 2)) == (7, 3, 0.43)
    look = played(breaker, "FSSSFSSSFSSSFSS").metrics(0.0)
    assert (look.calls, look.failures, look.failure_rate) == (10, 2, 0.2)


def test_failsafe_n_in_a_period() -> None:
    breaker = CircuitBreaker(trip=FailureCount(3, window=10.0, buckets=10))
    played(breaker, "F", now=0.0)
    played(breaker, "F", now=5.0)
    assert played(breaker, "F", now=10.0).state == CLOSED
    assert played(breaker, "F", now=11.0).state == OPEN


@pytest.mark.parametrize(
    ("successes", "probes", "story", "state"),
    [
        (3, 3, "SSF", OPEN),
        (3, 3, "SSS", CLOSED),
        (2, 4, "SFF", HALF_OPEN),
        (2, 4, "SFFF", OPEN),
        (2, 4, "SFFS", CLOSED),
        (1, 1, "F", OPEN),
        (1, 1, "S", CLOSED),
    ],
)
def test_failsafe_success_thresholds_decide_as_soon_as_they_can(
    successes: int, probes: int, story: str, state: State
) -> None:
    breaker = CircuitBreaker(probes=Probes(probes, successes=successes), cooldown=60.0, runtime=ManualClock())
    breaker.open()
    assert played(breaker, story, now=60.0).state == state


@pytest.mark.parametrize(("story", "state"), [("FF", OPEN), ("SSF", HALF_OPEN), ("SSFS", CLOSED), ("SFF", OPEN)])
def test_failsafe_without_one_the_failure_threshold_decides(story: str, state: State) -> None:
    """n = 2 of m = 4: two failures open; more than m − n = 2 successes close: Probes(m, successes=m − n + 1)."""
    breaker = CircuitBreaker(probes=Probes(4, successes=3), cooldown=60.0, runtime=ManualClock())
    breaker.open()
    assert played(breaker, story, now=60.0).state == state

"""The breaker's own rules: generations, leases, permits, cooldowns, what counts."""

from __future__ import annotations

import inspect
from math import inf, nan
from typing import Any

import pytest

from meshlib.call import FAILURE, FATAL, IGNORED, SUCCESS, Call, Verdict, raised
from meshlib.errors import BreakerOpen, BulkheadFull, DeadlineExceeded
from meshlib.events import BreakerChanged, BreakerWouldOpen, Event
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker, Cooldown, ManualControl, Probes, State, TripContext
from meshlib.policies.breaker.trip import Consecutive, Either, FailureCount, FailureRate, SlowCallRate
from meshlib.policies.breaker.trip_arguments import choose_trip
from meshlib.testing import ManualClock

OF_TRIPS = list(inspect.signature(choose_trip).parameters)


def made(**settings: Any) -> CircuitBreaker:
    """A breaker; the settings that only its trips take may stand beside its own."""
    settings.setdefault("runtime", ManualClock())
    if "window_calls" in settings:
        settings["trip"] = choose_trip(**{field: settings.pop(field) for field in OF_TRIPS if field in settings})
    return CircuitBreaker(name="users", **settings)


def call(breaker: CircuitBreaker, verdict: Verdict, now: float = 0.0, took: float = 0.0) -> None:
    breaker.leave(breaker.enter(now), verdict, now, took)


def refused(breaker: CircuitBreaker, now: float) -> BreakerOpen:
    with pytest.raises(BreakerOpen) as caught:
        breaker.enter(now)
    return caught.value


# --- when it opens


def test_five_failures_in_a_row_open_it_by_default() -> None:
    breaker = made()
    for _ in range(4):
        call(breaker, FAILURE)
    assert breaker.state == State.CLOSED
    call(breaker, FATAL)
    assert breaker.state == State.OPEN


def test_a_success_between_starts_the_row_afresh() -> None:
    breaker = made(consecutive_failures=2)
    for _ in range(10):
        call(breaker, FAILURE)
        call(breaker, SUCCESS)
    assert breaker.state == State.CLOSED


def test_any_of_several_trips_opens_it() -> None:
    breaker = made(consecutive_failures=3, failure_rate=0.5, window_calls=10, minimum_calls=4)
    for verdict in (FAILURE, SUCCESS, FAILURE, SUCCESS):
        call(breaker, verdict)
    assert breaker.reason == "2 of 4 calls failed"
    breaker.reset()
    for _ in range(3):
        call(breaker, FAILURE)
    assert breaker.reason == "3 failures in a row"


def test_a_trip_of_your_own_decides() -> None:
    breaker = made(trip=Either(Consecutive(9), FailureCount(2, window_calls=10)))
    call(breaker, FAILURE)
    call(breaker, SUCCESS)
    call(breaker, FAILURE)
    assert breaker.state == State.OPEN


# --- generations


def test_late_success_does_not_heal_a_newer_break() -> None:
    breaker = made(trip=Consecutive(1), cooldown=10.0)
    slow, quick = breaker.enter(0.0), breaker.enter(0.0)
    breaker.leave(quick, FAILURE, 1.0)
    breaker.leave(slow, SUCCESS, 2.0)
    refused(breaker, 3.0)


def test_late_failure_does_not_open_a_newer_close() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0)
    slow = breaker.enter(0.0)
    call(breaker, FAILURE)
    call(breaker, SUCCESS, 10.0)
    breaker.leave(slow, FAILURE, 11.0)
    assert breaker.state == State.CLOSED


def test_a_call_from_before_the_break_does_not_decide_half_open() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0)
    slow = breaker.enter(0.0)
    call(breaker, FAILURE)
    breaker.enter(10.0)
    breaker.leave(slow, SUCCESS, 11.0)
    assert breaker.state == State.HALF_OPEN
    refused(breaker, 11.0)


def test_a_probe_of_an_earlier_round_does_not_count_in_the_next() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0, probes=2)
    call(breaker, FAILURE)
    slow, bad = breaker.enter(10.0), breaker.enter(10.0)
    breaker.leave(bad, FAILURE, 11.0)
    first = breaker.enter(21.0)
    breaker.leave(slow, SUCCESS, 21.0)
    second = breaker.enter(21.0)
    refused(breaker, 21.0)
    breaker.leave(first, SUCCESS, 22.0)
    assert breaker.state == State.HALF_OPEN
    breaker.leave(second, SUCCESS, 22.0)
    assert breaker.state == State.CLOSED


def test_an_outcome_given_twice_counts_once_in_half_open() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0, probes=2)
    call(breaker, FAILURE)
    probe = breaker.enter(10.0)
    breaker.leave(probe, SUCCESS, 10.0)
    breaker.leave(probe, SUCCESS, 10.0)
    assert breaker.state == State.HALF_OPEN


def test_what_was_admitted_while_disabled_counts_for_nothing_afterwards() -> None:
    breaker = made(consecutive_failures=1)
    breaker.disable()
    old = breaker.enter(0.0)
    breaker.reset()
    breaker.leave(old, FAILURE, 1.0)
    assert breaker.state == State.CLOSED


# --- half-open


def test_it_leaves_open_at_the_end_of_the_cooldown_and_not_before() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0)
    call(breaker, FAILURE, 1.0)
    assert refused(breaker, 10.999).retry_after == pytest.approx(0.001)
    breaker.enter(11.0)
    assert breaker.state == State.HALF_OPEN


def test_a_hung_probe_costs_one_lease_and_not_the_service() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0)
    call(breaker, FAILURE)
    hung = breaker.enter(10.0)
    assert refused(breaker, 19.9).retry_after == pytest.approx(0.1)
    second = breaker.enter(20.0)
    refused(breaker, 20.0)
    breaker.leave(second, SUCCESS, 21.0)
    assert breaker.state == State.CLOSED
    breaker.leave(hung, FAILURE, 22.0)
    assert breaker.state == State.CLOSED


def test_a_service_slower_than_the_cooldown_closes_the_breaker_by_its_first_good_answer() -> None:
    breaker = made(consecutive_failures=1, cooldown=1.0)
    call(breaker, FAILURE)
    asked = [(now, breaker.enter(now)) for now in (1.0, 2.0, 3.0)]
    began, first = asked[0]
    breaker.leave(first, SUCCESS, began + 2.5)
    assert breaker.state == State.CLOSED


def test_a_service_slower_than_the_cooldown_opens_the_breaker_by_its_first_bad_answer() -> None:
    breaker = made(consecutive_failures=1, cooldown=Cooldown(1.0, factor=2.0))
    call(breaker, FAILURE)
    asked = [breaker.enter(now) for now in (1.0, 2.0, 3.0)]
    breaker.leave(asked[0], FAILURE, 3.5)
    assert breaker.state == State.OPEN
    assert refused(breaker, 3.5).retry_after == pytest.approx(2.0)
    for late in asked[1:]:
        breaker.leave(late, SUCCESS, 5.0)
    assert breaker.state == State.OPEN


def test_overdue_probes_count_among_the_others_and_take_no_place() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0, probes=Probes(2, lease=1.0))
    call(breaker, FAILURE)
    slow = [breaker.enter(10.0), breaker.enter(10.0)]
    quick = [breaker.enter(11.0), breaker.enter(11.0)]
    refused(breaker, 11.5)
    breaker.leave(slow[0], SUCCESS, 11.5)
    breaker.leave(slow[0], SUCCESS, 11.5)
    assert breaker.state == State.HALF_OPEN
    breaker.leave(quick[1], SUCCESS, 11.6)
    assert breaker.state == State.CLOSED


def test_probes_that_are_lost_for_days_are_not_remembered_without_bound() -> None:
    breaker = made(consecutive_failures=1, cooldown=1.0)
    call(breaker, FAILURE)
    for second in range(1, 5000):
        last = breaker.enter(float(second))
    assert len(breaker._round._overdue) <= 1000
    breaker.leave(last, SUCCESS, 5000.0)
    assert breaker.state == State.CLOSED


def test_a_lease_may_be_longer_or_shorter_than_the_cooldown() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0, probes=Probes(lease=3.0))
    call(breaker, FAILURE)
    breaker.enter(10.0)
    refused(breaker, 12.9)
    breaker.enter(13.0)


def test_a_late_probe_whose_slot_is_still_free_still_counts() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0)
    call(breaker, FAILURE)
    probe = breaker.enter(10.0)
    breaker.leave(probe, SUCCESS, 99.0)
    assert breaker.state == State.CLOSED


def test_an_ignored_probe_gives_its_place_back_and_decides_nothing() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0)
    call(breaker, FAILURE)
    for _ in range(5):
        call(breaker, IGNORED, 10.0)
        assert breaker.state == State.HALF_OPEN
    breaker.enter(10.0)
    refused(breaker, 10.0)


def test_probes_are_bounded_in_number_and_at_once() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0, probes=Probes(3, concurrency=2))
    call(breaker, FAILURE)
    one, two = breaker.enter(10.0), breaker.enter(10.0)
    refused(breaker, 10.0)
    breaker.leave(one, SUCCESS, 10.0)
    three = breaker.enter(10.0)
    refused(breaker, 10.0)
    breaker.leave(two, SUCCESS, 10.0)
    refused(breaker, 10.0)
    breaker.leave(three, SUCCESS, 10.0)
    assert breaker.state == State.CLOSED


def test_a_slow_probe_does_not_close_a_breaker_that_opens_on_slow_calls() -> None:
    breaker = made(slow_call_rate=0.5, slow_call=1.0, window_calls=2, minimum_calls=2, cooldown=10.0)
    call(breaker, SUCCESS, 0.0, took=1.001)
    call(breaker, SUCCESS, 0.0, took=1.0)
    assert breaker.reason == "1 of 2 calls were slow"
    call(breaker, SUCCESS, 10.0, took=2.0)
    assert breaker.state == State.OPEN
    call(breaker, SUCCESS, 20.0, took=1.0)
    assert breaker.state == State.CLOSED


def test_a_round_that_takes_too_long_opens_again_from_the_moment_it_was_over() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0, probes=Probes(max_duration=4.0, lease=60.0))
    call(breaker, FAILURE)
    probe = breaker.enter(10.0)
    breaker.leave(probe, SUCCESS, 14.0)
    assert breaker.state == State.OPEN
    assert breaker.reason == "4 s half-open without a verdict"
    assert refused(breaker, 23.5).retry_after == pytest.approx(0.5)
    breaker.enter(24.0)
    breaker.enter(500.0)
    assert breaker.metrics().trips == 3


def test_a_round_that_takes_too_long_may_close_instead() -> None:
    breaker = made(consecutive_failures=1, cooldown=10.0, probes=Probes(max_duration=4.0, then=State.CLOSED))
    call(breaker, FAILURE)
    breaker.enter(10.0)
    breaker.enter(14.0)
    assert breaker.state == State.CLOSED


def test_a_look_moves_on_what_only_time_moves_when_it_is_automatic() -> None:
    clock = ManualClock()
    breaker = made(consecutive_failures=1, cooldown=10.0, probes=Probes(automatic=True), runtime=clock)
    heard: list[Event] = []
    call(breaker, FAILURE)
    breaker.subscribe(heard.append)
    clock.advance(9.9)
    assert breaker.state == State.OPEN
    clock.advance(0.1)
    assert breaker.state == State.HALF_OPEN
    assert [event.after for event in heard] == ["half_open"]  # type: ignore[attr-defined]


def test_without_it_a_look_changes_nothing_but_a_tick_does() -> None:
    clock = ManualClock()
    breaker = made(consecutive_failures=1, cooldown=10.0, runtime=clock)
    call(breaker, FAILURE)
    clock.advance(11.0)
    assert breaker.state == breaker.metrics().state == State.OPEN
    breaker.tick(11.0)
    assert breaker.state == State.HALF_OPEN


# --- how long


def reopening(breaker: CircuitBreaker, times: int) -> list[float]:
    """The lengths of so many cooldowns in a row."""
    now, lengths = 0.0, []
    for _ in range(times):
        while breaker.state != State.OPEN:
            call(breaker, FAILURE, now)
        wait = refused(breaker, now).retry_after
        assert wait is not None
        lengths.append(wait)
        now += wait
        breaker.tick(now)
    return lengths


def test_the_cooldown_grows_with_each_trip_up_to_its_longest_and_begins_anew_after_a_close() -> None:
    breaker = made(consecutive_failures=1, cooldown=Cooldown(5.0, factor=2.0, max_cooldown=15.0))
    assert reopening(breaker, 4) == [5.0, 10.0, 15.0, 15.0]
    call(breaker, SUCCESS, 45.0)
    assert reopening(breaker, 1) == [5.0]


def test_after_ten_thousand_trips_the_cooldown_is_still_a_number() -> None:
    breaker = made(consecutive_failures=1, cooldown=Cooldown(5.0, factor=10.0))
    assert reopening(breaker, 10_000)[-1] == pytest.approx(300.0)


def test_jitter_is_drawn_once_per_trip_and_shortens_by_at_most_its_share() -> None:
    clock = ManualClock(chance=[0.0, 1 - 1e-9, 0.5])
    breaker = made(consecutive_failures=1, cooldown=Cooldown(10.0, jitter=0.5), runtime=clock)
    assert reopening(breaker, 3) == pytest.approx([10.0, 5.0, 7.5])


def test_a_function_of_the_trips_decides_how_long() -> None:
    seen: list[TripContext] = []

    def cooldown(opening: TripContext) -> float:
        seen.append(opening)
        return 2.0 * opening

    breaker = made(failure_rate=0.5, window_calls=4, minimum_calls=4, cooldown=cooldown, runtime=ManualClock())
    for verdict in (SUCCESS, FAILURE, FAILURE, FAILURE):
        call(breaker, verdict)
    assert refused(breaker, 0.0).retry_after == 2.0
    call(breaker, FAILURE, 2.0)
    assert refused(breaker, 2.0).retry_after == 4.0
    assert [(int(o), o.failure_rate, o.failures, o.half_opens) for o in seen] == [(1, 0.75, 3, 0), (2, 1.0, 1, 1)]


@pytest.mark.parametrize("given", [nan, -1.0, "soon", None])
def test_a_cooldown_function_that_gives_nonsense_raises_and_the_breaker_is_open_all_the_same(given: Any) -> None:
    breaker = made(consecutive_failures=1, cooldown=lambda trips: given)
    with pytest.raises(ValueError, match=r"cooldown\(1\)"):
        call(breaker, FAILURE)
    assert breaker.state == State.OPEN
    assert refused(breaker, 0.0).retry_after == 30.0


def test_a_cooldown_of_no_time_still_admits_no_more_probes_than_it_says() -> None:
    breaker = made(consecutive_failures=1, cooldown=lambda trips: 0.0)
    call(breaker, FAILURE)
    breaker.enter(0.0)
    refused(breaker, 1.0)


def test_a_cooldown_without_end_lasts_until_reset() -> None:
    breaker = made(consecutive_failures=1, cooldown=lambda trips: inf)
    call(breaker, FAILURE)
    assert refused(breaker, 1e9).retry_after is None
    breaker.reset()
    breaker.enter(1e9)


def test_a_cooldown_function_may_look_at_its_breaker() -> None:
    breaker = made(consecutive_failures=1, cooldown=lambda trips: breaker.metrics().trips * 1.0)
    call(breaker, FAILURE)
    assert breaker.state == State.OPEN


# --- what counts


def test_failures_name_what_fails_and_anything_else_is_an_answer() -> None:
    breaker = made(consecutive_failures=1, on=(OSError, KeyError))

    @breaker
    def fails(error: BaseException) -> None:
        raise error

    with pytest.raises(ValueError):
        fails(ValueError())
    assert breaker.state == State.CLOSED
    with pytest.raises(ConnectionError):
        fails(ConnectionError())
    assert breaker.state == State.OPEN


def test_what_is_ignored_is_neither_success_nor_failure() -> None:
    breaker = made(consecutive_failures=2, ignore=lambda error: isinstance(error, KeyError))

    @breaker
    def fails(error: BaseException) -> None:
        raise error

    for error in (OSError(), KeyError(), OSError()):
        with pytest.raises(type(error)):
            fails(error)
    assert breaker.state == State.OPEN


def test_a_returned_value_may_be_a_failure() -> None:
    breaker = made(consecutive_failures=2, on_result=lambda status: status >= 500)  # type: ignore[operator]
    answer = breaker(lambda status: status)
    assert [answer(503), answer(503)] == [503, 503]
    with pytest.raises(BreakerOpen):
        answer(200)


@pytest.mark.parametrize(
    "error", [BulkheadFull("pool"), BreakerOpen("other"), DeadlineExceeded("t", sent=False), KeyboardInterrupt()]
)
def test_refusals_of_our_own_and_interrupts_are_no_evidence(error: BaseException) -> None:
    breaker = made(consecutive_failures=1, on=lambda error: True)

    @breaker
    def fails() -> None:
        raise error

    with pytest.raises(type(error)):
        fails()
    assert breaker.state == State.CLOSED


def test_a_classifier_gets_every_answer_and_decides() -> None:
    heard: list[Any] = []

    def classify(call: Call, result: object, error: BaseException | None) -> Verdict:
        heard.append(result if error is None else error)
        return FAILURE if result == "bad" else SUCCESS

    breaker = made(consecutive_failures=1, classify=classify)
    answer = breaker(lambda value: value)
    answer("good")
    answer("bad")
    assert heard == ["good", "bad"] and breaker.state == State.OPEN


def test_a_classifier_may_open_its_breaker_for_as_long_as_the_server_asked() -> None:
    def classify(call: Call, result: object, error: BaseException | None) -> Verdict:
        if result == 429:
            breaker.open(12.0)
        return SUCCESS

    breaker = made(classify=classify)
    breaker(lambda: 429)()
    assert refused(breaker, 0.0).retry_after == 12.0


# --- by hand


def test_forced_open_stays_until_it_is_reset() -> None:
    breaker = made(consecutive_failures=1, cooldown=5.0)
    breaker.force_open()
    error = refused(breaker, 6.0)
    assert error.retry_after is None and str(error) == "users: breaker forced open by hand"
    breaker.reset()
    call(breaker, SUCCESS, 7.0)


def test_disabled_admits_every_call_and_counts_none() -> None:
    breaker = made(failure_rate=0.1, window_calls=10, minimum_calls=1)
    heard: list[Event] = []
    breaker.disable()
    breaker.subscribe(heard.append)
    for verdict in (FAILURE, SUCCESS, FAILURE):
        call(breaker, verdict)
    assert breaker.metrics().calls == 0 and heard == [] and breaker.quiet


def test_metrics_only_counts_and_says_once_for_each_trip_that_it_would_have_opened() -> None:
    breaker = made(failure_rate=0.5, slow_call_rate=0.5, slow_call=1.0, window_calls=4, minimum_calls=2)
    heard: list[Event] = []
    breaker.metrics_only()
    breaker.subscribe(heard.append)
    for _ in range(3):
        call(breaker, FAILURE)
    for _ in range(6):
        call(breaker, FAILURE, took=2.0)
    assert [type(event) for event in heard] == [BreakerWouldOpen, BreakerWouldOpen]
    assert [event.reason for event in heard] == ["2 of 2 calls failed", "2 of 4 calls were slow"]  # type: ignore[attr-defined]
    assert breaker.state == State.METRICS_ONLY
    assert breaker.metrics().failure_rate == breaker.metrics().slow_call_rate == 1.0


def test_open_by_hand_heals_by_probes_as_usual() -> None:
    breaker = made(consecutive_failures=1, cooldown=5.0)
    breaker.open()
    assert refused(breaker, 0.0).retry_after == 5.0
    call(breaker, SUCCESS, 5.0)
    assert breaker.state == State.CLOSED


def test_a_manual_move_takes_the_time() -> None:
    breaker = made(cooldown=5.0)
    breaker.open(now=100.0)
    assert refused(breaker, 101.0).retry_after == 4.0
    breaker.open(2.0, 200.0)
    assert refused(breaker, 201.0).retry_after == 1.0
    breaker.half_open(201.0)
    call(breaker, SUCCESS, 201.0)
    assert breaker.state == State.CLOSED


@pytest.mark.parametrize("seconds", [0, -1.0, nan, "1"])
def test_open_for_nonsense_is_refused_and_changes_nothing(seconds: Any) -> None:
    breaker = made()
    with pytest.raises(ValueError, match="seconds="):
        breaker.open(seconds)
    assert breaker.state == State.CLOSED


def test_half_open_by_hand_lets_the_probes_go_at_once() -> None:
    breaker = made(consecutive_failures=1, cooldown=500.0)
    call(breaker, FAILURE)
    breaker.half_open()
    call(breaker, SUCCESS, 1.0)
    assert breaker.state == State.CLOSED


@pytest.mark.parametrize("initial", ["closed", "forced_open", "disabled", "metrics_only"])
def test_it_begins_in_the_state_of_its_manual_control(initial: State) -> None:
    breaker = made(manual=ManualControl(initial), runtime=ManualClock(100.0))
    assert breaker.state == initial and repr(breaker) == f"CircuitBreaker('users', {initial})"


# --- looking


def test_metrics_tell_everything_at_one_moment() -> None:
    breaker = made(failure_rate=0.5, window_calls=10, minimum_calls=4, cooldown=5.0)
    call(breaker, FAILURE)
    call(breaker, SUCCESS)
    look = breaker.metrics(0.0)
    assert (look.calls, look.failures, look.failure_rate) == (2, 1, -1.0)
    call(breaker, SUCCESS)
    call(breaker, FAILURE)
    for _ in range(3):
        refused(breaker, 1.0)
    look = breaker.metrics(2.0)
    assert (look.state, look.calls, look.failures, look.failure_rate) == (State.OPEN, 4, 2, 0.5)
    assert (look.rejected, look.rejected_lately, look.trips, look.retry_after) == (3, 3, 1, 3.0)
    breaker.enter(5.0)
    look = breaker.metrics(5.0)
    assert (look.state, look.calls, look.failure_rate) == (State.HALF_OPEN, 0, -1.0)
    assert (look.rejected, look.rejected_lately, look.retry_after) == (3, 0, 5.0)


def test_every_transition_is_an_event_with_its_reason_its_time_and_how_long() -> None:
    breaker = made(consecutive_failures=1, cooldown=5.0)
    heard: list[Any] = []
    breaker.subscribe(heard.append)
    call(breaker, FAILURE, 1.0)
    call(breaker, SUCCESS, 6.5)
    breaker.disable()
    assert all(isinstance(event, BreakerChanged) for event in heard)
    assert [(e.before, e.after, e.reason, e.now, e.cooldown, e.manual) for e in heard] == [
        ("closed", "open", "1 failure in a row", 1.0, 5.0, False),
        ("open", "half_open", "the cooldown", 6.5, None, False),
        ("half_open", "closed", "1 of 1 probes succeeded", 6.5, None, False),
        ("closed", "disabled", "disabled by hand", 0.0, None, True),
    ]


def test_refusals_are_sentences_for_the_person_on_call() -> None:
    breaker = made(consecutive_failures=1, cooldown=12.4)
    call(breaker, FAILURE)
    assert str(refused(breaker, 0.0)) == "users: breaker open after 1 failure in a row; next probe in 12.4 s"
    breaker.enter(12.4)
    assert str(refused(breaker, 12.4)) == "users: breaker half-open, all probes in flight; next probe in 12.4 s"


# --- construction


@pytest.mark.parametrize(
    "settings",
    [
        {"failure_rate": 3}, {"failure_rate": 0}, {"failure_rate": nan}, {"failure_rate": "half"},
        {"consecutive_failures": 0}, {"consecutive_failures": True}, {"consecutive_failures": 2.5},
        {"failure_rate": 0.5, "window": 0}, {"failure_rate": 0.5, "window": -1}, {"failure_rate": 0.5, "window": inf},
        {"window": 10.0}, {"minimum_calls": 0}, {"consecutive_failures": 3, "minimum_calls": 10},
        {"cooldown": 0}, {"cooldown": -1}, {"cooldown": nan}, {"cooldown": "soon"}, {"probes": 0}, {"probes": True},
    ],
)  # fmt: skip
def test_nonsense_is_refused_and_the_field_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{list(settings)[-1]}=.*: expected"):
        CircuitBreaker(**settings)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *[(SlowCallRate, settings) for settings in ({"slow_call_rate": -0.1}, {"slow_call": 0}, {"slow_call": nan})],
        *[(FailureRate, settings) for settings in ({"window_calls": 0}, {"buckets": 0}, {"window": nan})],
        *[(Cooldown, {"seconds": 1.0, **one}) for one in ({"factor": 0.5}, {"max_cooldown": 0}, {"jitter": 1.5})],
        *[(Probes, {"successes": count}) for count in (0, 2)],
        *[(Probes, {field: 0}) for field in ("calls", "concurrency", "lease", "max_duration")],
        *[(Probes, {"then": state}) for state in (State.DISABLED, "ajar")],
        *[(ManualControl, {"initial": state}) for state in (State.OPEN, State.HALF_OPEN, "ajar")],
    ],
)
def test_nonsense_in_the_parts_of_a_breaker_is_refused_and_the_field_is_named(kind: Any, settings: Any) -> None:
    with pytest.raises(ValueError, match=f"^{list(settings)[-1]}=.*: expected"):
        kind(**settings)


def test_two_windows_at_once_and_probes_by_a_rate_that_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="one of the two"):
        FailureRate(0.5, window=10.0, window_calls=10)
    with pytest.raises(ValueError, match="by_rate="):
        CircuitBreaker(consecutive_failures=3, probes=Probes(by_rate=True))
    with pytest.raises(ValueError, match="name="):
        CircuitBreaker(name="")


def test_trips_show_themselves() -> None:
    assert repr(Either(Consecutive(3), FailureRate(0.5), SlowCallRate(), FailureCount(2))) == (
        "Either(Consecutive(3), FailureRate(0.5, minimum_calls=20), SlowCallRate(1.0, minimum_calls=20), "
        "FailureCount(2, minimum_calls=2))"
    )


def test_the_default_classifier_is_the_pipelines() -> None:
    breaker = made(consecutive_failures=1)
    step = breaker.wrap(lambda call: "bad", ManualClock(), lambda call, result, error: FAILURE)
    assert step(Call(None)) == "bad"
    assert breaker.state == State.OPEN
    assert raised(Call(None), None, None) is SUCCESS

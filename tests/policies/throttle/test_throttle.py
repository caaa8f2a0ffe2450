"""Throttling: Finagle's, failsafe's and the SRE book's numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import exp
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.call import FAILURE, IGNORED, SUCCESS, Call, raised
from meshlib.errors import Throttled
from meshlib.policies.statistics.sliding_counts import SlidingCounts
from meshlib.policies.throttle.throttle import FailureThrottle, NackThrottle, Shedding, SreThrottle, Throttle, http_nack
from meshlib.testing import ManualClock

# --- the SRE book --------------------------------------------------------------------------------------------------


def test_sre_sheds_nothing_while_the_server_takes_half() -> None:
    gate = Throttle(SreThrottle(k=2.0, minimum_calls=0), random=lambda: 0.0)
    for n in range(100):
        gate.leave(gate.enter(0.0), SUCCESS if n % 2 else FAILURE, 0.0)
        if n == 0:  # one lonely failure: (1 - 0) / 2
            assert gate.metrics(0.0).probability == 0.5
            gate.leave(0, SUCCESS, 0.0)
    assert gate.metrics(0.0).probability == 0.0


def test_sre_counts_what_it_refused_itself() -> None:
    gate = Throttle(SreThrottle(k=2.0, minimum_calls=0), random=lambda: 0.0)
    gate.leave(gate.enter(0.0), FAILURE, 0.0)
    for refused in range(1, 10):
        assert gate.metrics(0.0).probability == pytest.approx(refused / (refused + 1))
        with pytest.raises(Throttled):
            gate.enter(0.0)


def test_sre_forgets_after_its_window() -> None:
    throttle = SreThrottle(window=120.0, buckets=120)
    for _ in range(10):
        throttle.record(False, 0.5)
    assert throttle.probability(119.9) == pytest.approx(10 / 11)
    assert throttle.probability(120.0) == 0.0


def test_sre_sheds_nothing_for_a_few_lonely_failures() -> None:
    throttle = SreThrottle()
    for _ in range(9):
        throttle.record(False, 0.0)
    assert throttle.probability(0.0) == 0.0
    throttle.record(False, 0.0)
    assert throttle.probability(0.0) == pytest.approx(10 / 11)


@pytest.mark.parametrize("burst", [32, 100, 1000])
def test_a_cold_burst_of_a_healthy_server_is_let_through(burst: int) -> None:
    """Of 32 calls at once 22 were refused: those on their way counted as refused by the server."""
    gate = Throttle(random=lambda: 0.0)
    for start in (0.0, 1.0, 1.5, 300.0):
        permits = [gate.enter(start) for _ in range(burst)]
        for number, permit in enumerate(permits):
            gate.leave(permit, SUCCESS, start + 0.1 * number / burst)
    assert gate.metrics(300.2).rejected == 0


def warm(gate: Throttle, calls: int = 20) -> None:
    for n in range(calls):
        gate.leave(gate.enter(n / 10), SUCCESS, n / 10 + 0.02)


def test_a_black_hole_is_noticed_before_its_calls_come_back() -> None:
    gate = Throttle(random=lambda: 0.0)
    warm(gate)
    for n in range(100):
        gate.enter(2.0 + n / 1000)
    assert gate.metrics(2.9).probability == 0.0  # not older than a second yet
    assert gate.metrics(3.3).probability == pytest.approx((120 - 40) / 121)


def test_a_black_hole_is_noticed_by_a_cold_client_too() -> None:
    gate = Throttle(random=lambda: 0.0)
    for _ in range(100):
        gate.enter(5.0)
    assert gate.metrics(14.9).probability == 0.0
    assert gate.metrics(15.2).probability == pytest.approx(100 / 101)


def test_what_is_usual_says_what_is_overdue() -> None:
    gate = Throttle(random=lambda: 0.0)
    for n in range(10):
        gate.leave(gate.enter(float(n)), SUCCESS, n + 2.0)
    for _ in range(100):
        gate.enter(20.0)
    assert gate.metrics(25.8).probability == 0.0
    assert gate.metrics(26.6).probability > 0.0


def test_an_overdue_call_counts_once_however_it_ends() -> None:
    answered, failed, cancelled = (Throttle(SreThrottle(k=1.0), random=lambda: 0.0) for _ in range(3))
    for gate, verdict in ((answered, SUCCESS), (failed, FAILURE), (cancelled, IGNORED)):
        permits = [gate.enter(0.0) for _ in range(20)]
        assert gate.metrics(12.0).probability == pytest.approx(20 / 21)
        for permit in permits:
            gate.leave(permit, verdict, 12.5)
    assert answered.metrics(13.0).probability == cancelled.metrics(13.0).probability == 0.0
    assert failed.metrics(13.0).probability == pytest.approx(20 / 21)


def test_a_permit_that_never_comes_back_is_forgotten_with_its_window() -> None:
    gate = Throttle(SreThrottle(window=20.0, buckets=20))
    for _ in range(50):
        gate.enter(0.0)
    assert gate.metrics(15.0).probability > 0.9
    assert gate.metrics(40.0).probability == 0.0


def test_one_call_a_second_goes_through_however_much_is_shed() -> None:
    """Of a thousand calls a second to a dead server one in two minutes was let through: its recovery was not seen."""
    gate, through = Throttle(random=lambda: 0.0), list[float]()
    for n in range(100_000):
        now = n / 1000
        try:
            permit = gate.enter(now)
        except Throttled:
            continue
        through.append(now)
        gate.leave(permit, FAILURE, now)
    assert through[:10] == [n / 1000 for n in range(10)]  # the minimum
    assert len(through) == 10 + 99
    assert all(0.99 < later - before < 1.01 for before, later in pairwise(through[9:]))


def test_a_stream_that_is_open_for_hours_is_not_overdue() -> None:
    clock = ManualClock()
    gate = Throttle(runtime=clock, random=lambda: 0.0)
    step = gate.wrap(lambda call: "the beginning", clock, raised)
    calls = [Call(None) for _ in range(50)]
    for call in calls:
        call.later = []
        step(call)
    clock.advance(3600.0)
    assert gate.metrics().probability == 0.0
    for call in calls:
        assert call.later is not None
        for settle in call.later:
            settle(FAILURE)
    assert gate.metrics().probability == pytest.approx(50 / 51)


def test_a_cancelled_call_is_evidence_of_nothing() -> None:
    for by in (SreThrottle(minimum_calls=0), FailureThrottle(), NackThrottle(min_rate=0.0)):
        gate = Throttle(by)
        gate.leave(gate.enter(1.0), IGNORED, 2.0)
        assert gate.metrics(2.0).probability == 0.0


# --- failsafe-go ---------------------------------------------------------------------------------------------------


def test_failsafe_sheds_half_after_one_failure() -> None:
    throttle = FailureThrottle()
    assert throttle.probability(0.0) == 0.0
    throttle.record(False, 0.0)
    assert throttle.probability(0.0) == 0.5


def test_failsafe_keeps_below_its_highest_rate_and_its_minimum_of_calls() -> None:
    capped, patient = FailureThrottle(max_shed=0.5), FailureThrottle(minimum_calls=21)
    for _ in range(20):
        capped.record(False, 0.0)
        patient.record(False, 0.0)
    assert capped.probability(0.0) == 0.5
    assert patient.probability(0.0) == 0.0
    patient.record(False, 0.0)
    assert patient.probability(0.0) == 0.9


def test_failsafe_accepts_a_tenth_of_failures() -> None:
    throttle = FailureThrottle()
    for n in range(100):
        throttle.record(n % 10 != 0, 0.0)
    assert throttle.probability(0.0) == 0.0


# --- Finagle's NackAdmissionFilter ---------------------------------------------------------------------------------


def nacking(**settings: Any) -> tuple[Throttle, NackThrottle]:
    settings = {"window": 3.0, "min_rate": 0.0, "start": 0.0, **settings}
    by = NackThrottle(**settings)
    return Throttle(by, random=lambda: 0.0), by


def test_finagle_moves_the_average_by_the_time_that_passed() -> None:
    gate, by = nacking()
    gate.leave(gate.enter(0.01), FAILURE, 0.01)
    assert by.average == pytest.approx(exp(-0.01 / 3.0))
    before = by.average
    gate.leave(gate.enter(0.02), SUCCESS, 0.02)
    assert before < by.average < 1.0


def test_finagle_sheds_below_the_threshold_and_not_above() -> None:
    gate, by = nacking()
    now = 0.0
    while by.average > 0.5:
        now += 0.01
        gate.leave(gate.enter(now), FAILURE, now)
    with pytest.raises(Throttled):
        gate.enter(now)
    gate.random = lambda: 0.999
    while by.average < 0.51:
        now += 0.01
        gate.leave(gate.enter(now), SUCCESS, now)
    gate.random = lambda: 0.0
    gate.leave(gate.enter(now), FAILURE, now)
    gate.enter(now)


def test_finagle_never_sheds_more_than_three_quarters() -> None:
    gate, by = nacking()
    gate.leave(gate.enter(1000.0), FAILURE, 1000.0)
    assert by.average < 1e-9
    assert by.probability(1000.0) == 0.75


def test_finagle_counts_what_it_shed() -> None:
    gate, _ = nacking(window=0.1)
    for ms in range(201, 211):
        try:
            gate.leave(gate.enter(ms / 1000), FAILURE, ms / 1000)
        except Throttled:
            pass
    assert gate.metrics(0.211).rejected == 9


def test_finagle_takes_a_rare_nack_for_an_accident() -> None:
    gate, by = nacking(min_rate=5.0)
    for second in range(1, 100):
        gate.leave(gate.enter(float(second)), FAILURE, float(second))
    assert by.average == 1.0
    for n in range(5):
        gate.leave(gate.enter(100.0 + n / 100), FAILURE, 100.0 + n / 100)
    assert by.average < 1.0


# --- nacks ---------------------------------------------------------------------------------------------------------


def answer(status: int = 200, **headers: str) -> Any:
    return SimpleNamespace(
        status_code=status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


class Unavailable(Exception):
    def __init__(self, *trailers: tuple[str, str]) -> None:
        self.trailers = trailers

    def code(self) -> Any:
        return SimpleNamespace(name="UNAVAILABLE")

    def trailing_metadata(self) -> Any:
        return self.trailers


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (answer(503, retry_after="0"), True),
        (answer(503, finagle_http_nack="true"), True),
        (answer(503, finagle_http_nonretryable_nack="true"), True),
        (answer(503), False),
        (answer(500, retry_after="1"), False),
        (answer(200, grpc_status="14", grpc_retry_pushback_ms="100"), True),
        (answer(200, grpc_status="14"), False),
        (SimpleNamespace(response=answer(503, retry_after="1")), True),
        (Unavailable(("grpc-retry-pushback-ms", "20")), True),
        (Unavailable(), False),
        (ValueError(), False),
        (None, False),
    ],
)
def test_what_a_nack_is(heard: object, expected: bool) -> None:
    assert http_nack(heard) is expected


def test_with_a_predicate_only_a_nack_counts() -> None:
    gate = Throttle(FailureThrottle(), nack=http_nack, random=lambda: 0.99)
    answers = iter([ValueError(), answer(500), answer(503, retry_after="1")])

    @gate
    def work() -> object:
        heard = next(answers)
        if isinstance(heard, Exception):
            raise heard
        return heard

    with pytest.raises(ValueError):
        work()
    work()
    assert gate.metrics().probability == 0.0
    work()
    assert gate.metrics().probability > 0.0


# --- all -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [SreThrottle, FailureThrottle, NackThrottle])
@given(calls=st.lists(st.tuples(st.floats(0.0, 30.0), st.booleans()), max_size=100))
def test_a_probability_is_one_and_success_alone_sheds_nothing(
    make: Callable[[], Shedding], calls: list[tuple[float, bool]]
) -> None:
    mixed, good, now = make(), make(), 0.0
    for gap, accepted in calls:
        now += gap
        assert 0.0 <= mixed.ask(now) <= 1.0
        mixed.record(accepted, now, mixed.begin(now))
        assert good.ask(now) == 0.0
        good.record(True, now, good.begin(now))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: SreThrottle(k=0.9), "k"),
        (lambda: SreThrottle(window=0), "window"),
        (lambda: FailureThrottle(threshold=0), "threshold"),
        (lambda: NackThrottle(window=-10.0), "window"),
        (lambda: NackThrottle(threshold=-5.5), "threshold"),
        (lambda: NackThrottle(threshold=1.0), "threshold"),
        (lambda: NackThrottle(threshold=1.5), "threshold"),
    ],
)
def test_nonsense_is_refused_at_construction(make: Callable[[], object], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}="):
        make()


@given(steps=st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 3), st.integers(0, 3)), max_size=60))
def test_sliding_counts_are_the_sums_of_the_last_slices(steps: list[tuple[float, int, int]]) -> None:
    counts, now, seen = SlidingCounts(4.0, 8), 0.0, list[tuple[int, int, int]]()
    for gap, first, second in steps:
        now += gap
        counts.add(now, first, second)
        seen.append((int(now / 0.5), first, second))
        last = [entry for entry in seen if entry[0] > int(now / 0.5) - 8]
        assert counts.totals(now) == (sum(entry[1] for entry in last), sum(entry[2] for entry in last))


def test_a_nack_throttle_that_is_driven_by_hand_goes_by_the_times_it_is_told() -> None:
    by = NackThrottle(window=3.0)
    gate = Throttle(by, random=lambda: 1.0)  # made by the system's clock
    for now in range(100):
        gate.leave(gate.enter(now * 0.01), FAILURE, now * 0.01)
    assert 0.5 < by.average < 0.99

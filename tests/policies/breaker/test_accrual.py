"""Failure accrual: Finagle's rules, with numbers for time."""

from __future__ import annotations

from functools import partial
from math import ceil, log

import pytest

from meshlib.call import FAILURE, FATAL, IGNORED, SUCCESS
from meshlib.policies.breaker.accrual import (
    ALIVE,
    DEAD,
    PROBE_CLOSED,
    PROBE_OPEN,
    Accrual,
    ConsecutiveFailures,
    OrElse,
    SuccessRate,
    SuccessRateWithin,
    UnifiedAccrual,
    hybrid,
)
from meshlib.policies.retry.backoff import equal_jitter
from meshlib.policies.retry.backoff_schedules import constant_waits, exponential_waits

WAIT = partial(constant_waits, 5.0)
DOUBLING = partial(exponential_waits, 1.0)


def test_the_nth_failure_in_a_row_kills_and_a_success_ends_the_run() -> None:
    policy = ConsecutiveFailures(3, WAIT)
    assert [policy.failure(0.0), policy.failure(0.0)] == [None, None]
    policy.success(0.0)
    assert [policy.failure(0.0), policy.failure(0.0), policy.failure(0.0)] == [None, None, 5.0]


def test_waits_grow_until_revival_and_a_success_does_not_restart_them() -> None:
    policy = ConsecutiveFailures(1, DOUBLING)
    assert [policy.failure(0.0), policy.failure(0.0)] == [1.0, 2.0]
    policy.success(0.0)
    assert policy.failure(0.0) == 4.0
    policy.revived(0.0)
    assert policy.failure(0.0) == 1.0


def test_a_finite_list_of_waits_goes_on_with_300_seconds() -> None:
    policy = ConsecutiveFailures(1, lambda: iter([1.0]))
    assert [policy.failure(0.0) for _ in range(3)] == [1.0, 300.0, 300.0]


def test_success_rate_decides_from_the_windowth_call_on() -> None:
    policy = SuccessRate(0.5, 100, WAIT)
    for _ in range(100):
        policy.success(0.0)
    failures = 0
    while policy.failure(0.0) is None:
        failures += 1
    assert failures + 1 == ceil(100 * log(2)) == 70


def test_success_rate_says_nothing_before_its_window_is_full() -> None:
    policy = SuccessRate(0.5, 5, WAIT)
    assert [policy.failure(0.0) for _ in range(5)] == [None] * 4 + [5.0]


def test_success_rate_within_needs_a_whole_window_and_enough_requests() -> None:
    policy = SuccessRateWithin(0.8, 30.0, WAIT, minimum_calls=5)
    assert policy.failure(0.0) is None
    assert policy.failure(31.0) is None  # the first one has left the window: too few requests
    assert [policy.failure(31.0 + tick) for tick in (1, 2, 3)] == [None, None, None]
    assert policy.failure(35.0) == 5.0


def test_the_window_begins_when_it_is_said_to_and_may_need_no_calls() -> None:
    policy = SuccessRateWithin(1.0, 30.0, 5.0, minimum_calls=5, start=0.0)
    assert [policy.failure(30.0) for _ in range(5)] == [None, None, None, None, 5.0]
    policy = SuccessRateWithin(1.0, 30.0, [7.0], minimum_calls=0, start=0.0)
    assert [policy.failure(0.0), policy.failure(30.0), policy.failure(30.0)] == [None, 7.0, 300.0]


def test_a_backoff_may_be_seconds_a_sequence_a_recipe_or_a_function() -> None:
    for backoff in (5.0, [5.0], equal_jitter(5.0, 300.0), WAIT):
        assert ConsecutiveFailures(1, backoff).failure(0.0) == 5.0
    with pytest.raises(ValueError, match="backoff"):
        ConsecutiveFailures(1, -1.0)


def test_or_else_tells_both_and_takes_the_longer_wait() -> None:
    policy = OrElse(
        ConsecutiveFailures(1, partial(constant_waits, 1.0)), ConsecutiveFailures(2, partial(constant_waits, 9.0))
    )
    assert [policy.failure(0.0), policy.failure(0.0)] == [1.0, 9.0]


def test_the_default_kills_after_five_failures_in_a_row() -> None:
    policy = hybrid(WAIT)
    assert [policy.failure(0.0) for _ in range(5)] == [None] * 4 + [5.0]


def test_alive_dead_probe_alive() -> None:
    accrual = Accrual(ConsecutiveFailures(2, WAIT))
    accrual.ended(FAILURE, 0.0)
    accrual.ended(FATAL, 1.0)
    assert accrual.state(5.9) is DEAD
    assert accrual.state(6.0) is PROBE_OPEN
    accrual.started(6.0)
    assert accrual.state(6.5) is PROBE_CLOSED
    assert not accrual.is_open(6.5)
    accrual.ended(SUCCESS, 7.0)
    assert accrual.state(7.0) is ALIVE
    assert (accrual.removals, accrual.probes, accrual.revivals, accrual.removed_for) == (1, 1, 1, 6.0)


def test_failures_of_the_dead_do_not_extend_the_time() -> None:
    accrual = Accrual(ConsecutiveFailures(1, WAIT))
    accrual.ended(FAILURE, 0.0)
    accrual.ended(FAILURE, 4.0)
    assert accrual.state(5.0) is PROBE_OPEN


def test_no_evidence_opens_the_probe_again_and_changes_nothing_elsewhere() -> None:
    accrual = Accrual(ConsecutiveFailures(1, WAIT))
    accrual.ended(IGNORED, 0.0)
    assert accrual.state(0.0) is ALIVE
    accrual.ended(FAILURE, 0.0)
    accrual.started(5.0)
    accrual.ended(IGNORED, 5.5)
    assert accrual.state(5.5) is PROBE_OPEN


def test_a_probe_that_never_ends_costs_one_lease_and_not_the_endpoint() -> None:
    accrual = Accrual(ConsecutiveFailures(1, WAIT), probe_lease=10.0)
    accrual.ended(FAILURE, 0.0)
    accrual.started(5.0)
    assert (accrual.state(14.9), accrual.state(15.0)) == (PROBE_CLOSED, PROBE_OPEN)
    accrual.started(15.0)
    assert (accrual.state(24.9), accrual.probes) == (PROBE_CLOSED, 2)
    accrual.ended(SUCCESS, 24.9)
    assert accrual.state(24.9) is ALIVE


@pytest.mark.parametrize("taken_over", [False, True])
def test_a_probe_that_ends_after_its_lease_decides_all_the_same(taken_over: bool) -> None:
    for verdict, expected in ((SUCCESS, ALIVE), (FAILURE, DEAD)):
        accrual = Accrual(ConsecutiveFailures(1, WAIT), probe_lease=10.0)
        accrual.ended(FAILURE, 0.0)
        accrual.started(5.0)
        if taken_over:
            accrual.started(15.0)
        accrual.ended(verdict, 20.0)
        assert accrual.state(20.0) is expected


def test_a_failed_probe_that_the_policy_forgives_may_be_repeated_at_once() -> None:
    accrual = Accrual(SuccessRate(0.5, 2, WAIT))
    accrual.ended(FAILURE, 0.0)
    accrual.ended(FAILURE, 0.0)
    accrual.started(5.0)
    accrual.policy.revived(5.0)
    accrual.ended(FAILURE, 5.1)
    assert accrual.state(5.1) is PROBE_OPEN


@pytest.mark.parametrize("bad", [0, -1, 1.5, True])
def test_nonsense_is_refused_by_name(bad: float) -> None:
    with pytest.raises(ValueError, match="consecutive_failures="):
        ConsecutiveFailures(bad, WAIT)  # type: ignore[arg-type]


def test_unified_a_run_or_a_share_kills_and_a_limited_call_counts_for_the_share_alone() -> None:
    run = UnifiedAccrual([1.0, 2.0], consecutive_failures=3, success_rate=0.0)
    assert [run.failure(0.0), run.failure(0.1), run.limited(0.2), run.failure(0.3), run.failure(0.4)] == [None] * 5
    assert run.failure(0.5) == 1.0
    share = UnifiedAccrual(1.0, consecutive_failures=100, success_rate=0.8, minimum_calls=1)
    share.success(0.0)
    assert share.limited(1.0) == 1.0


def test_unified_a_failed_probe_is_one_more_wait_whatever_straggles_in() -> None:
    accrual = Accrual(UnifiedAccrual([1.0, 2.0, 4.0], consecutive_failures=2, success_rate=0.0))
    for now in (0.0, 0.1):
        accrual.started(now)
        accrual.ended(FAILURE, now)
    accrual.ended(SUCCESS, 0.5)  # sent before, heard while dead
    accrual.started(1.1)
    accrual.ended(FAILURE, 1.2)
    assert (accrual.state(3.1), accrual.state(3.2)) == (DEAD, PROBE_OPEN)
    accrual.started(3.2)
    accrual.limited(3.3)
    assert (accrual.state(7.2), accrual.state(7.3)) == (DEAD, PROBE_OPEN)
    accrual.started(7.3)
    accrual.ended(SUCCESS, 7.4)
    assert accrual.state(7.4) is ALIVE
    assert accrual.policy.failure(7.5) is None, "it begins anew"


def test_a_limited_call_is_nothing_to_other_rules_but_no_good_probe() -> None:
    accrual = Accrual(ConsecutiveFailures(1, 1.0))
    accrual.limited(0.0)
    assert accrual.state(0.0) is ALIVE
    accrual.ended(FAILURE, 0.0)
    accrual.started(1.0)
    accrual.limited(1.1)
    assert accrual.state(1.1) is PROBE_OPEN

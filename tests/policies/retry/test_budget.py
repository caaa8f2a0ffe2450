"""Budgets: Finagle's numbers, Envoy's concurrency, gRPC's tokens."""

from __future__ import annotations

import gc
import inspect
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.policies.retry import budget
from meshlib.policies.retry.budget import ConcurrencyBudget, RetryBudget, TokenBudget


@pytest.mark.parametrize(
    ("ratio", "retries"), [(0.1, 1000), (0.5, 5000), (0.75, 7501), (0.99, 9900), (0.999, 9990), (0.0001, 1)]
)
def test_deposit_and_try_ten_thousand_times(ratio: float, retries: int) -> None:
    budget = RetryBudget(ratio, min_per_second=0.0)
    paid = 0
    for _ in range(10_000):
        budget.deposit(0.0)
        paid += budget.withdraw(0.0)
    assert paid == retries


def test_the_default_starts_at_a_hundred() -> None:
    assert RetryBudget().balance(0.0) == 100


def test_a_ratio_above_one_pays_several_retries_per_call() -> None:
    budget = RetryBudget(2.0, min_per_second=0.0)
    for _ in range(10_000):
        budget.deposit(0.0)
    assert budget.balance(0.0) == 20_000


def test_without_a_ratio_only_the_reserve_pays() -> None:
    budget = RetryBudget(0.0, min_per_second=1.0, ttl=3.0)
    for _ in range(100):
        budget.deposit(0.0)
    assert [budget.withdraw(0.0) for _ in range(4)] == [True, True, True, False]


def test_with_neither_nothing_is_ever_paid() -> None:
    budget = RetryBudget(0.0, min_per_second=0.0)
    budget.deposit(0.0)
    assert (budget.balance(0.0), budget.withdraw(0.0)) == (0, False)


def test_a_spent_reserve_is_back_when_its_time_is_over() -> None:
    budget = RetryBudget(0.0, min_per_second=1.0, ttl=3.0)
    assert all(budget.withdraw(0.0) for _ in range(3))
    assert [budget.withdraw(second) for second in (0.0, 1.0, 2.0, 3.0)] == [False] * 4
    assert budget.withdraw(4.0)


def test_deposits_are_forgotten_after_the_ttl() -> None:
    budget = RetryBudget(1.0, min_per_second=0.0, ttl=10.0)
    for second in range(10):
        budget.deposit(float(second))
    assert [budget.balance(float(second)) for second in range(9, 21)] == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]


@given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=200), st.sampled_from([0.1, 0.2, 0.5, 1.0, 3.0]))
def test_never_more_retries_than_the_ratio_and_the_reserve_allow(steps: list[tuple[float, bool]], ratio: float) -> None:
    budget, now, paid = RetryBudget(ratio, min_per_second=1.0, ttl=10.0), 0.0, 0
    for calls, (pause, retry) in enumerate(steps, 1):
        now += pause
        budget.deposit(now)
        if retry:
            paid += budget.withdraw(now)
        assert paid <= calls * 1000 // int(1000 / ratio) + 10 * (1 + now / 10.0)


def test_no_deposit_is_lost_under_threads() -> None:
    budget = RetryBudget(1.0, min_per_second=0.0, ttl=60.0)
    budget.deposit(0.0)

    def work() -> None:
        for n in range(1000):
            budget.deposit(n * 0.02)

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.balance(20.0) == 8001


def test_a_name_shares_one_budget() -> None:
    budget = RetryBudget.shared("shop", 0.1)
    assert RetryBudget.shared("shop", 0.1) is budget
    assert RetryBudget.shared("other", 0.1) is not budget
    with pytest.raises(ValueError, match=r"shop.*settings of the shared budget"):
        RetryBudget.shared("shop", 0.5)
    del budget
    gc.collect()
    assert RetryBudget.shared("shop", 0.5).ratio == 0.5


def test_concurrency_budget_allows_a_share_of_what_is_in_flight() -> None:
    budget = ConcurrencyBudget(0.2, min_concurrent=3)
    assert [budget.withdraw(0.0) for _ in range(4)] == [True, True, True, False]
    for _ in range(20):
        budget.deposit(0.0)
    assert [budget.withdraw(0.0), budget.withdraw(0.0)] == [True, False]
    budget.release()
    assert budget.balance(0.0) == 1
    for _ in range(20):
        budget.finish()
    assert (budget.calls, budget.balance(0.0)) == (0, 0)


@pytest.mark.parametrize(
    ("minimum", "calls", "retries", "pays"), [(1, 1, 1, True), (1, 0, 2, False), (2, 0, 1, True), (1, 1, 2, False)]
)
def test_failsafe_counts_retries_among_what_is_in_flight(minimum: int, calls: int, retries: int, pays: bool) -> None:
    budget = ConcurrencyBudget(0.5, min_concurrent=minimum, among_all=True)
    budget.calls, budget.retries = calls, retries
    assert budget.balance(0.0) == pays
    assert [budget.withdraw(0.0), budget.withdraw(0.0)] == [pays, False]


def test_token_budget_stops_at_half() -> None:
    budget = TokenBudget(10, ratio=0.1)
    for _ in range(4):
        budget.record(True)
    assert budget.withdraw(0.0)
    budget.record(True)
    assert not budget.withdraw(0.0)
    budget.record(False)
    assert budget.withdraw(0.0)
    assert budget.tokens == 5.1
    for _ in range(100):
        budget.record(False)
    assert budget.tokens == 10.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryBudget(-0.1),
        lambda: RetryBudget(1001),
        lambda: RetryBudget(float("nan")),
        lambda: RetryBudget(ttl=0.5),
        lambda: RetryBudget(ttl=61.0),
        lambda: RetryBudget(min_per_second=-1.0),
        lambda: RetryBudget(name=""),
        lambda: ConcurrencyBudget(1.5),
        lambda: ConcurrencyBudget(min_concurrent=-1),
        lambda: TokenBudget(0),
        lambda: TokenBudget(1001),
    ],
)
def test_nonsense_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


def test_counting_does_not_ask_iterators_for_what_python_takes_away() -> None:
    # Python 3.12 deprecates copying and pickling an itertools object, and 3.14 has it no more.
    source = inspect.getsource(budget)
    assert "__reduce__" not in source
    assert "copy(" not in source

"""Envoy's thresholds: four counts that are never exceeded."""

from __future__ import annotations

import pytest

from meshlib.errors import BulkheadFull
from meshlib.policies.concurrency.thresholds import Pool, RetryBudgetLimit, Thresholds


def test_the_defaults_are_envoys() -> None:
    assert Pool().remaining == {"connections": 1024, "pending": 1024, "requests": 1024, "retries": 3}


def test_each_count_overflows_by_itself() -> None:
    pool = Pool(Thresholds(requests=1, pending=1), name="users")
    with pool.requests, pool.pending:
        with pytest.raises(BulkheadFull, match=r"^users/requests: overflow"):
            pool.requests.enter()
        with pool.connections:
            pass
    assert pool.overflows == {"connections": 0, "pending": 0, "requests": 1, "retries": 0}
    assert pool.requests.active == pool.pending.active == 0


def test_a_retry_budget_replaces_the_number_of_retries() -> None:
    pool = Pool(Thresholds(retries=0, retry_budget=RetryBudgetLimit(ratio=0.2, minimum=1)))
    assert pool.retries.limit == 1
    for _ in range(10):
        pool.requests.enter()
    for _ in range(5):
        pool.pending.enter()
    assert pool.retries.limit == 3
    assert [pool.retries.try_enter() for _ in range(4)] == [True, True, True, False]


def test_nothing_may_mean_none_at_all() -> None:
    with pytest.raises(BulkheadFull):
        Pool(Thresholds(connections=0)).connections.enter()
    with pytest.raises(ValueError, match=r"^pending=-1"):
        Thresholds(pending=-1)

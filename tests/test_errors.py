"""Errors: sentences that survive a journey to another process."""

from __future__ import annotations

import copy
import pickle

import pytest

from meshlib.errors import (
    BreakerOpen,
    BulkheadFull,
    ConfigError,
    DeadlineExceeded,
    MeshError,
    NoEndpoint,
    RateLimited,
    Rejected,
    Throttled,
)

ERRORS = [
    BreakerOpen("users", "breaker open after 5 failures in a row", 12.4),
    BulkheadFull("pool"),
    RateLimited("quota", "used up", retry_after=0.25),
    Throttled("users"),
    NoEndpoint("users", "no endpoint"),
    Rejected("x"),
    DeadlineExceeded("timeout", limit=1.0, sent=False),
    ConfigError("clusters.users", "expected a list", file="mesh.yaml", line=3),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_after_pickling_and_copying(error: MeshError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error) and str(twin) == str(error) and twin.args == error.args
        for name in ("by", "reason", "retry_after", "sent", "limit", "file", "line"):
            assert getattr(twin, name, None) == getattr(error, name, None)


def test_a_refusal_says_who_why_and_until_when() -> None:
    assert [str(error) for error in ERRORS[:3]] == [
        "users: breaker open after 5 failures in a row; next probe in 12.4 s",
        "pool: refused",
        "quota: used up; try again in 250 ms",
    ]
    error = BreakerOpen("users", retry_after=12.4)
    assert (error.by, error.reason, error.retry_after) == ("users", "refused", 12.4)


def test_every_error_is_a_mesh_error_and_what_python_would_call_it() -> None:
    assert all(isinstance(error, MeshError) for error in ERRORS)
    assert isinstance(ERRORS[6], TimeoutError) and isinstance(ERRORS[7], ValueError)

"""A gate that looks at the call gets one, whatever it stands with and whatever kind of function is guarded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshlib import AdaptiveLimit, Pipeline, RateLimit, RateLimited, Retry
from meshlib.call import Call
from meshlib.testing import ManualClock


def first_argument(call: Call) -> Any:
    return call.what.args[0]


@pytest.mark.parametrize("outside", [[], [Retry(3, on=Exception, backoff=0)]], ids=["alone", "beneath a retry"])
def test_a_keyed_rate_limit_in_a_pipeline_counts_each_key_by_itself(outside: list[Retry]) -> None:
    @Pipeline(*outside, RateLimit(1, key=first_argument, runtime=ManualClock()))
    def serve(tenant: str) -> str:
        return tenant

    assert [serve("a"), serve("b")] == ["a", "b"]
    with pytest.raises(RateLimited):
        serve("a")


def test_a_keyed_rate_limit_in_a_pipeline_counts_each_key_of_an_async_function() -> None:
    @Pipeline(RateLimit(1, key=first_argument, runtime=ManualClock()))
    async def serve(tenant: str) -> str:
        return tenant

    async def main() -> None:
        assert [await serve("a"), await serve("b")] == ["a", "b"]
        with pytest.raises(RateLimited):
            await serve("a")

    asyncio.run(main())


def test_a_call_costs_what_the_function_of_the_call_says() -> None:
    @Pipeline(RateLimit(10, permits=first_argument, runtime=ManualClock()))
    def load(rows: int) -> int:
        return rows

    assert load(10) == 10
    with pytest.raises(RateLimited):
        load(1)


def test_partition_and_bypass_of_an_adaptive_limit_see_the_calls_of_a_pipeline() -> None:
    limit = AdaptiveLimit(
        partitions={"batch": 0.1, "live": 0.9},
        partition_of=first_argument,
        bypass=lambda call: call.what.args[0] == "ops",
    )

    @Pipeline(limit)
    def serve(kind: str) -> tuple[int, int]:
        return limit.in_flight, limit.metrics().partitions["live"].in_flight

    assert [serve("live"), serve("batch"), serve("ops")] == [(1, 1), (1, 0), (0, 0)]

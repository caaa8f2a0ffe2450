"""Token taker: takes one token of a `TokenBucket` in one function; the call into the rate cost half of the time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ..shell.waiting_gate import NONE
from .key_buckets import Bucket
from .token_bucket import TokenBucket


def token_taker(
    lock: AbstractContextManager[Any], bucket: Bucket, rate: TokenBucket, take: Callable[[float], int]
) -> Callable[[float], int]:
    """A function of the time that does what `take` does, for one token: 0, or −1."""
    interval, depth = rate._interval, rate._depth

    def take_token(now: float) -> int:
        if bucket.holes:
            return take(now)
        with lock:
            full_at = rate._full_at
            full_at = (full_at if full_at > now else now) + interval
            if full_at - now > depth:
                return NONE
            rate._full_at = full_at
            return 0

    return take_token

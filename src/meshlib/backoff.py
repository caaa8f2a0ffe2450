"""Backoff recipes: the waits between attempts, for `Retry(backoff=…)` and the failure accrual.

`from meshlib import backoff` gives `backoff.exponential(0.1, max_delay=5.0)`. See the page on retries for the formulas.
"""

from __future__ import annotations

from .policies.retry.backoff import (
    Recipe,
    Waits,
    concat,
    constant,
    decorrelated_jitter,
    equal_jitter,
    exponential,
    exponential_jitter,
    full_jitter,
    linear,
    polly,
    resilience4j,
    spread,
    take,
    take_until,
    tower,
    uniform,
)

__all__ = [
    "Recipe",
    "Waits",
    "concat",
    "constant",
    "decorrelated_jitter",
    "equal_jitter",
    "exponential",
    "exponential_jitter",
    "full_jitter",
    "linear",
    "polly",
    "resilience4j",
    "spread",
    "take",
    "take_until",
    "tower",
    "uniform",
]

"""Slow start: the share of its weight that a new endpoint gets (after Envoy's slow start)."""

from __future__ import annotations


def slow_start_factor(age: float, window: float, aggression: float = 1.0, *, min_share: float = 0.1) -> float:
    """The factor for the weight of an endpoint that joined `age` seconds ago.

    max(min_share, (age ÷ window)^(1 ÷ aggression)), and 1 after `window` seconds.

    With `aggression` above 1 the share grows quickly at first and slowly later.
    """
    if age >= window:
        return 1.0
    return float(max(min_share, (max(age, 0.0) / window) ** (1.0 / aggression)))

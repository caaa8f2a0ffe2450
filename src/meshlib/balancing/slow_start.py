"""How much of its share does a newcomer get? (After Envoy's slow start.)"""

from __future__ import annotations


def slow_start_factor(age: float, window: float, aggression: float = 1.0, *, least: float = 0.1) -> float:
    """The factor for the weight of an endpoint that is `age` seconds old: max(least, (age ÷ window)^(1 ÷ aggression)).

    1 after `window` seconds. With `aggression` above 1 the share grows quickly at first and slowly later.
    """
    if age >= window:
        return 1.0
    return float(max(least, (max(age, 0.0) / window) ** (1.0 / aggression)))

"""Peak EWMA: latency that rises at once and falls slowly, times calls in flight; the smaller of two."""

from __future__ import annotations

from math import exp, inf
from typing import Any

from .base_picker import BasePicker, EndpointSet, Random
from .endpoint import Endpoint
from .least_loaded import two

ALIKE = 1.1
PENALTY = 140737.0  # seconds: Finagle's Long.Max >> 16 nanoseconds, for those without an answer yet


class PeakEwma(BasePicker):
    """Power of two choices over peak EWMA × (calls in flight + 1), as in Finagle.

    An endpoint without data costs nothing while it is idle and everything as soon as one call is in flight: it gets
    exactly one call until that is answered. It is fooled by endpoints that fail fast and slow to trust healed ones
    again; the default rule is built on it and repairs both. `decay` is the time constant in seconds (None:
    `ClusterHealth`'s, which is Finagle's 10).
    """

    name = "peak_ewma"

    def __init__(self, *args: Any, decay: float | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.health.tune(decay=decay)

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        if endpoint_set.equal:
            a, b = two(endpoint_set, random)
            tie = 1.0
        else:
            a, b, tie = endpoint_set.draw(random), endpoint_set.draw(random), ALIKE
        if a.healthy is not b.healthy:
            return a if a.healthy else b
        return a if self.load(a, now, tie) <= tie * self.load(b, now, tie) else b

    def load(self, endpoint: Endpoint, now: float, tie: float = 1.0) -> float:
        """Seconds × (calls in flight, in units of the weight, + 1).

        Where weights differ (`tie` above 1), latency does not fade below what is typical, and loads within the tie are
        alike: else an endpoint with a small weight, which gets few calls, would look cheaper than it is.
        """
        pending = len(endpoint._waiting) + len(endpoint._open)
        stamp, health = endpoint.stamp, endpoint.health
        if stamp == -inf:
            return PENALTY + pending if pending else 0.0
        latency = endpoint.latency * (exp((stamp - now) / health.decay) if now > stamp else 1.0)
        if tie > 1.0:
            latency = max(latency, min(endpoint.latency, health.typical))
        return latency * (pending * endpoint.scale + 1.0)

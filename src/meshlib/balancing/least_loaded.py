"""Least loaded: the endpoint with the fewest calls in flight, of two drawn or of all."""

from __future__ import annotations

from .base_picker import BasePicker, EndpointSet, Random
from .endpoint import Endpoint


def two(endpoint_set: EndpointSet, random: Random) -> tuple[Endpoint, Endpoint]:
    """Two different endpoints (if there are two): the second is drawn from the others, as in Finagle's P2C."""
    endpoints, n = endpoint_set.endpoints, endpoint_set.size
    i = int(random() * n)
    if n == 1:
        return endpoints[i], endpoints[i]
    j = int(random() * (n - 1))
    return endpoints[i], endpoints[j + 1 if j >= i else j]


class LeastLoaded(BasePicker):
    """Power of two choices over calls in flight ÷ weight (Finagle's default). The first on a tie.

    Of two, the healthy one wins before loads are compared. With unequal weights both are drawn by weight, and the
    calls in flight count in units of the weight, so that an idle cluster is shared by weight as well.
    """

    name = "least_loaded"

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        a, b = (
            two(endpoint_set, random) if endpoint_set.equal else (endpoint_set.draw(random), endpoint_set.draw(random))
        )
        if a.healthy is not b.healthy:
            return a if a.healthy else b
        return a if self.load(a, now) <= self.load(b, now) else b

    def load(self, endpoint: Endpoint, now: float) -> float:
        """Calls in flight, in units of the endpoint's weight."""
        return (len(endpoint._waiting) + len(endpoint._open)) * endpoint.scale


class LeastLoadedScan(LeastLoaded):
    """The least loaded of all; of several, one at random by weight. Costs O(n), and many clients run together."""

    name = "least_loaded_scan"

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        best, least, found = endpoint_set.endpoints[0], float("inf"), 0.0
        for endpoint in endpoint_set.endpoints:
            load = self.load(endpoint, now) if endpoint.healthy else float("inf")
            if load < least:
                best, least, found = endpoint, load, endpoint.weight
            elif load == least:
                found += endpoint.weight
                if random() * found < endpoint.weight:
                    best = endpoint
        return best if attempt == 0 else endpoint_set.draw(random)

"""Ring hash (ketama): the same key goes to the same endpoint, and few keys move when the membership changes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil
from typing import Any

from ..policies.shell import checks
from .base_picker import BasePicker, EndpointSet, Random
from .bounded_load import LoadBound
from .endpoint import Endpoint
from .hashing import hash64

LARGEST = 8_388_608  # Envoy's bound


def ring(
    endpoints: Sequence[Endpoint], *, min_size: int = 1024, max_size: int = LARGEST
) -> tuple[list[int], list[int]]:
    """The sorted hashes of the ring, and for each the index of its endpoint; bit-exact with Envoy 1.40.

    Each endpoint has entries in proportion to its weight, the lightest a whole number of them: XXH64 of
    "address_0", "address_1" …
    """
    weights = [one.weight for one in endpoints]
    total = sum(weights)
    if not total:
        weights, total = [1.0] * len(endpoints), float(len(endpoints))
    shares = [weight / total for weight in weights]
    least = min(shares)
    scale = min(ceil(least * min_size) / least, float(max_size))
    entries: list[tuple[int, int]] = []
    current = target = 0.0
    for index, (endpoint, share) in enumerate(zip(endpoints, shares, strict=True)):
        target += scale * share
        k = 0
        while current < target:
            entries.append((hash64(f"{endpoint.address}_{k}"), index))
            k += 1
            current += 1
    entries.sort()
    return [hashed for hashed, _ in entries], [index for _, index in entries]


class RingHash(BasePicker):
    """The endpoint whose entry is the first at or after the key, around the ring; without a key, a random place.

    Ejected and avoided endpoints are skipped clockwise, so their keys spread and come back to them later. With `bound`
    (1.25: no endpoint more than a quarter above the mean of calls in flight) an overloaded endpoint's keys move on as
    well, see `LoadBound`.
    """

    name = "ring_hash"

    def __init__(
        self, *args: Any, min_size: int = 1024, max_size: int = LARGEST, bound: float | None = None, **settings: Any
    ) -> None:
        self.min_size: int = checks.count("min_size", min_size, max_value=LARGEST)
        self.max_size: int = checks.count("max_size", max_size, min_value=min_size, max_value=LARGEST)
        self.bound: LoadBound | None = None if bound is None else LoadBound(bound)
        self._ring: tuple[EndpointSet | None, list[int], list[int]] = (None, [], [])
        super().__init__(*args, **settings)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        super().update(endpoints)
        endpoint_set = self._endpoint_set
        if endpoint_set.size:
            self._ring = (endpoint_set, *ring(endpoint_set.endpoints, min_size=self.min_size, max_size=self.max_size))

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        known, hashes, owners = self._ring
        endpoint_set = known or endpoint_set
        if key is None:
            key = int(random() * 2**64)
        found = self._around(endpoint_set.endpoints, owners, bisect_left(hashes, key) if hashes else 0, attempt)
        return found if self.bound is None or attempt else self.bound.settle(endpoint_set, found, key)

    @staticmethod
    def _around(endpoints: Sequence[Endpoint], owners: Sequence[int], at: int, attempt: int) -> Endpoint:
        """The first healthy one, after as many others as there were attempts."""
        seen: dict[int, None] = {}
        for step in range(len(owners)):
            owner = owners[(at + step) % len(owners)]
            if owner not in seen:
                seen[owner] = None
                if len(seen) > attempt and endpoints[owner].healthy:
                    return endpoints[owner]
                if len(seen) >= 16 + attempt:
                    break  # too many ejected neighbours: leave it to `_pick_any`
        return endpoints[next(iter(seen))]

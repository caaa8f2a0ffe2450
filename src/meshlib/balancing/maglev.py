"""Maglev: like the ring, with one table look-up per pick, and shares that are exact to one slot."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from ..policies.shell import checks
from .base_picker import BasePicker, EndpointSet, Random
from .bounded_load import LoadBound
from .endpoint import Endpoint
from .hashing import hash64

LARGEST = 5_000_011


def table(endpoints: Sequence[Endpoint], size: int = 65_537) -> array[int]:
    """For each slot the index of its endpoint; bit-exact with Envoy 1.40.

    Each endpoint has a permutation of the slots from two hashes of its address, and takes the next free one at each
    turn; the heaviest has a turn in every round, the others in proportion.
    """
    weights = [one.weight for one in endpoints]
    total = sum(weights)
    weights = [weight / total for weight in weights] if total else [1.0 / len(endpoints)] * len(endpoints)
    heaviest = max(weights)
    places = [hash64(one.address) % size for one in endpoints]
    skips = [hash64(one.address, 1) % (size - 1) + 1 for one in endpoints]
    targets = [0.0] * len(endpoints)
    slots = array("i", [-1]) * size
    order = sorted(range(len(endpoints)), key=lambda index: endpoints[index].address)  # in whichever order they come
    left, turn = size, 0
    while left:
        turn += 1
        for index in order:
            if turn * weights[index] < targets[index]:
                continue
            targets[index] += heaviest
            place, skip = places[index], skips[index]
            while slots[place] >= 0:
                place = (place + skip) % size
            slots[place] = index
            places[index] = (place + skip) % size
            left -= 1
            if not left:
                break
    return slots


class Maglev(BasePicker):
    """The endpoint in slot key mod `size` (a prime); without a key, a random slot.

    An ejected or avoided endpoint's keys go to the slots at key's further hashes, the same ones for the same key. With
    `bound` an overloaded endpoint's keys move on as well, see `LoadBound`.
    """

    name = "maglev"

    def __init__(self, *args: Any, size: int = 65_537, bound: float | None = None, **settings: Any) -> None:
        self.bound: LoadBound | None = None if bound is None else LoadBound(bound)
        self.size: int = checks.count("size", size, min_value=2)
        if size > LARGEST or any(size % divisor == 0 for divisor in range(2, int(size**0.5) + 1)):
            raise ValueError(f"size={size!r}: expected a prime up to {LARGEST}")
        self._table: tuple[EndpointSet | None, array[int]] = (None, array("i"))
        super().__init__(*args, **settings)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        super().update(endpoints)
        endpoint_set = self._endpoint_set
        if endpoint_set.size:
            self._table = (endpoint_set, table(endpoint_set.endpoints, self.size))

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        known, slots = self._table
        key = int(random() * 2**64) if key is None else key
        if attempt:
            key = hash64(key.to_bytes(8, "little"), attempt)
        endpoint_set = known or endpoint_set
        found = endpoint_set.endpoints[slots[key % self.size]]
        return found if self.bound is None or attempt else self.bound.settle(endpoint_set, found, key)

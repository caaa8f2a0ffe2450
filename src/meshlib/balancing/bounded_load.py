"""Bounded load: moves a key from an overloaded endpoint to another one, bit for bit as Envoy does.

After Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", with the random jumps of Chen,
Coleman and Shrivastava ("Revisiting Consistent Hashing with Bounded Loads"): the others are asked in an order that the
key alone decides, so the overflow of one endpoint does not fall on its neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from ..policies.shell import checks
from .base_picker import EndpointSet
from .endpoint import Endpoint

MANY = 256  # from so many endpoints on, the calls in flight are estimated from a part of them
_32 = 0xFFFFFFFF


class LoadBound:
    """At most `factor` times the mean of calls in flight for each endpoint, by weight; 1.25: a quarter above."""

    __slots__ = ("_percent",)

    def __init__(self, factor: float) -> None:
        self._percent = round(checks.number("bound", factor, min_value=1.0) * 100)

    def settle(self, endpoint_set: EndpointSet, first: Endpoint, key: int) -> Endpoint:
        """The first endpoint, if it has room; else the first with room in the order that belongs to `key`; if none has,
        the least overloaded."""
        slots = self._slots(endpoint_set, key)
        overload = _overload(endpoint_set, first, slots)
        if overload <= 1.0:
            return first
        best, least = first, overload
        for index in shuffled(endpoint_set.size, key):
            other = endpoint_set.endpoints[index]
            if other is not first and other.healthy:
                overload = _overload(endpoint_set, other, slots)
                if overload <= 1.0:
                    return other
                if overload < least:
                    best, least = other, overload
        return best

    def _slots(self, endpoint_set: EndpointSet, key: int) -> int:
        endpoints, n = endpoint_set.endpoints, endpoint_set.size
        if n <= MANY:
            pending = sum(one.pending for one in endpoints)
        else:
            start = key % n
            part = (
                (endpoints + endpoints)[start : start + MANY] if start + MANY > n else endpoints[start : start + MANY]
            )
            pending = sum(one.pending for one in part) * n // MANY
        return ((pending + 1) * self._percent + 99) // 100


def _overload(endpoint_set: EndpointSet, endpoint: Endpoint, slots: int) -> float:
    share = endpoint.weight / endpoint_set.total if endpoint.weight else 1.0 / endpoint_set.size
    return endpoint.pending / max(1, ceil(slots * share))


def shuffled(n: int, key: int) -> Iterator[int]:
    """The numbers below `n` in the order of a Fisher and Yates shuffle by a Mersenne twister with the seed `key`."""
    numbers, moved = _twister(key & _32), dict[int, int]()
    for step in range(n):
        left = n - step
        scale = (1 << 32) // left
        draw = left
        while draw >= left:
            draw = next(numbers) // scale
        chosen = moved.get(step + draw, step + draw)
        moved[step + draw] = moved.get(step, step)
        yield chosen


def _twister(seed: int) -> Iterator[int]:
    """The outputs of MT19937 (Matsumoto and Nishimura), seeded by one number as C++ does it."""
    state = [seed]
    for index in range(1, 624):
        last = state[-1]
        state.append((1812433253 * (last ^ last >> 30) + index) & _32)
    while True:
        for index in range(624):
            mixed = (state[index] & 0x80000000) | (state[(index + 1) % 624] & 0x7FFFFFFF)
            state[index] = value = state[(index + 397) % 624] ^ mixed >> 1 ^ (0x9908B0DF if mixed & 1 else 0)
            value ^= value >> 11
            value ^= value << 7 & 0x9D2C5680
            value ^= value << 15 & 0xEFC60000
            yield value ^ value >> 18

"""Aperture: a client uses a few servers instead of all, so that each has few connections and the load stays even.

Two ways to choose the few (after Finagle): by feedback from the load (random aperture), or, if a client knows its
number among its peers, as a slice of a ring that all clients tile evenly (deterministic aperture).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, exp
from typing import Any

from ..policies.shell import checks
from .base_picker import BasePicker, EndpointSet, Random
from .endpoint import Endpoint

MIN_APERTURE = 12  # Finagle: the deterministic aperture ignores a smaller configured minimum


def width(clients: int, servers: int, *, min_aperture: int = MIN_APERTURE) -> float:
    """The share of the ring (0–1) that each of `clients` uses: whole client slices, at least `min_aperture` servers."""
    unit = 1.0 / clients
    return min(1.0, ceil(min(min_aperture, servers) / servers / unit) * unit)


def overlaps(weights: Sequence[float], offset: float, span: float) -> list[tuple[int, float]]:
    """The servers that lie in [offset, offset + span) of a ring of length 1, and how much of it each of them covers.

    The lengths of the servers on the ring are their weights, normalised; all 0 means all equal. The slice wraps at 1.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError(f"weights={weights!r}: expected 0 or more")
    total = sum(weights)
    lengths = [weight / total for weight in weights] if total else [1.0 / len(weights)] * len(weights)
    if span >= 1.0:
        return [(index, length) for index, length in enumerate(lengths) if length > 0]
    found, start = [], 0.0
    offset %= 1.0
    for index, length in enumerate(lengths):
        end = start + length
        covered = sum(
            max(0.0, min(end, high) - max(start, low))
            for low, high in ((offset, min(1.0, offset + span)), (0.0, offset + span - 1.0))
            if high > low
        )
        if covered > 1e-12:
            found.append((index, covered))
        start = end
    return found


def slots(size: int, offset: float, span: float) -> list[tuple[int, float]]:
    """The ring before weights (Finagle's Ring, until July 2022): equal slots, and which share of each (0–1) is covered.

    They come in the order of the ring, from the one at `offset` on; it is there even if nothing of it is covered.
    """
    covered = {index: min(1.0, part * size) for index, part in overlaps([1.0] * size, offset, span)}
    begin = int(offset % 1.0 * size) % size
    around = [index % size for index in range(begin, begin + size)]
    return [(index, covered[index]) for index in around if index in covered] or [(begin, 0.0)]


class LoadBand:
    """Sets the width of the aperture so that calls in flight per server stay between `low_load` and `high_load`.

    After Finagle's LoadBand. `window` is the time constant in seconds of the average.
    """

    def __init__(
        self, *, low_load: float = 0.875, high_load: float = 1.125, window: float = 15.0, min_aperture: int = 1
    ) -> None:
        self.low_load: float = checks.number("low_load", low_load, min_value=0.0)
        self.high_load: float = checks.number("high_load", high_load, min_value=low_load)
        self.window: float = checks.seconds("window", window)
        self.min_aperture: int = checks.count("min_aperture", min_aperture)
        self.average: float = 0.0
        self._stamp: float | None = None

    def adjust(self, pending: float, width: int, max_width: int, now: float) -> int:
        """The new width, at most one wider or narrower, after seeing `pending` calls in flight in all of it."""
        if self._stamp is None:
            self.average = pending
        else:
            kept = exp(min(0.0, self._stamp - now) / self.window)
            self.average = pending * (1.0 - kept) + self.average * kept
        self._stamp = now
        each = self.average / width
        if each >= self.high_load:
            return min(max_width, width + 1)
        if each <= self.low_load:
            return max(min(self.min_aperture, max_width), width - 1)
        return width


class Aperture(BasePicker):
    """Power of two choices, least loaded, within an aperture.

    With `peers` (how many clients) and `peer_index` (the number of this client, from 0) the aperture is deterministic.
    Without them it starts at `min_aperture` servers, in this client's own order, and follows the load.
    """

    name = "aperture"

    def __init__(
        self,
        *args: Any,
        peers: int | None = None,
        peer_index: int = 0,
        min_aperture: int = 1,
        low_load: float = 0.875,
        high_load: float = 1.125,
        window: float = 15.0,
        **settings: Any,
    ) -> None:
        self.peers: int | None = None if peers is None else checks.count("peers", peers)
        self.peer_index: int = checks.count("peer_index", peer_index, min_value=0)
        if self.peers is not None and self.peer_index >= self.peers:
            raise ValueError(f"peer_index={peer_index!r}: expected less than peers={peers!r}")
        self.band: LoadBand = LoadBand(low_load=low_load, high_load=high_load, window=window, min_aperture=min_aperture)
        self.width: int = min_aperture
        self._order: tuple[EndpointSet | None, tuple[Endpoint, ...], list[float]] = (None, (), [])
        self._picks = 0
        super().__init__(*args, **settings)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the membership. For the deterministic aperture all clients must list the servers in one order."""
        super().update(endpoints)
        endpoint_set = self._endpoint_set
        if self.peers is None or not endpoint_set.size:
            self._order = (None, (), [])
            return
        weights = [one.weight for one in endpoint_set.endpoints]
        slice_ = overlaps(weights, self.peer_index / self.peers, width(self.peers, endpoint_set.size))
        chosen = tuple(endpoint_set.endpoints[index] for index, _ in slice_)
        self._order = (endpoint_set, chosen, list(accumulate(covered for _, covered in slice_)))

    @property
    def aperture(self) -> tuple[Endpoint, ...]:
        """The endpoints in the aperture now."""
        return self._order[1][: self.width] if self.peers is None else self._order[1]

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        known, order, ends = self._order
        if self.peers is None:
            if known is not endpoint_set:  # this client's own order, so that clients do not all choose the same few
                drawn = sorted(endpoint_set.endpoints, key=lambda _: random())
                known, order, ends = self._order = (endpoint_set, tuple(drawn), [])
            self._follow(order, now)
            n = min(self.width, len(order))
            if attempt:  # no healthy endpoint so far: look a little beyond the aperture
                n = min(len(order), n + attempt)
            a, b = order[int(random() * n)], order[int(random() * n)]
        else:
            a, b = self._drawn(order, ends, random), self._drawn(order, ends, random)
        if a.healthy is not b.healthy:
            return a if a.healthy else b
        return a if self.load(a, now) <= self.load(b, now) else b

    def load(self, endpoint: Endpoint, now: float) -> float:
        return endpoint.pending * endpoint.scale

    @staticmethod
    def _drawn(order: Sequence[Endpoint], ends: list[float], random: Random) -> Endpoint:
        return order[min(bisect(ends, random() * ends[-1]), len(order) - 1)]

    def _follow(self, order: Sequence[Endpoint], now: float) -> None:
        # The sum over the aperture costs its width, so a wide one is adjusted less often and a pick stays cheap.
        self._picks += 1
        if self._picks * 32 >= self.width:
            self._picks = 0
            pending = sum(one.pending for one in order[: self.width])
            self.width = self.band.adjust(pending, self.width, len(order), now)

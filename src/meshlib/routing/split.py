"""Split: chooses a cluster by weight, by a draw or by a hash that keeps each user on one version.

There are two ways to be sticky. Both start from the hash that Envoy computes, XXH64 of the key's bytes with seed 0.

`stable` (the default) is weighted rendezvous hashing: each destination gets an exponential variate from the key, and
the smallest variate over weight wins. When one weight grows, keys move *to* that destination and nowhere else; when
two trade weight, no key moves that need not. The variates of the first two destinations are made so that their quotient
depends on `hash % 1,000,000` alone: a split of two is then a threshold, costs one comparison, and is
exactly what Envoy does with weights scaled to a million (`envoy_weights`). No rule without memory can move fewer
keys (Moulton and Jiang, "Maximally Consistent Sampling and the Jaccard Index of Probability Distributions").
Keys are bound to names and, for the first two, to places: append new versions at the end.

`modulo` is Envoy's own rule on the weights as they are: `hash % sum(weights)`, and the first destination whose
cumulative weight exceeds that. It keeps keys in place only while the sum of the weights stays and two neighbours trade.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from math import inf, isfinite, log
from typing import Any, Literal, TypeAlias, TypeVar, cast

from xxhash import xxh64_intdigest

from .request import Random, RouteRequest

T = TypeVar("T")
Chooser: TypeAlias = Callable[[RouteRequest, Random], T]
KeyKind: TypeAlias = Literal["header", "cookie", "query", "label", "key"]

SLOTS = 1_000_000
_KINDS = ("header", "cookie", "query", "label", "key")
_MASK = (1 << 64) - 1


class StickyKey:
    """One thing that a sticky split hashes: a header, cookie, query parameter or label by `name`, or the user `key`.

    After a `terminal` one nothing more is hashed, if there is a value by then (Envoy's `terminal`). A cookie with a
    `ttl` (seconds; 0: as long as the client lives) is made up where it is absent, and set for `path`: that is for
    clusters, whose balancer then sends this caller to one endpoint.
    """

    __slots__ = ("kind", "name", "path", "terminal", "ttl")

    def __init__(
        self, kind: KeyKind, name: str = "", *, terminal: bool = False, ttl: float | None = None, path: str = "/"
    ) -> None:
        if kind not in _KINDS:
            raise ValueError(f"kind: {kind!r} found, expected one of {', '.join(_KINDS)}")
        if (kind == "key") is bool(name):
            raise ValueError(
                f"name: {name!r} found, expected {'none' if kind == 'key' else 'a name'} for kind {kind!r}"
            )
        if ttl is not None and (kind != "cookie" or not 0 <= ttl < inf):
            raise ValueError(f"ttl: {ttl!r} found for kind {kind!r}, expected seconds from 0 on, and a cookie")
        self.kind = kind
        self.name: str = name.lower() if kind == "header" else name
        self.terminal: bool = terminal
        self.ttl: float | None = ttl
        self.path: str = path

    def value(self, request: RouteRequest) -> str | None:
        """The text to hash, or None if the request does not carry it."""
        kind = self.kind
        if kind == "header":
            return request.header(self.name)
        if kind == "cookie":
            return request.cookie(self.name)
        if kind == "query":
            return request.parameter(self.name)
        return request.key if kind == "key" else request.labels.get(self.name)

    def __repr__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


class Sticky:
    """Keep one user on one version: what is hashed (several keys are combined as Envoy does), and by which method.

    A request that carries none of the keys is drawn at random. `session` is the cookie among them that is made up
    where it is absent.
    """

    __slots__ = ("by", "method", "session")

    def __init__(self, *by: StickyKey, method: Literal["stable", "modulo"] = "stable") -> None:
        if not by:
            raise ValueError("by: nothing found, expected at least one StickyKey")
        if method not in ("stable", "modulo"):
            raise ValueError(f"method: {method!r} found, expected 'stable' or 'modulo'")
        self.by: tuple[StickyKey, ...] = by
        self.method = method
        self.session: StickyKey | None = next((key for key in by if key.ttl is not None), None)

    def hash(self, request: RouteRequest, made_up: str | None = None) -> int | None:
        """The 64-bit request hash, bit for bit Envoy's; None without any key.

        `made_up` is the value of the `session` cookie where the request has none.
        """
        total: int | None = None
        for key in self.by:
            value = key.value(request)
            if not value and key is self.session:
                value = made_up
            if value is not None:
                own: int = xxh64_intdigest(value.encode("utf-8", "surrogateescape"))
                total = own if total is None else (((total << 1) & _MASK) | (total >> 63)) ^ own
            if key.terminal and total is not None:
                break
        return total


class Destination:
    """One arm of a split: a cluster (or subset) by name, its relative weight, and header edits for this arm alone
    (`headers` of the request, `response_headers` of the answer)."""

    __slots__ = ("cluster", "headers", "response_headers", "weight")

    def __init__(self, cluster: str, *, weight: float = 1, headers: Any = None, response_headers: Any = None) -> None:
        if not cluster:
            raise ValueError("cluster: '' found, expected the name of a cluster")
        if not (isfinite(weight) and weight >= 0):
            raise ValueError(f"weight: {weight!r} found for {cluster!r}, expected a finite number of at least 0")
        self.cluster: str = cluster
        self.weight: float = weight
        self.headers: Any = headers
        self.response_headers: Any = response_headers

    def __repr__(self) -> str:
        return f"Destination({self.cluster!r}, weight={self.weight})"


class Split:
    """A weighted choice between destinations. Weights are relative; a weight of 0 gets nothing.

    `to` is one cluster name, a mapping from cluster name to weight, or destinations. Raises ValueError if no weight
    is above 0, if a cluster is named twice, or if `modulo` is asked for with weights that are no whole numbers.
    """

    __slots__ = ("destinations", "sticky")

    def __init__(self, to: str | Mapping[str, float] | Iterable[Destination], *, sticky: Sticky | None = None) -> None:
        if isinstance(to, str):
            self.destinations: tuple[Destination, ...] = (Destination(to),)
        elif isinstance(to, Mapping):
            weights = cast("Mapping[str, float]", to)
            self.destinations = tuple(Destination(cluster, weight=weight) for cluster, weight in weights.items())
        else:
            self.destinations = tuple(to)
        self.sticky: Sticky | None = sticky
        if sticky is not None and sticky.session is not None:
            raise ValueError("ttl: a cookie that is made up is for the endpoints of a cluster, not for a split")
        total = sum(arm.weight for arm in self.destinations)
        if not (0 < total < inf):
            raise ValueError(f"weight: a sum of {total} found, expected at least one weight above 0")
        if sticky is not None:
            names = [arm.cluster for arm in self.destinations]
            if len(set(names)) < len(names):
                raise ValueError(f"to: {', '.join(names)} found, expected each cluster once in a sticky split")
            if sticky.method == "modulo" and any(arm.weight != int(arm.weight) for arm in self.destinations):
                raise ValueError("weight: a fraction found, expected whole numbers for the method 'modulo'")

    def chooser(self, outcomes: Sequence[T]) -> Chooser[T]:
        """A function that chooses one of `outcomes` (one for each destination, in order). Made once, called often."""
        live = [index for index, arm in enumerate(self.destinations) if arm.weight > 0]
        by_chance = _by_chance([self.destinations[index].weight for index in live], [outcomes[i] for i in live])
        sticky = self.sticky
        if sticky is None or len(live) == 1:
            return by_chance
        hash_of, place = sticky.hash, self._placer()

        def choose(request: RouteRequest, random: Random) -> T:
            key = hash_of(request)
            return by_chance(request, random) if key is None else outcomes[place(key)]

        return choose

    def place(self, key: int) -> int:
        """The index of the destination that a sticky split gives to the 64-bit hash `key`."""
        return self._placer()(key)

    def envoy_weights(self) -> list[int] | None:
        """Whole weights with which Envoy's rule, `hash % sum`, makes the very same choices; None if there are none."""
        weights = [arm.weight for arm in self.destinations]
        if self.sticky is not None and self.sticky.method == "modulo":
            return [int(weight) for weight in weights]
        if any(weights[2:]) and self.sticky is not None:
            return None
        scale = SLOTS / sum(weights)
        bounds = [round(bound * scale) for bound in accumulate(weights)]
        return [bound - before for bound, before in zip(bounds, [0, *bounds], strict=False)]

    def _placer(self) -> Callable[[int], int]:
        weights = [arm.weight for arm in self.destinations]
        if self.sticky is not None and self.sticky.method == "modulo":
            bounds = [int(bound) for bound in accumulate(weights)]
            total = bounds[-1]
            return lambda key: bisect_right(bounds, key % total)
        if not any(weights[2:]) and len(weights) > 1:
            threshold = round(SLOTS * weights[0] / (weights[0] + weights[1]))
            return lambda key: 0 if key % SLOTS < threshold else 1
        return _rendezvous(weights, [arm.cluster for arm in self.destinations])


def _by_chance(weights: list[float], outcomes: list[T]) -> Chooser[T]:
    if len(outcomes) == 1:
        only = outcomes[0]
        return lambda request, random: only
    total = sum(weights)
    if len(outcomes) == 2:
        first, second = outcomes
        share = weights[0] / total
        return lambda request, random: first if random() < share else second
    bounds = [bound / total for bound in accumulate(weights)][:-1]  # a draw beyond the last bound is the last's
    return lambda request, random: outcomes[bisect_right(bounds, random())]


def _rendezvous(weights: list[float], names: list[str]) -> Callable[[int], int]:
    seeds = [(index, weights[index], xxh64_intdigest(names[index].encode())) for index in range(2, len(names))]
    others = [(index, weight, seed) for index, weight, seed in seeds if weight > 0]
    first, second = weights[0], weights[1] if len(weights) > 1 else 0.0

    def place(key: int) -> int:
        text = key.to_bytes(8, "little")
        # R = E1 / (E1 + E2) of two exponential variates is uniform and independent of their sum, so that
        # E1 and E2 can be made from a given R and a sum drawn elsewhere.
        quotient = (key % SLOTS + 0.5) / SLOTS
        total = -log(_unit(xxh64_intdigest(text, 1)) * _unit(xxh64_intdigest(text, 2)))
        best, winner = inf, 0
        if first > 0:
            best = quotient * total / first
        if second > 0 and (1.0 - quotient) * total / second < best:
            best, winner = (1.0 - quotient) * total / second, 1
        for index, weight, seed in others:
            score = -log(_unit(xxh64_intdigest(text, seed))) / weight
            if score < best:
                best, winner = score, index
        return winner

    return place


def _unit(digest: int) -> float:
    """A number in (0, 1] out of 64 bits."""
    return ((digest >> 11) + 1) / (1 << 53)

"""Base picker: membership, weights, slow start, health and panic, which all balancers share.

Every algorithm is a `BasePicker` with its own `choose` or `pick`. A picker never copies state: it holds the same
`Endpoint` objects as the picker before it, so algorithms can be swapped under load.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from math import inf, isnan, nan
from typing import Self, TypeAlias

from .. import forked
from ..errors import NoEndpoint
from ..policies.shell import checks
from .ejection import ClusterHealth
from .endpoint import Endpoint
from .load_report import LoadReport
from .slow_start import slow_start_factor

Random: TypeAlias = Callable[[], float]
EFFORT = 5  # draws before all endpoints are looked at: with half of them ejected, one pick in 32


class EndpointSet:
    """An immutable view of the endpoints in the order given, with what drawing by weight needs."""

    __slots__ = ("endpoints", "ends", "equal", "mean", "rotations", "size", "total")

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        members = tuple(endpoints)
        weights = [e.weight for e in members]
        if weights and min(weights) == 0.0 < max(weights):  # weight 0: only if there is no other endpoint
            members = tuple(e for e in members if e.weight > 0.0)
            weights = [e.weight for e in members]
        self.endpoints: tuple[Endpoint, ...] = members
        self.size: int = len(members)
        self.equal: bool = not weights or min(weights) == max(weights)
        if self.equal:
            weights = [weights[0] or 1.0] * self.size if weights else []
        # A draw above all of them is the last endpoint.
        self.ends: list[float] = [] if self.equal else list(accumulate(weights[:-1]))
        few = self.size if self.equal and self.size < 4 else 0  # so few that `Default` looks at all of them
        self.rotations: tuple[tuple[Endpoint, ...], ...] = tuple(
            members[first:] + members[:first] for first in range(few)
        )
        self.total: float = sum(weights)
        self.mean: float = self.total / self.size if weights else 1.0

    def draw(self, random: Random) -> Endpoint:
        """One endpoint, at random by weight."""
        if self.equal:
            return self.endpoints[int(random() * self.size)]
        return self.endpoints[bisect(self.ends, random() * self.total)]


class BasePicker:
    """Base of all algorithms: membership, health, slow start, and the pick when the first draws are unusable.

    `panic` is the share of healthy endpoints (0–1) below which health is ignored (0: never; then a cluster whose
    endpoints are all ejected raises `NoEndpoint`). An endpoint that joins later gets its full share only after
    `slow_start` seconds.
    """

    name = ""
    wants_reports = False  # whether it uses the load reports in responses
    rate: float = 0.0  # endpoints to probe for a load report per pick

    def __init__(
        self,
        cluster: str = "cluster",
        endpoints: Sequence[Endpoint] = (),
        *,
        health: ClusterHealth | None = None,
        panic: float = 0.5,
        slow_start: float = 0.0,
        aggression: float = 1.0,
        probing: bool = True,
    ) -> None:
        self.cluster = cluster
        self.health: ClusterHealth = health or ClusterHealth(cluster)
        self.panic: float = checks.ratio("panic", panic, zero=True)
        self.slow_start: float = checks.seconds("slow_start", slow_start, zero=True)
        self.aggression: float = checks.number("aggression", aggression, min_value=0.01)
        self.probing = probing  # False inside `LocalityBalancer`, which sends the probes itself
        self._members: tuple[Endpoint, ...] = ()
        self._endpoint_set = EndpointSet(())
        self._warming: dict[Endpoint, float] = {}  # new endpoints, and the time of their first call
        self._healthy: tuple[EndpointSet, int, tuple[Endpoint, ...]] = (self._endpoint_set, -1, ())
        self.update(endpoints)
        forked.register(self)

    def __copy__(self) -> Self:
        """One that can be updated while this one stays as it is."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        forked.register(other)
        return other

    def _after_fork(self) -> None:
        if self.probing:
            self.health._after_fork(self._members)
        for endpoint in self._members:
            endpoint._after_fork()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All members, also those whose weight is 0."""
        return self._members

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the membership. An endpoint that stays must be the same object; see `carry_over`."""
        health = self.health
        for endpoint in endpoints:
            if endpoint.health is not health:
                endpoint.health = health
                endpoint.accrual = health.accrual and health.accrual()
        if self.slow_start and self._endpoint_set.size:
            known = set(self._endpoint_set.endpoints)
            self._warming = {
                one: self._warming.get(one, nan) for one in endpoints if one not in known or one in self._warming
            }
        self._members = tuple(endpoints)
        self._endpoint_set = endpoint_set = EndpointSet(endpoints)
        if self.probing:
            health.keep(endpoint_set.endpoints)
        mean = 0.0 if endpoint_set.equal else endpoint_set.mean
        for endpoint in endpoint_set.endpoints:
            endpoint.scale = mean / endpoint.weight if mean and endpoint.weight else 1.0

    def pick(self, random: Random, now: float, *, key: int | None = None, avoid: Collection[Endpoint] = ()) -> Endpoint:
        """The endpoint for the next call. `key` is the hash of what makes calls stick together, `avoid` holds endpoints
        that this call has tried already. Raises `NoEndpoint`."""
        if self.health.ejected and self.probing:
            probe = self._probe(random, now, avoid)
            if probe is not None:
                return probe
        endpoint_set = self._endpoint_set
        if endpoint_set.size:
            for attempt in range(EFFORT):
                endpoint = self.choose(endpoint_set, random, now, key, attempt)
                if endpoint.healthy and not (avoid and endpoint in avoid):
                    if self._warming and endpoint in self._warming and not self._may_warm(endpoint, random, now):
                        continue
                    return endpoint
        return self._pick_any(random, now, avoid)

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        """The algorithm: one endpoint of a set that is not empty. `attempt` counts from 0 within one pick, for
        algorithms that would otherwise choose the same again."""
        raise NotImplementedError

    def reported(self, endpoint: Endpoint, report: LoadReport, now: float) -> None:
        """Record a load report, from a response or from the answer to a probe."""
        endpoint.report = report

    def probes(self, random: Random) -> list[Endpoint]:
        """The endpoints to probe for a load report after this pick: `rate` of them on average, all different."""
        return self.draw_some(self.rate, random)

    def draw_some(self, number: float, random: Random) -> list[Endpoint]:
        """`number` different endpoints at random; a fraction is the chance of one more."""
        endpoints, n = self._endpoint_set.endpoints, self._endpoint_set.size
        wanted = min(n, int(number) + (random() < number % 1.0))
        if wanted > n // 2:
            start = int(random() * n)
            return [endpoints[(start + step) % n] for step in range(wanted)]
        drawn: dict[Endpoint, None] = {}
        while len(drawn) < wanted:
            drawn[endpoints[int(random() * n)]] = None
        return list(drawn)

    def _may_warm(self, endpoint: Endpoint, random: Random, now: float) -> bool:
        """Slow start: whether a new endpoint gets this call. Its share grows with its age."""
        since = self._warming.get(endpoint, -inf)
        if isnan(since):
            self._warming[endpoint] = since = now
        if now - since >= self.slow_start:
            self._warming.pop(endpoint, None)
            return True
        return random() < slow_start_factor(now - since, self.slow_start, self.aggression)

    def load(self, endpoint: Endpoint, now: float) -> float:
        """The cost of one more call there. Only comparisons have a meaning."""
        return (len(endpoint._waiting) + len(endpoint._open) + 1) / (endpoint.weight or 1.0)

    def _probe(self, random: Random, now: float, avoid: Collection[Endpoint]) -> Endpoint | None:
        """An ejected endpoint whose probe is due, if any."""
        probe = self.health.probe(random, now)
        return None if probe is None or probe in avoid else probe

    def _pick_any(self, random: Random, now: float, avoid: Collection[Endpoint]) -> Endpoint:
        """Pick when the quick draws found no usable endpoint: look at all, once per change of health.

        An endpoint in `avoid` gets the call only if there is no other. In a panic all are used, but each draw includes
        a healthy endpoint, so that ejected ones get calls only as far as the healthy ones are loaded.
        """
        endpoint_set = self._endpoint_set
        if not endpoint_set.size:
            raise NoEndpoint(self.cluster, "the cluster has no endpoints")
        healthy = self._all_healthy(endpoint_set)
        panic = len(healthy) < self.panic * endpoint_set.size
        if not healthy and not panic:
            due = self.health.due
            raise NoEndpoint(
                self.cluster,
                f"no healthy endpoint ({endpoint_set.size} of {endpoint_set.size} ejected)",
                retry_after=None if due == inf else max(0.0, due - now),
            )
        draw = [self._one_of(healthy, random, avoid), self._one_of(healthy, random, avoid)]
        if panic:
            draw += [
                self._one_of(endpoint_set.endpoints, random, avoid),
                self._one_of(endpoint_set.endpoints, random, avoid),
            ]
        found = [endpoint for endpoint in draw if endpoint is not None]
        if found:
            return min(found, key=lambda endpoint: self.load(endpoint, now))
        others = [endpoint for endpoint in endpoint_set.endpoints if endpoint not in avoid]
        return self._one_of(others or healthy or endpoint_set.endpoints, random, ()) or endpoint_set.endpoints[0]

    def _all_healthy(self, endpoint_set: EndpointSet) -> tuple[Endpoint, ...]:
        known, version, healthy = self._healthy
        if known is not endpoint_set or version != self.health.version:
            version = self.health.version
            healthy = tuple(endpoint for endpoint in endpoint_set.endpoints if endpoint.healthy)
            self._healthy = (endpoint_set, version, healthy)
        return healthy

    def _one_of(self, among: Sequence[Endpoint], random: Random, avoid: Collection[Endpoint]) -> Endpoint | None:
        if not among:
            return None
        endpoint = among[int(random() * len(among))]
        if endpoint not in avoid:
            return endpoint
        others = [endpoint for endpoint in among if endpoint not in avoid]
        return others[int(random() * len(others))] if others else None


def carry_over(known: Sequence[Endpoint], seen: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The endpoints of `seen`, where those whose address is in `known` are the old objects, updated.

    Weight, labels, zone and priority are replaced; calls in flight, latency, ejection and connections stay. Of two with
    the same address the last counts.
    """
    old = {endpoint.address: endpoint for endpoint in known}.get
    result: dict[str, Endpoint] = {}
    for new in seen:
        address = new.address
        result[address] = endpoint = old(address, new)
        if endpoint is not new:
            endpoint.weight, endpoint.labels = new.weight, new.labels
            endpoint.zone, endpoint.priority = new.zone, new.priority
    return tuple(result.values())

"""Locality balancer: chooses the priority and the zone, before an algorithm chooses an endpoint within them."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from itertools import accumulate
from math import inf
from typing import Any

from .. import forked
from ..errors import NoEndpoint
from ..policies.shell import checks
from .base_picker import BasePicker, Random
from .ejection import ClusterHealth
from .endpoint import Endpoint
from .load_report import LoadReport
from .priority import OVERPROVISIONING, locality_weights, priority_loads, zone_shares

MIN_CLUSTER_SIZE = 6  # Envoy: with fewer endpoints than this, zones are not worth the unevenness


class _Group:
    """One zone of one priority, with a picker of its own."""

    __slots__ = ("level", "members", "picker", "zone")

    def __init__(self, level: int, zone: str, members: list[Endpoint], picker: BasePicker) -> None:
        self.level, self.zone, self.members, self.picker = level, zone, members, picker


class LocalityBalancer:
    """Priority, then zone, then endpoint; the shares are computed again after each ejection and readmission.

    `zone` is the client's zone: calls stay there as far as its servers suffice for their part of the callers
    (`callers`: share of callers by zone; unknown: spread like the servers). `zone_weights` instead gives fixed
    weights by zone. Without either, zones are ignored. `algorithm` makes the picker of one group.
    """

    def __init__(
        self,
        cluster: str,
        endpoints: Sequence[Endpoint] = (),
        *,
        algorithm: type[BasePicker],
        health: ClusterHealth | None = None,
        panic: float = 0.5,
        overprovisioning: float = OVERPROVISIONING,
        zone: str | None = None,
        callers: Mapping[str, float] | None = None,
        zone_weights: Mapping[str, float] | None = None,
        min_cluster_size: int = MIN_CLUSTER_SIZE,
        **settings: Any,
    ) -> None:
        self.cluster = cluster
        self.health: ClusterHealth = health or ClusterHealth(cluster)
        self.name: str = algorithm.name
        self.panic: float = checks.ratio("panic", panic, zero=True)
        self.overprovisioning: float = checks.number("overprovisioning", overprovisioning, min_value=1.0)
        self.zone = zone
        self.callers = callers
        self.zone_weights = zone_weights
        self.min_cluster_size: int = checks.count("min_cluster_size", min_cluster_size)
        example = algorithm(cluster, probing=False, **settings)  # what its settings mean, and whether they are right
        self.wants_reports: bool
        self.rate: float
        self.wants_reports, self.rate = example.wants_reports, example.rate
        self._algorithm = algorithm
        self._settings = settings
        self.endpoints: tuple[Endpoint, ...] = ()
        self._groups: dict[tuple[int, str], _Group] = {}
        self._plan: tuple[int, list[float], list[BasePicker]] = (-1, [], [])
        self.update(endpoints)
        forked.register(self)

    def __copy__(self) -> LocalityBalancer:
        """A copy that can be updated while this one stays unchanged."""
        other: LocalityBalancer = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._groups = {
            key: _Group(group.level, group.zone, group.members, copy(group.picker))
            for key, group in self._groups.items()
        }
        other._plan = (-1, [], [])
        forked.register(other)
        return other

    def _after_fork(self) -> None:
        self.health._after_fork(self.endpoints)  # the pickers of its groups start anew by themselves

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the membership. Groups whose members are the same objects as before are not touched."""
        zoned = self.zone is not None or self.zone_weights is not None
        members: dict[tuple[int, str], list[Endpoint]] = {}
        for endpoint in endpoints:
            members.setdefault((endpoint.priority, endpoint.zone if zoned else ""), []).append(endpoint)
        groups: dict[tuple[int, str], _Group] = {}
        for key in sorted(members):
            old = self._groups.get(key)
            if old is None:
                picker = self._algorithm(
                    self.cluster, members[key], health=self.health, panic=0.0, probing=False, **self._settings
                )
                old = _Group(*key, members[key], picker)
            else:
                old.picker.update(members[key])
                old.members = members[key]
            groups[key] = old
        self.health.keep(endpoints)
        self._groups = groups
        self.endpoints = tuple(endpoints)
        self._plan = (-1, [], [])

    def pick(self, random: Random, now: float, *, key: int | None = None, avoid: Collection[Endpoint] = ()) -> Endpoint:
        """The endpoint for the next call; raises `NoEndpoint` if there is none."""
        health = self.health
        if health.ejected:
            probe = health.probe(random, now)
            if probe is not None and probe not in avoid:
                return probe
        version, ends, pickers = self._plan
        if version != health.version:
            ends, pickers = self._compute_shares(health.version)
        if not pickers:
            raise self._no_endpoint(now)
        at = random() if key is None else key / 2**64  # the same key finds the same priority
        chosen = min(bisect(ends, at * ends[-1]), len(pickers) - 1)
        try:
            return pickers[chosen].pick(random, now, key=key, avoid=avoid)
        except NoEndpoint:  # its last healthy one was ejected after the shares were computed
            return self._any(random, now, key, avoid, pickers[chosen])

    def reported(self, endpoint: Endpoint, report: LoadReport, now: float) -> None:
        for group in self._groups.values():
            if endpoint in group.members:
                group.picker.reported(endpoint, report, now)

    def probes(self, random: Random) -> list[Endpoint]:
        """The endpoints to probe after this pick: of one group, drawn by its share of the calls."""
        version, ends, pickers = self._plan
        if version != self.health.version:
            ends, pickers = self._compute_shares(self.health.version)
        if not pickers:
            return []
        return pickers[min(bisect(ends, random() * ends[-1]), len(pickers) - 1)].probes(random)

    def shares(self) -> dict[tuple[int, str], float]:
        """The share of the calls (0–1) that each (priority, zone) gets now."""
        ends, pickers = self._compute_shares(self.health.version)
        parts = [end - before for before, end in zip([0.0, *ends], ends, strict=False)]
        return {
            (group.level, group.zone): part / ends[-1]
            for picker, part in zip(pickers, parts, strict=True)
            for group in self._groups.values()
            if group.picker is picker
        }

    def _any(
        self, random: Random, now: float, key: int | None, avoid: Collection[Endpoint], but: BasePicker
    ) -> Endpoint:
        for group in self._groups.values():
            if group.picker is not but:
                try:
                    return group.picker.pick(random, now, key=key, avoid=avoid)
                except NoEndpoint:
                    pass
        if self.panic and self.endpoints:
            return self.endpoints[int(random() * len(self.endpoints))]
        raise self._no_endpoint(now)

    def _no_endpoint(self, now: float) -> NoEndpoint:
        size, due = len(self.endpoints), self.health.due
        if not size:
            return NoEndpoint(self.cluster, "the cluster has no endpoints")
        reason = f"no healthy endpoint ({len(self.health.ejected)} of {size} ejected)"
        return NoEndpoint(self.cluster, reason, retry_after=None if due == inf else max(0.0, due - now))

    def _compute_shares(self, version: int) -> tuple[list[float], list[BasePicker]]:
        groups = list(self._groups.values())
        healthy = {id(group): sum(one.healthy for one in group.members) for group in groups}
        levels = sorted({group.level for group in groups})
        counts = [
            (
                sum(healthy[id(group)] for group in groups if group.level == level),
                sum(len(group.members) for group in groups if group.level == level),
            )
            for level in levels
        ]
        loads, panics = priority_loads(counts, overprovisioning=self.overprovisioning, panic=self.panic)
        parts: list[float] = []
        pickers: list[BasePicker] = []
        for level, load, panic in zip(levels, loads, panics, strict=True):
            here = [group for group in groups if group.level == level]
            for group, share in zip(here, self._by_zone(here, healthy, panic), strict=True):
                group.picker.panic = 1.0 if panic else 0.0
                if load * share > 0.0:
                    parts.append(load * share)
                    pickers.append(group.picker)
        ends = list(accumulate(parts))
        self._plan = (version, ends, pickers)
        return ends, pickers

    def _by_zone(self, groups: list[_Group], healthy: Mapping[int, int], panic: bool) -> list[float]:
        total = sum(len(group.members) for group in groups)
        count = [len(group.members) if panic else healthy[id(group)] for group in groups]
        plain = [one / (sum(count) or 1) for one in count]
        if self.zone_weights is not None:
            weights = [
                (self.zone_weights.get(group.zone, 0.0), alive, len(group.members))
                for group, alive in zip(groups, count, strict=True)
            ]
            return (
                locality_weights(weights, overprovisioning=self.overprovisioning)
                if any(w for w, _, _ in weights)
                else plain
            )
        names = [group.zone for group in groups]
        if self.zone not in names or panic or total < self.min_cluster_size or not sum(count):
            return plain
        callers = self.callers or dict(zip(names, plain, strict=True))
        return zone_shares(
            names.index(self.zone), [(callers.get(name, 0.0), part) for name, part in zip(names, plain, strict=True)]
        )

"""Who stands out so badly that it should rest? Envoy's outlier detection and gRPC's A50, over one cluster.

This is beside failure accrual: accrual looks at one endpoint and probes it, an outlier sweep compares endpoints with
each other and lets an ejected one rest for a time that grows with repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf, sqrt
from threading import RLock
from typing import TypeAlias

from ..policies.shell import checks
from .endpoint import Endpoint

GATEWAY = frozenset((502, 503, 504))
CRITERIA = (
    "5xx",
    "failure_percentage",
    "gateway",
    "local",
    "local_failure_percentage",
    "local_success_rate",
    "success_rate",
)
ENFORCED = ("5xx", "local", "success_rate", "local_success_rate")


class OutlierCounts:
    """One endpoint's outcomes, as outlier detection counts them."""

    __slots__ = (
        "back_at",
        "ejected_at",
        "gateway",
        "good",
        "local",
        "local_good",
        "local_total",
        "multiplier",
        "row",
        "total",
        "until",
    )

    def __init__(self) -> None:
        self.row = self.gateway = self.local = 0  # failures in a row: any 5xx, gateway errors, errors of our own side
        self.good = self.total = 0  # answers in the present interval; without `split`, errors of our own side as well
        self.local_good = self.local_total = 0  # with `split`: attempts that were answered at all, and all attempts
        self.multiplier = 0  # grows with each ejection
        self.until = 0.0
        self.ejected_at: float | None = None
        self.back_at: float | None = None


Judged: TypeAlias = tuple[Endpoint, OutlierCounts, int, int]  # good ones, and all


class OutlierDetection:
    """Ejects endpoints by runs of failures at once, and by comparison at each `sweep` (call it every `interval` s).

    Numbers are Envoy's, shares are 0–1. `enforce` names the criteria that eject, or maps each to the share of its
    detections that do (Envoy's enforcing_…, drawn at random); all are counted in `detected`. `max_ejected` is the
    largest share of the cluster that may be out; with `always_one` (gRPC's rule, and ours) one may be out in any case:
    Envoy's default of 10 % would never eject the one bad endpoint of three.
    `stdev_factor`, with population deviation: a lone bad endpoint of n stands √(n - 1) deviations below the mean, so
    the default 1.9 cannot eject it with fewer than five. `split` counts errors of our own side (time-outs, resets,
    refused connections) apart, by a run, a success rate and a failure share of their own; without, they count as 5xx.
    `jitter` is the most that is added at random to an ejection.

    `a50` follows gRPC where it differs: the failure share must exceed the threshold (Envoy: reach it), ejections stop
    once the share that is out has reached `max_ejected` (Envoy: before it would exceed it), the multiplier falls at
    every sweep (Envoy: only after a whole interval back in the rotation) and has no upper bound, and a sweep readmits
    last, whose time is over (Envoy: first, also whose time ends with it).
    """

    def __init__(
        self,
        *,
        consecutive_5xx: int = 5,
        consecutive_gateway: int = 5,
        consecutive_local: int = 5,
        interval: float = 10.0,
        base_ejection: float = 30.0,
        max_ejection: float | None = None,
        jitter: float = 0.0,
        max_ejected: float = 0.5,
        always_one: bool = True,
        stdev_factor: float = 1.9,
        success_hosts: int = 5,
        success_volume: int = 100,
        failure_threshold: float = 0.85,
        failure_hosts: int = 5,
        failure_volume: int = 50,
        split: bool = False,
        a50: bool = False,
        enforce: Collection[str] | Mapping[str, float] = ENFORCED,
    ) -> None:
        self.consecutive_5xx = checks.count("consecutive_5xx", consecutive_5xx, min_value=0)
        self.consecutive_gateway = checks.count("consecutive_gateway", consecutive_gateway, min_value=0)
        self.consecutive_local = checks.count("consecutive_local", consecutive_local, min_value=0)
        self.interval = checks.seconds("interval", interval)
        self.base_ejection = checks.seconds("base_ejection", base_ejection)
        self.max_ejection = (
            max(300.0, base_ejection) if max_ejection is None else checks.seconds("max_ejection", max_ejection)
        )
        if self.max_ejection < base_ejection:
            raise ValueError(f"max_ejection={max_ejection!r}: expected at least base_ejection={base_ejection!r}")
        self.jitter = checks.seconds("jitter", jitter, zero=True)
        self.max_ejected = checks.ratio("max_ejected", max_ejected, zero=True)
        self.always_one = always_one
        self.stdev_factor = checks.number("stdev_factor", stdev_factor, min_value=0.0)
        self.success_hosts = checks.count("success_hosts", success_hosts)
        self.success_volume = checks.count("success_volume", success_volume)
        self.failure_threshold = checks.ratio("failure_threshold", failure_threshold, zero=True)
        self.failure_hosts = checks.count("failure_hosts", failure_hosts)
        self.failure_volume = checks.count("failure_volume", failure_volume)
        self.split = split
        self.a50 = a50
        if not set(enforce) <= set(CRITERIA):
            raise ValueError(f"enforce={enforce!r}: expected some of {', '.join(CRITERIA)}")
        shares = enforce.items() if isinstance(enforce, Mapping) else [(criterion, 1.0) for criterion in enforce]
        self.enforce = {name: checks.ratio(f"enforce[{name!r}]", share, zero=True) for name, share in shares}
        self.detected: dict[str, int] = dict.fromkeys(CRITERIA, 0)
        self.enforced: dict[str, int] = dict.fromkeys(CRITERIA, 0)
        self.overflow = 0  # ejections that `max_ejected` did not allow
        self.due = -inf  # when the interval ends
        self._tallies: dict[Endpoint, OutlierCounts] = {}
        self._lock = RLock()  # whoever listens to events may send calls of his own

    @classmethod
    def grpc(cls, **settings: object) -> OutlierDetection:
        """A50: comparison only, no runs; the failure share must exceed the threshold; one may always be ejected."""
        return cls(
            **{  # type: ignore[arg-type]
                "max_ejected": 0.1,
                "always_one": False,  # follows from its arithmetic, unless `max_ejected` is 0
                "consecutive_5xx": 0,
                "consecutive_gateway": 0,
                "consecutive_local": 0,
                "a50": True,
                "enforce": ("success_rate", "failure_percentage"),
                **settings,
            }
        )

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Whom to watch from now on. Who stays keeps its counts."""
        with self._lock:
            old = self._tallies
            self._tallies = {endpoint: old.get(endpoint) or OutlierCounts() for endpoint in endpoints}

    def tally(self, endpoint: Endpoint) -> OutlierCounts:
        """What is known of one endpoint (for live views and tests)."""
        return self._tallies[endpoint]

    @property
    def ejected(self) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint, tally in self._tallies.items() if tally.ejected_at is not None)

    def record(
        self, endpoint: Endpoint, status: int | None, now: float, random: Callable[[], float], *, local: str = ""
    ) -> None:
        """One attempt ended: with an HTTP `status`, or with an error of our own side (`local`: "timeout", "connect"
        or anything else), which without `split` counts as 504, 503 or 500."""
        with self._lock:
            tally = self._tallies.get(endpoint)
            if tally is not None:
                self._record(endpoint, tally, status, now, random, local)

    def _record(
        self,
        endpoint: Endpoint,
        tally: OutlierCounts,
        status: int | None,
        now: float,
        random: Callable[[], float],
        local: str,
    ) -> None:
        if local and not self.split:
            status, local = {"timeout": 504, "connect": 503}.get(local, 500), ""
        failed = bool(local) or (status is not None and status >= 500)
        if self.split:
            tally.local_total += 1
            tally.local_good += not local
        if local:
            tally.local += 1
            if tally.local == self.consecutive_local:
                tally.local = 0
                self._eject(endpoint, tally, "local", now, random)
            return
        tally.total += 1
        tally.good += not failed
        tally.local = 0
        if not failed:
            tally.row = tally.gateway = 0
            return
        tally.row += 1
        tally.gateway = tally.gateway + 1 if status in GATEWAY else 0
        if tally.gateway == self.consecutive_gateway and self.consecutive_gateway:
            tally.gateway = 0
            self._eject(endpoint, tally, "gateway", now, random)
        if tally.row == self.consecutive_5xx and self.consecutive_5xx:
            tally.row = 0
            self._eject(endpoint, tally, "5xx", now, random)

    def sweep(self, now: float, random: Callable[[], float]) -> None:
        """End an interval: who has rested long enough comes back, then those who stand out are ejected."""
        with self._lock:
            self.due = now + self.interval
            self._sweep(now, random)

    def tick(self, now: float, random: Callable[[], float]) -> None:
        """Sweep if the interval is over: whoever sends calls this before it picks, where `due` has come."""
        with self._lock:
            if self.due == -inf:
                self.due = now + self.interval
            elif now >= self.due:
                self.sweep(now, random)

    def dismiss(self, now: float) -> None:
        """Outlier detection ends here: whom it has ejected may come back."""
        with self._lock:
            for endpoint in self.ejected:
                endpoint.release("outlier", now)
            self._tallies = {}

    def _sweep(self, now: float, random: Callable[[], float]) -> None:
        if not self.a50:
            self._sweep_rested(now)
        judged = [(e, t) for e, t in self._tallies.items() if t.ejected_at is None]
        answers = [(e, t, t.good, t.total) for e, t in judged]
        attempts = [(e, t, t.local_good, t.local_total) for e, t in judged]
        self._sweep_success(answers, "success_rate", now, random)
        self._sweep_failures(answers, "failure_percentage", now, random)
        self._sweep_success(attempts, "local_success_rate", now, random)
        self._sweep_failures(attempts, "local_failure_percentage", now, random)
        if self.a50:
            self._sweep_rested(now)
        for tally in self._tallies.values():
            tally.good = tally.total = tally.local_good = tally.local_total = 0

    def _sweep_rested(self, now: float) -> None:
        for endpoint, tally in self._tallies.items():
            if tally.ejected_at is not None:
                if now > tally.until or (now == tally.until and not self.a50):
                    self._readmit(endpoint, tally, now)
            elif tally.multiplier and (self.a50 or tally.back_at is None or now - tally.back_at >= self.interval):
                tally.multiplier -= 1

    def passed_health_check(self, endpoint: Endpoint, now: float) -> None:
        """An active check succeeded: that readmits at once (Envoy's default)."""
        with self._lock:
            tally = self._tallies.get(endpoint)
            if tally is not None and tally.ejected_at is not None:
                self._readmit(endpoint, tally, now)

    def _sweep_success(self, judged: list[Judged], criterion: str, now: float, random: Callable[[], float]) -> None:
        enough = [(e, t, good / total) for e, t, good, total in judged if total >= self.success_volume]
        if len(enough) >= self.success_hosts:
            bar = success_bar([rate for _, _, rate in enough], self.stdev_factor)
            for endpoint, tally, rate in enough:
                if rate < bar:
                    self._eject(endpoint, tally, criterion, now, random)

    def _sweep_failures(self, judged: list[Judged], criterion: str, now: float, random: Callable[[], float]) -> None:
        enough = [(e, t, total - good, total) for e, t, good, total in judged if total >= self.failure_volume]
        if len(enough) >= self.failure_hosts:
            for endpoint, tally, bad, total in enough:
                over = bad - self.failure_threshold * total  # 0 where it is reached exactly, but for rounding
                if over > 1e-9 * total or (over >= -1e-9 * total and not self.a50):
                    self._eject(endpoint, tally, criterion, now, random)

    def _eject(
        self, endpoint: Endpoint, tally: OutlierCounts, criterion: str, now: float, random: Callable[[], float]
    ) -> None:
        if tally.ejected_at is not None:
            return
        self.detected[criterion] += 1
        out = len(self.ejected)
        most = self.max_ejected * len(self._tallies)
        allowed = out < most if self.a50 else out + 1 <= most + 1e-9
        if not allowed and not (self.always_one and out == 0):
            self.overflow += 1
            return
        share = self.enforce.get(criterion, 0.0)
        if share == 0.0 or (share < 1.0 and random() >= share):
            return
        self.enforced[criterion] += 1
        if self.a50 or tally.multiplier * self.base_ejection < self.max_ejection + self.base_ejection:
            tally.multiplier += 1
        rest = min(self.base_ejection * tally.multiplier, self.max_ejection) + self.jitter * random()
        tally.ejected_at, tally.until = now, now + rest
        endpoint.hold("outlier", now, f"outlier by {criterion}", tally.until)

    def _readmit(self, endpoint: Endpoint, tally: OutlierCounts, now: float) -> None:
        tally.ejected_at, tally.back_at = None, now
        tally.row = tally.gateway = tally.local = 0
        endpoint.release("outlier", now)


def success_bar(rates: Sequence[float], factor: float) -> float:
    """The success rate below which an endpoint stands out: mean - factor × population standard deviation."""
    mean = sum(rates) / len(rates)
    return mean - factor * sqrt(sum((rate - mean) ** 2 for rate in rates) / len(rates))

"""Outlier detection: ejects the endpoints that are worse than the others of their cluster, as Envoy and gRPC (A50) do.

An ejected endpoint stays out for a time that grows with each ejection. The other way to be ejected is failure accrual,
in ejection.py: it looks at one endpoint alone and readmits it after a good probe.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from threading import RLock
from typing import TypeAlias

from .. import forked
from ..policies.shell import checks
from .endpoint import Endpoint
from .outlier_criteria import (
    CRITERIA,
    ENFORCED,
    FAILURE_PERCENTAGE,
    GATEWAY,
    SUCCESS_RATE,
    EjectionTime,
    FailurePercentageEjection,
    OutlierCounts,
    SuccessRateEjection,
    success_bar,
)

Counted: TypeAlias = tuple[Endpoint, OutlierCounts, int, int]  # good ones, and all


class OutlierDetection:
    """Ejects endpoints by failures in a row at once, and by comparison at each `sweep` (every `interval` seconds).

    The defaults are Envoy's, shares are 0–1. A run of `consecutive_5xx`, `consecutive_gateway` (502, 503, 504) or
    `consecutive_local` failures ejects (0: never). `ejection_time` is an `EjectionTime`, or its base in seconds.
    `enforce` names the criteria that eject, or maps each to the share of its detections that do (Envoy's enforcing_…,
    drawn at random); `detected` counts all. `max_ejected` is the largest share of the cluster that may be ejected; with
    `always_one` (gRPC's rule) one endpoint may be ejected in any case: Envoy's default of 10 % would never eject the
    one bad endpoint of three. `split` counts local errors (time-outs, resets, refused connections) apart, with a run, a
    success rate and a failure percentage of their own; without it they count as 5xx.

    `a50` follows gRPC where it differs from Envoy: the failure share must exceed the threshold (Envoy: reach it);
    ejections stop once the ejected share has reached `max_ejected` (Envoy: before it would exceed it); the multiplier
    falls at every sweep (Envoy: only after a whole interval back in rotation) and has no upper bound; a sweep readmits
    after it ejects (Envoy: before, and also at the very end of the ejection time).
    """

    def __init__(
        self,
        *,
        consecutive_5xx: int = 5,
        consecutive_gateway: int = 5,
        consecutive_local: int = 5,
        interval: float = 10.0,
        ejection_time: EjectionTime | float = 30.0,
        max_ejected: float = 0.5,
        always_one: bool = True,
        success_rate: SuccessRateEjection = SUCCESS_RATE,
        failure_percentage: FailurePercentageEjection = FAILURE_PERCENTAGE,
        split: bool = False,
        a50: bool = False,
        enforce: Collection[str] | Mapping[str, float] = ENFORCED,
    ) -> None:
        self.consecutive_5xx: int = checks.count("consecutive_5xx", consecutive_5xx, min_value=0)
        self.consecutive_gateway: int = checks.count("consecutive_gateway", consecutive_gateway, min_value=0)
        self.consecutive_local: int = checks.count("consecutive_local", consecutive_local, min_value=0)
        self.interval: float = checks.seconds("interval", interval)
        self.ejection_time: EjectionTime = (
            ejection_time if isinstance(ejection_time, EjectionTime) else EjectionTime(ejection_time)
        )
        self.max_ejected: float = checks.ratio("max_ejected", max_ejected, zero=True)
        self.always_one = always_one
        self.success_rate = success_rate
        self.failure_percentage = failure_percentage
        self.split = split
        self.a50 = a50
        if not set(enforce) <= set(CRITERIA):
            raise ValueError(f"enforce={enforce!r}: expected some of {', '.join(CRITERIA)}")
        shares = enforce.items() if isinstance(enforce, Mapping) else [(criterion, 1.0) for criterion in enforce]
        self.enforce: dict[str, float] = {
            name: checks.ratio(f"enforce[{name!r}]", share, zero=True) for name, share in shares
        }
        self.detected: dict[str, int] = dict.fromkeys(CRITERIA, 0)
        self.enforced: dict[str, int] = dict.fromkeys(CRITERIA, 0)
        self.overflow: int = 0  # ejections that `max_ejected` prevented
        self.due: float = -inf  # when the interval ends
        self._counts: dict[Endpoint, OutlierCounts] = {}
        self._lock = RLock()  # reentrant: a listener to events may send calls
        forked.register(self)

    def _after_fork(self) -> None:
        self._lock = RLock()

    @classmethod
    def grpc(cls, **settings: object) -> OutlierDetection:
        """The defaults of gRPC's A50: comparison only, and no ejection by failures in a row."""
        return cls(
            **{  # type: ignore[arg-type]
                "max_ejected": 0.1,
                "always_one": False,  # A50's arithmetic allows one anyway, unless `max_ejected` is 0
                "consecutive_5xx": 0,
                "consecutive_gateway": 0,
                "consecutive_local": 0,
                "a50": True,
                "enforce": ("success_rate", "failure_percentage"),
                **settings,
            }
        )

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the membership. An endpoint that stays keeps its counts."""
        with self._lock:
            old = self._counts
            self._counts = {endpoint: old.get(endpoint) or OutlierCounts() for endpoint in endpoints}

    def tally(self, endpoint: Endpoint) -> OutlierCounts:
        """The counts of one endpoint (for live views and tests)."""
        return self._counts[endpoint]

    @property
    def ejected(self) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint, counts in self._counts.items() if counts.ejected_at is not None)

    def record(
        self, endpoint: Endpoint, status: int | None, now: float, random: Callable[[], float], *, local: str = ""
    ) -> None:
        """One attempt ended: with an HTTP `status`, or with a local error (`local`: "timeout", "connect" or
        anything else), which without `split` counts as 504, 503 or 500."""
        with self._lock:
            counts = self._counts.get(endpoint)
            if counts is not None:
                self._record(endpoint, counts, status, now, random, local)

    def _record(
        self,
        endpoint: Endpoint,
        counts: OutlierCounts,
        status: int | None,
        now: float,
        random: Callable[[], float],
        local: str,
    ) -> None:
        if local and not self.split:
            status, local = {"timeout": 504, "connect": 503}.get(local, 500), ""
        failed = bool(local) or (status is not None and status >= 500)
        if self.split:
            counts.local_total += 1
            counts.local_good += not local
        if local:
            counts.local += 1
            if counts.local == self.consecutive_local:
                counts.local = 0
                self._eject(endpoint, counts, "local", now, random)
            return
        counts.total += 1
        counts.good += not failed
        counts.local = 0
        if not failed:
            counts.row = counts.gateway = 0
            return
        counts.row += 1
        counts.gateway = counts.gateway + 1 if status in GATEWAY else 0
        if counts.gateway == self.consecutive_gateway and self.consecutive_gateway:
            counts.gateway = 0
            self._eject(endpoint, counts, "gateway", now, random)
        if counts.row == self.consecutive_5xx and self.consecutive_5xx:
            counts.row = 0
            self._eject(endpoint, counts, "5xx", now, random)

    def sweep(self, now: float, random: Callable[[], float]) -> None:
        """End an interval: readmit the endpoints whose ejection time is over, then eject the outliers."""
        with self._lock:
            self.due = now + self.interval
            self._sweep(now, random)

    def tick(self, now: float, random: Callable[[], float]) -> None:
        """Sweep if the interval is over. The engine calls this before a pick once `due` has come."""
        with self._lock:
            if self.due == -inf:
                self.due = now + self.interval
            elif now >= self.due:
                self.sweep(now, random)

    def dismiss(self, now: float) -> None:
        """End outlier detection: readmit all endpoints that it ejected."""
        with self._lock:
            for endpoint in self.ejected:
                endpoint.release("outlier", now)
            self._counts = {}

    def _sweep(self, now: float, random: Callable[[], float]) -> None:
        if not self.a50:
            self._readmit_due(now)
        counted = [(e, t) for e, t in self._counts.items() if t.ejected_at is None]
        answers = [(e, t, t.good, t.total) for e, t in counted]
        attempts = [(e, t, t.local_good, t.local_total) for e, t in counted]
        self._sweep_success(answers, "success_rate", now, random)
        self._sweep_failures(answers, "failure_percentage", now, random)
        self._sweep_success(attempts, "local_success_rate", now, random)
        self._sweep_failures(attempts, "local_failure_percentage", now, random)
        if self.a50:
            self._readmit_due(now)
        for counts in self._counts.values():
            counts.good = counts.total = counts.local_good = counts.local_total = 0

    def _readmit_due(self, now: float) -> None:
        for endpoint, counts in self._counts.items():
            if counts.ejected_at is not None:
                if now > counts.until or (now == counts.until and not self.a50):
                    self._readmit(endpoint, counts, now)
            elif counts.multiplier and (self.a50 or counts.back_at is None or now - counts.back_at >= self.interval):
                counts.multiplier -= 1

    def passed_health_check(self, endpoint: Endpoint, now: float) -> None:
        """Readmit an endpoint at once because an active health check passed (Envoy's default)."""
        with self._lock:
            counts = self._counts.get(endpoint)
            if counts is not None and counts.ejected_at is not None:
                self._readmit(endpoint, counts, now)

    def _sweep_success(self, counted: list[Counted], criterion: str, now: float, random: Callable[[], float]) -> None:
        rule = self.success_rate
        enough = [(e, t, good / total) for e, t, good, total in counted if total >= rule.min_requests]
        if len(enough) >= rule.min_hosts:
            bar = success_bar([rate for _, _, rate in enough], rule.stdev_factor)
            for endpoint, counts, rate in enough:
                if rate < bar:
                    self._eject(endpoint, counts, criterion, now, random)

    def _sweep_failures(self, counted: list[Counted], criterion: str, now: float, random: Callable[[], float]) -> None:
        rule = self.failure_percentage
        enough = [(e, t, total - good, total) for e, t, good, total in counted if total >= rule.min_requests]
        if len(enough) >= rule.min_hosts:
            for endpoint, counts, bad, total in enough:
                over = bad - rule.threshold * total  # 0, but for rounding, where the threshold is reached exactly
                if over > 1e-9 * total or (over >= -1e-9 * total and not self.a50):
                    self._eject(endpoint, counts, criterion, now, random)

    def _eject(
        self, endpoint: Endpoint, counts: OutlierCounts, criterion: str, now: float, random: Callable[[], float]
    ) -> None:
        if counts.ejected_at is not None:
            return
        self.detected[criterion] += 1
        ejected = len(self.ejected)
        room = self.max_ejected * len(self._counts)
        allowed = ejected < room if self.a50 else ejected + 1 <= room + 1e-9
        if not allowed and not (self.always_one and ejected == 0):
            self.overflow += 1
            return
        share = self.enforce.get(criterion, 0.0)
        if share == 0.0 or (share < 1.0 and random() >= share):
            return
        self.enforced[criterion] += 1
        time = self.ejection_time
        if self.a50 or counts.multiplier * time.base < time.max_time + time.base:
            counts.multiplier += 1
        counts.ejected_at, counts.until = now, now + time.seconds(counts.multiplier, random())
        endpoint.hold("outlier", now, f"outlier by {criterion}", counts.until)

    def _readmit(self, endpoint: Endpoint, counts: OutlierCounts, now: float) -> None:
        counts.ejected_at, counts.back_at = None, now
        counts.row = counts.gateway = counts.local = 0
        endpoint.release("outlier", now)

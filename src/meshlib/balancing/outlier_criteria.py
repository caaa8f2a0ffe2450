"""Outlier criteria: the settings, counts and arithmetic of outlier detection, which is in outlier_detection.py."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from ..policies.shell import checks

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


class EjectionTime:
    """How long an ejection lasts: `base` seconds × the number of ejections, `max_time` at most, plus up to `jitter`.

    Without `max_time` it is 300 s, or `base` if that is longer (Envoy's rule).
    """

    __slots__ = ("base", "jitter", "max_time")

    def __init__(self, base: float = 30.0, *, max_time: float | None = None, jitter: float = 0.0) -> None:
        self.base: float = checks.seconds("base", base)
        self.max_time: float = max(300.0, base) if max_time is None else checks.seconds("max_time", max_time)
        if self.max_time < base:
            raise ValueError(f"max_time={max_time!r}: expected at least base={base!r}")
        self.jitter: float = checks.seconds("jitter", jitter, zero=True)

    def seconds(self, multiplier: int, random: float) -> float:
        """The length of the ejection number `multiplier`; `random` is 0–1."""
        return min(self.base * multiplier, self.max_time) + self.jitter * random


class SuccessRateEjection:
    """Ejects an endpoint whose success rate is below mean - `stdev_factor` × population standard deviation.

    Only endpoints with `min_requests` answers in the interval are compared, and only if there are `min_hosts` of them.
    A lone bad endpoint of n is √(n - 1) deviations below the mean: 1.9 cannot eject it with fewer than five.
    """

    __slots__ = ("min_hosts", "min_requests", "stdev_factor")

    def __init__(self, stdev_factor: float = 1.9, *, min_hosts: int = 5, min_requests: int = 100) -> None:
        self.stdev_factor: float = checks.number("stdev_factor", stdev_factor, min_value=0.0)
        self.min_hosts: int = checks.count("min_hosts", min_hosts)
        self.min_requests: int = checks.count("min_requests", min_requests)


class FailurePercentageEjection:
    """Ejects an endpoint that failed at least the share `threshold` (0–1) of its answers in the interval.

    Only endpoints with `min_requests` answers are looked at, and only if there are `min_hosts` of them.
    """

    __slots__ = ("min_hosts", "min_requests", "threshold")

    def __init__(self, threshold: float = 0.85, *, min_hosts: int = 5, min_requests: int = 50) -> None:
        self.threshold: float = checks.ratio("threshold", threshold, zero=True)
        self.min_hosts: int = checks.count("min_hosts", min_hosts)
        self.min_requests: int = checks.count("min_requests", min_requests)


SUCCESS_RATE = SuccessRateEjection()
FAILURE_PERCENTAGE = FailurePercentageEjection()


class OutlierCounts:
    """One endpoint's outcomes, as `OutlierDetection` counts them."""

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
        self.row: int = 0  # failures in a row: any 5xx, gateway errors, local errors
        self.gateway: int = 0
        self.local: int = 0
        self.good: int = 0  # answers in this interval, without `split` local errors as well
        self.total: int = 0
        self.local_good: int = 0  # with `split`: attempts with any answer, and all attempts
        self.local_total: int = 0
        self.multiplier: int = 0  # grows with each ejection
        self.until: float = 0.0
        self.ejected_at: float | None = None
        self.back_at: float | None = None


def success_bar(rates: Sequence[float], factor: float) -> float:
    """The success rate below which an endpoint is an outlier: mean - factor × population standard deviation."""
    mean = sum(rates) / len(rates)
    return mean - factor * sqrt(sum((rate - mean) ** 2 for rate in rates) / len(rates))

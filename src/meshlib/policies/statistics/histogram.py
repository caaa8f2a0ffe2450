"""Histogram: percentiles of the values of the last seconds, in a fixed amount of memory.

Buckets grow by 5 %, from 0.1 ms to 1000 s. Each remembers the largest value in it, so a quantile is a value that was
really measured, and never too small by more than the rank says.
"""

from __future__ import annotations

from math import ceil, log, nan
from threading import Lock

_LEAST = 0.0001
_PER_LOG = 1 / log(1.05)
_BUCKETS = int(log(1000 / _LEAST) * _PER_LOG) + 2


class Histogram:
    """Values of the last `slices` slices of `width` seconds each (Finagle: 3 of 10 s)."""

    __slots__ = ("_began", "_lock", "_slices", "_width")

    def __init__(self, *, width: float = 10.0, slices: int = 3) -> None:
        self._width = width
        self._slices = [_Slice() for _ in range(slices)]
        self._began: float | None = None
        self._lock = Lock()

    def _after_fork(self) -> None:
        self._lock = Lock()

    def record(self, value: float, now: float) -> None:
        """Count one value, in seconds."""
        bucket = min(int(log(value / _LEAST) * _PER_LOG) + 1, _BUCKETS - 1) if value > _LEAST else 0
        with self._lock:
            self._roll(now)
            current = self._slices[0]
            current.counts[bucket] = current.counts.get(bucket, 0) + 1
            if value > current.largest.get(bucket, 0.0):
                current.largest[bucket] = value

    def quantile(self, share: float, now: float, *, minimum: int = 1) -> float:
        """The value that `share` of all values do not exceed; NaN for fewer than `minimum` values."""
        with self._lock:
            self._roll(now)
            total = sum(sum(part.counts.values()) for part in self._slices)
            if total < minimum or not total:
                return nan
            rank = max(1, ceil(share * total - 1e-9))
            for bucket in sorted({bucket for part in self._slices for bucket in part.counts}):
                rank -= sum(part.counts.get(bucket, 0) for part in self._slices)
                if rank <= 0:
                    break
            return max(part.largest.get(bucket, 0.0) for part in self._slices)

    def _roll(self, now: float) -> None:
        if self._began is None:
            self._began = now
        passed = int((now - self._began) / self._width)
        if passed > 0:
            fresh = [_Slice() for _ in range(min(passed, len(self._slices)))]
            self._slices = [*fresh, *self._slices][: len(self._slices)]
            self._began += passed * self._width


class _Slice:
    __slots__ = ("counts", "largest")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.largest: dict[int, float] = {}

"""Moving averages: values that decay with time, as arithmetic over (value, now). None of them reads a clock."""

from __future__ import annotations

from math import exp

from ..shell import checks


class Ema:
    """An average that forgets with time constant `window` (after Finagle's Ema).

    `window` and the stamps share a unit, which may be seconds or simply a running number. The first sample is taken
    as it is. A window of 0 means no averaging: the last sample counts alone.
    """

    __slots__ = ("stamp", "value", "window")

    def __init__(self, window: float) -> None:
        self.window: float = checks.seconds("window", window, zero=True)
        self.reset()

    def reset(self) -> None:
        self.value: float = 0.0
        self.stamp: float | None = None

    def observe(self, sample: float, stamp: float) -> float:
        """Take in one sample; the average after it. Raises ValueError if time goes backwards."""
        if self.stamp is None:
            self.value = sample
        elif stamp < self.stamp:
            raise ValueError(f"stamp={stamp!r}: expected {self.stamp!r} or later")
        else:
            kept = exp((self.stamp - stamp) / self.window) if self.window else 0.0
            self.value = sample * (1.0 - kept) + self.value * kept
        self.stamp = stamp
        return self.value


class PeakLatency:
    """Latency that rises at once and falls slowly (after tower's PeakEwma and Finagle's).

    `decay` is the time constant in seconds. `first_guess` stands for the latency before the first sample, in seconds;
    it decays like a sample taken at `now` (tower: 1 s). Finagle has none: there an endpoint without data costs nothing
    while it is idle, and `penalty` seconds (140737) as soon as a call is under way.

    Where the two disagree: with `settles` every reading of the cost is a sample of 0, as in Finagle. Without, reading
    changes nothing, as in tower.
    """

    __slots__ = ("cost", "decay", "penalty", "settles", "stamp")

    def __init__(
        self,
        decay: float = 10.0,
        *,
        first_guess: float = 0.0,
        penalty: float = 0.0,
        settles: bool = False,
        now: float = 0.0,
    ) -> None:
        self.decay: float = checks.seconds("decay", decay)
        self.cost: float = checks.seconds("first_guess", first_guess, zero=True)
        self.penalty: float = checks.seconds("penalty", penalty, zero=True)
        self.settles: bool = settles
        self.stamp: float = now

    def observe(self, took: float, now: float) -> float:
        """Take in one latency in seconds; the cost after it. A sample above the cost replaces it."""
        if took > self.cost:
            self.cost = took
        else:
            kept = exp(min(0.0, self.stamp - now) / self.decay)
            self.cost = took + (self.cost - took) * kept
        self.stamp = max(self.stamp, now)
        return self.cost

    def value(self, now: float) -> float:
        """The cost as of `now`."""
        if self.settles:
            return self.observe(0.0, now)
        return self.cost * exp(min(0.0, self.stamp - now) / self.decay)

    def load(self, pending: int, now: float) -> float:
        """What one more call would cost beside `pending` others: `value × (pending + 1)`."""
        value = self.value(now)
        return self.penalty + pending if pending and self.penalty and not value else value * (pending + 1)

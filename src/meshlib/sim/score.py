"""Score: counts of requests answered in time, quantiles, and the attempts of each server."""

from __future__ import annotations

from collections import defaultdict
from typing import Any


class Score:
    """What one run adds up to. `deadline` in seconds: what comes later is no success."""

    def __init__(self, deadline: float = 1.0, *, since: float = 0.0) -> None:
        self.deadline = deadline
        self.since = since  # requests that arrived earlier are warm-up, and not counted
        self.requests: int = 0
        self.good: int = 0
        self.hedges = 0
        self.failed: int = 0
        self.times: list[float] = []
        self.sends: dict[Any, list[float]] = defaultdict(list)

    def sent(self, server: Any, now: float) -> None:
        self.sends[server].append(now)

    def ended(self, healthy: bool, start: float, now: float) -> None:
        if start >= self.since:
            self.requests += 1
            self.times.append(now - start)
            if not healthy:
                self.failed += 1
            elif now - start <= self.deadline:
                self.good += 1

    @property
    def success(self) -> float:
        """The share of requests that succeeded in time (0–1)."""
        return self.good / self.requests if self.requests else 1.0

    def quantiles(self, *shares: float) -> list[float]:
        """The times in seconds within which these shares of the requests ended."""
        times = sorted(self.times)
        return [times[min(len(times) - 1, int(share * len(times)))] if times else 0.0 for share in shares]

    def asked(self, server: Any, since: float, until: float) -> int:
        """How many attempts went to `server` between two moments."""
        return sum(since <= when < until for when in self.sends.get(server, ()))

    def share(self, server: Any, since: float, until: float) -> float:
        """The attempts that `server` got, relative to a fair share among all servers that were ever asked."""
        total = sum(self.asked(one, since, until) for one in list(self.sends))
        return self.asked(server, since, until) * len(self.sends) / total if total else 0.0

"""A breaker written a second time, as plainly as can be: lists and loops, no generation numbers, no short cuts."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any


@dataclass
class Reference:
    """Opens after `run` failures in a row, or at `rate` of the last `size` calls from `minimum` on."""

    run: int | None = None
    rate: float | None = None
    size: int = 10
    minimum: int = 1
    cooldown: float = 2.0
    probes: int = 1
    successes: int = 1
    at_once: int = 1
    lease: float = 2.0
    longest: float = inf
    state: str = "closed"
    heard: list[bool] = field(default_factory=list)  # in this state: was it a failure?
    tickets: list[Any] = field(default_factory=list)  # whose outcome will be heard
    overdue: list[Any] = field(default_factory=list)  # and whose place another may have
    until: float = 0.0

    def go(self, state: str, now: float) -> None:
        self.state, self.heard, self.tickets, self.overdue = state, [], [], []
        self.until = now + (self.cooldown if state == "open" else self.longest)

    def pass_time(self, now: float) -> None:
        if self.state == "half_open" and now >= self.until:
            self.go("open", self.until)

    def enter(self, now: float) -> object | None:
        """A ticket, or None when refused."""
        self.pass_time(now)
        if self.state == "open" and now >= self.until:
            self.go("half_open", now)
        if self.state == "open":
            return None
        if self.state == "half_open":
            self.overdue += [pair for pair in self.tickets if now >= pair[1]]
            self.tickets = [pair for pair in self.tickets if now < pair[1]]
            if len(self.tickets) >= self.at_once or len(self.tickets) + len(self.heard) >= self.probes:
                return None
        mark = object()
        self.tickets.append((mark, now + self.lease))
        return mark

    def leave(self, ticket: object, failed: bool | None, now: float) -> None:
        """`failed` is None for what is ignored."""
        if failed is not None:
            self.pass_time(now)
        mine = [pair for pair in self.tickets + self.overdue if pair[0] is ticket]
        if not mine:
            return
        (self.tickets if mine[0] in self.tickets else self.overdue).remove(mine[0])
        if failed is None:
            return
        self.heard.append(failed)
        bad = sum(self.heard)
        if self.state == "half_open":
            if bad > self.probes - self.successes:
                self.go("open", now)
            elif len(self.heard) - bad >= self.successes:
                self.go("closed", now)
        elif self.too_much():
            self.go("open", now)

    def too_much(self) -> bool:
        if self.run is not None and len(self.heard) >= self.run and all(self.heard[-self.run :]):
            return True
        lately = self.heard[-self.size :]
        return (
            self.rate is not None
            and len(lately) >= min(self.minimum, self.size)
            and sum(lately) > 0
            and sum(lately) / len(lately) >= self.rate
        )

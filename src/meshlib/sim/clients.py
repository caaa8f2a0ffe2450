"""Simulated clients: pick, send, time out, hedge and report to the endpoint, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from ..call import FAILURE, IGNORED, SUCCESS
from .score import Score
from .world import World

Random: TypeAlias = Callable[[], float]


class Picks(Protocol):
    """As much of a balancer as a client needs; an adapter for a rule of your own is two lines."""

    def pick(self, random: Random, now: float, *, avoid: Any = ()) -> Any: ...


class Client:
    """Asks endpoints whose `carrier` is a simulated server.

    `timeout` in seconds ends an attempt as a failure (the server goes on working). After `hedge` seconds without an
    answer a second attempt goes elsewhere, as long as such attempts are at most `extra` of the requests. `reports` is
    called with (endpoint, server, now) at each answer: what a server writes into its response headers.
    """

    def __init__(
        self,
        world: World,
        balancer: Picks,
        random: Random,
        score: Score,
        *,
        timeout: float | None = None,
        hedge: float | None = None,
        extra: float = 0.02,
        reports: Callable[[Any, Any, float], object] | None = None,
        after: Callable[[float], object] | None = None,
    ) -> None:
        self.world = world
        self.balancer = balancer
        self.random = random
        self.score = score
        self.timeout = timeout
        self.hedge = hedge
        self.extra = extra
        self.reports = reports
        self.after = after  # called after each pick: sends probes

    def ask(self, now: float) -> None:
        """One request, from its arrival to its end."""
        request = _Request(self, now)
        request.attempt(now)
        if self.hedge is not None:
            self.world.at(now + self.hedge, request.hedge)
        if self.after is not None:
            self.after(now)


class _Request:
    __slots__ = ("attempts", "client", "done", "start")

    def __init__(self, client: Client, now: float) -> None:
        self.client = client
        self.start = now
        self.done = False
        self.attempts: dict[Any, int] = {}  # endpoint: permit, of those without an answer

    def attempt(self, now: float) -> None:
        client = self.client
        endpoint = client.balancer.pick(client.random, now, avoid=tuple(self.attempts))
        permit = endpoint.enter(now)
        self.attempts[endpoint] = permit
        client.score.sent(endpoint.carrier, now)
        answered = False

        def answer(healthy: bool, now_: float) -> None:
            nonlocal answered
            if not answered:
                answered = True
                if client.reports is not None and healthy:
                    client.reports(endpoint, endpoint.carrier, now_)
                self._end(endpoint, permit, healthy, now, now_)

        def expire(now_: float) -> None:
            nonlocal answered
            if not answered:
                answered = True
                self._end(endpoint, permit, False, now, now_)

        endpoint.carrier.start(now, answer)
        if client.timeout is not None:
            client.world.at(now + client.timeout, expire)

    def hedge(self, now: float) -> None:
        score = self.client.score
        if not self.done and score.hedges < self.client.extra * score.requests:
            score.hedges += 1
            self.attempt(now)

    def _end(self, endpoint: Any, permit: int, healthy: bool, began: float, now: float) -> None:
        known = self.attempts.pop(endpoint, None)
        if self.done or known is None:
            return
        endpoint.leave(permit, SUCCESS if healthy else FAILURE, now, now - began)
        if healthy or not self.attempts:
            self.done = True
            for other, its in self.attempts.items():  # the loser of a hedge is cancelled: evidence of nothing
                other.leave(its, IGNORED, now, now - self.start)
            self.attempts = {}
            self.client.score.ended(healthy, self.start, now)


def arrivals(
    world: World, ask: Callable[[float], object], rate: Callable[[float], float], until: float, gap: Callable[[], float]
) -> None:
    """Call `ask` at times whose mean rate is `rate(now)` per second; `gap` draws the distances (mean 1)."""

    def next_one(now: float) -> None:
        if now < until:
            ask(now)
            world.at(now + gap() / rate(now), next_one)

    world.at(world.now, next_one)

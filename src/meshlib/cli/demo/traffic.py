"""Open-loop traffic: requests come when they come, whether or not the ones before were answered.

Arrivals are a Poisson process drawn from the seed. Each arrival also brings its own dice, the first throw of which
chooses the version: so both passes see the same requests at the same times, with the same draws.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request to come: when it is due (seconds since the start of the pass), and what its dice are made from."""

    due: float
    seed: str

    def dice(self) -> Random:
        """New dice, which fall the same way in each pass."""
        return Random(self.seed)


def schedule(*, seed: int, rate: float, length: float) -> list[Arrival]:
    """The arrivals of one pass: `rate` per second on average, for `length` seconds."""
    gaps = Random(seed)
    arrivals: list[Arrival] = []
    due = gaps.expovariate(rate)
    while due < length:
        arrivals.append(Arrival(due, f"{seed}:{len(arrivals)}"))
        due += gaps.expovariate(rate)
    return arrivals


async def drive(
    arrivals: list[Arrival], send: Callable[[Arrival], Coroutine[Any, Any, None]], clock: Callable[[], float]
) -> None:
    """Send each request when it is due by `clock` (seconds since the start of the pass); return after the last answer.

    `send` must not raise.
    """
    async with asyncio.TaskGroup() as underway:
        for arrival in arrivals:
            early = arrival.due - clock()
            if early > 0.0:
                await asyncio.sleep(early)
            underway.create_task(send(arrival))

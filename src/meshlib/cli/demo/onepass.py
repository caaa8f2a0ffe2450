"""One pass: the traffic and the play at the same time, through one side."""

from __future__ import annotations

import asyncio
import time

from .script import ACTS, Act, Tempo
from .sides import MeshSide, PlainSide, Side
from .tally import Tally
from .traffic import Arrival, drive
from .world import DemoWorld


class Pass:
    """One run of the play. What it measures is in `tally`; `act` is the act at hand."""

    def __init__(self, number: int, world: DemoWorld, tempo: Tempo, side: type[MeshSide] | type[PlainSide]) -> None:
        self.number = number
        self.world = world
        self.tempo = tempo
        self.tally: Tally = Tally()
        self.act: Act = ACTS[0]
        self._start = time.monotonic()
        self.side: Side = side(world, tempo, self.tally, self.clock)

    def clock(self) -> float:
        """Seconds since the start of the pass."""
        return time.monotonic() - self._start

    async def run(self, arrivals: list[Arrival]) -> None:
        """Play all acts under traffic; returns after the last answer."""
        self._start = time.monotonic()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._play())
                both.create_task(drive(arrivals, self.side.send, self.clock))
        finally:
            await self.side.close()

    async def _play(self) -> None:
        for act in ACTS:
            await asyncio.sleep(max(0.0, act.at * self.tempo.length - self.clock()))
            self.act = act
            self.tally.began[act.name] = self.clock()
            await self.world.perform(act)
            self.tally.done[act.name] = self.clock()

"""What is shown where there is no terminal: plain lines, one for each act and for whatever the mesh tells."""

from __future__ import annotations

import asyncio

from rich.console import Console

from .onepass import Pass
from .tally import figures
from .view import split_of
from .words import milliseconds, percent, sentence


class LinesView:
    """Prints acts and events as they come, and after each act how the endpoints fared in it."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def watch(self, one: Pass) -> None:
        """Print until cancelled."""
        self._say(f"pass {one.number} of 2: {one.side.title}")
        names = {server.address: server.name for server in one.world.servers.values()}
        heard, act = 0, None
        while True:
            for told in one.tally.told[heard:]:
                heard += 1
                words = sentence(told.event, names)
                if words:
                    self._say(f"{told.at:6.2f} s    {words}")
            if one.act is not act:
                if act is not None:
                    self._say(f"          {_summary(one, act.name)}")
                act = one.act
                self._say(f"{one.tally.began.get(act.name, 0.0):6.2f} s  {act.words}")
            await asyncio.sleep(0.05)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _summary(one: Pass, act: str) -> str:
    """An act that has just ended, in one line for each thing that the live view would have shown."""
    now = one.clock()
    start = one.tally.began[act]
    parts = []
    for server in one.world.servers.values():
        here = figures(one.tally.to([server.address], start, now))
        if here.count:
            parts.append(
                f"{server.name} {here.count / (now - start):.0f}/s {percent(here.success)} "
                f"p50 {milliseconds(here.p50)} p99 {milliseconds(here.p99)} {one.side.state(server.address)}"
            )
    _, measured, _ = split_of(one)
    parts.append(f"v2 {measured:.0%}")
    breakers = " ".join(f"{name} {state}" for name, state in one.side.breakers().items())
    balance = one.side.balance()
    if balance is not None:
        parts.append(f"breakers {breakers} | budget {balance}")
    return " | ".join(parts)

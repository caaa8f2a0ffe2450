"""`meshlib demo`: a mesh in one process, under traffic, while the servers behind it slow down, die and come back.

script    what happens, when            world      the servers and the files
traffic   when requests come            sides      the two ways to send them
tally     what was measured             onepass    all of these at the same time
view, lines, closing   what is shown    verdicts   what is claimed, and whether it held
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

from rich.console import Console

from .closing import closing
from .lines import LinesView
from .onepass import Pass
from .picture import draw
from .script import LONG, SHORT, Tempo
from .sides import MeshSide, PlainSide
from .tally import Tally
from .traffic import Arrival, schedule
from .verdicts import judge
from .view import WIDTH, LiveView
from .world import DemoWorld


def demo(*, fast: bool = False, seed: int = 1, picture: Path | None = None) -> int:
    """Run the demo. Returns 0 if every claim held, 1 if not, 130 after Ctrl-C, 143 after SIGTERM."""
    console = Console()
    # A file has no width of its own, and a wider terminal makes nothing clearer.
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    try:
        return asyncio.run(_run(console, SHORT if fast else LONG, seed, picture))
    except KeyboardInterrupt:
        console.print("interrupted; all servers are stopped")
        return 130
    except asyncio.CancelledError:
        return 143


async def _run(console: Console, tempo: Tempo, seed: int, picture: Path | None) -> int:
    with contextlib.suppress(NotImplementedError):  # Windows has no such handlers
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    live = LiveView(console)
    view = live if console.is_terminal and not console.is_dumb_terminal else LinesView(console)
    arrivals = schedule(seed=seed, rate=tempo.rate, length=tempo.length)
    async with DemoWorld(cooldown=tempo.cooldown, patience=tempo.patience) as world:
        await _warm_up(world, tempo)
        mesh = await _watched(Pass(1, world, tempo, MeshSide), arrivals, view)
        world.split(100, 0)
        plain = await _watched(Pass(2, world, tempo, PlainSide), arrivals, view)
    claims = judge(mesh, plain, world)
    end = closing(mesh, plain, world, claims)
    console.print(end)
    if picture is not None:
        draw(picture, [live.kept, end])
    return 0 if all(claim.holds for claim in claims) else 1


async def _watched(one: Pass, arrivals: list[Arrival], view: LiveView | LinesView) -> Tally:
    async with asyncio.TaskGroup() as both:
        watching = both.create_task(view.watch(one))
        await one.run(arrivals)
        watching.cancel()
    return one.tally


async def _warm_up(world: DemoWorld, tempo: Tempo) -> None:
    """A few requests that do not count: what is imported at first use would make the first endpoint look slow."""
    for one in (Pass(0, world, tempo, MeshSide), Pass(0, world, tempo, PlainSide)):
        for arrival in schedule(seed=0, rate=10.0, length=1.0):
            await one.side.send(arrival)
        await one.side.close()

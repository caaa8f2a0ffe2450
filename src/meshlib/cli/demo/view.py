"""The live view: one screen that says how each endpoint fares, what the mesh knows of it, and what is going on."""

from __future__ import annotations

import asyncio

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .onepass import Pass
from .script import ACTS, weights
from .tally import figures, recent
from .words import COLOURS, milliseconds, percent, sentence

WIDTH = 100
_REFRESH = 0.25  # seconds; drawing takes several milliseconds, in which no request moves
_NEWS = 6


class LiveView:
    """Draws a pass on a terminal four times a second. `kept` is the picture of the act that shows the most."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.kept: RenderableType | None = None

    async def watch(self, one: Pass) -> None:
        """Draw until cancelled."""
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                picture = screen(one)
                live.update(picture, refresh=True)
                if one.number == 1 and one.act.name == "dead":
                    self.kept = picture
                await asyncio.sleep(_REFRESH)


def screen(one: Pass) -> RenderableType:
    """The pass as it stands."""
    length = one.tempo.length
    head = Table.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    head.add_row(
        Text.assemble((f"pass {one.number} of 2", "bold"), f": {one.side.title}"),
        f"{min(one.clock(), length):.1f} of {length:.0f} s",
    )
    return Panel(
        Group(head, _acts(one), _endpoints(one), _gauges(one), "", _news(one)),
        title="[bold]meshlib demo[/]",
        box=box.ROUNDED,
        border_style="dim",
    )


def _acts(one: Pass) -> Text:
    """The words of the act at hand, and where in the play it stands."""
    place = ACTS.index(one.act)
    words = Text.assemble(("▶ ", "cyan"), (one.act.words, "bold cyan"), "\n")
    for index, act in enumerate(ACTS):
        style = "dim" if index < place else "bold cyan" if index == place else ""
        words.append(f"{act.name}{'' if act is ACTS[-1] else ' · '}", style)
    return words


def _endpoints(one: Pass) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1))
    table.add_column("endpoint")
    table.add_column("port", style="dim")
    for title in ("req/s", "success", "p50", "p99", "in flight"):
        table.add_column(title, justify="right")
    table.add_column("state", width=8)
    now = one.clock()
    window = window_of(one)
    sent = recent(one.tally.sent, now - window)
    for server in one.world.servers.values():
        here = figures([each for each in sent if each.address == server.address])
        state = one.side.state(server.address)
        table.add_row(
            server.name,
            str(server.port),
            f"{here.count / max(min(window, now), 0.1):.0f}",
            Text(percent(here.success) if here.count else "–", "" if here.success > 0.99 else "red"),
            milliseconds(here.p50),
            milliseconds(here.p99),
            str(one.side.in_flight(server.address)),
            Text(state, COLOURS.get(state, "dim")),
        )
    return table


def _gauges(one: Pass) -> Table:
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="dim")
    grid.add_column()
    wanted, measured, answers = split_of(one)
    failed = sum(not each.ok for each in one.tally.answers)
    grid.add_row("callers", f"{len(one.tally.answers)} requests answered, {failed} of them by an error")
    grid.add_row("split v1 : v2", _bar("wanted", wanted))
    grid.add_row("", _bar("measured", measured) if answers else "")
    breakers = Text()
    for name, state in one.side.breakers().items():
        breakers.append(f"{name} ").append(state.replace("_", "-"), COLOURS.get(state, "dim")).append("   ")
    grid.add_row("circuit breakers", breakers if breakers else "none")
    balance = one.side.balance()
    grid.add_row("retry budget", "none" if balance is None else f"{balance} retries to spend")
    return grid


def _bar(words: str, v2: float, width: int = 30) -> Text:
    filled = round(v2 * width)
    return Text.assemble(
        f"{words:9}", ("━" * (width - filled), "blue"), ("━" * filled, "magenta"), f" {1 - v2:.0%} : {v2:.0%}"
    )


def _news(one: Pass) -> Text:
    """The last things that the mesh told."""
    names = {server.address: server.name for server in one.world.servers.values()}
    lines = []
    for told in reversed(one.tally.told):
        words = sentence(told.event, names)
        if words:
            lines.append(f"{told.at:5.1f} s  {words}")
        if len(lines) == _NEWS:
            break
    lines.reverse()
    return Text("\n".join(lines + [""] * (_NEWS - len(lines))), "dim", no_wrap=True, overflow="ellipsis")


def window_of(one: Pass) -> float:
    """Over how many of the last seconds the rates of the view are taken."""
    return min(2.0, one.tempo.length / 10)


def split_of(one: Pass) -> tuple[float, float, int]:
    """The share of v2 that is wanted, the one measured of late, and over how many answers."""
    now = one.clock()
    v1, v2 = weights(now / one.tempo.length)
    servers = [each.server for each in recent(one.tally.answers, now - window_of(one)) if each.server]
    measured = sum(server.startswith("v2") for server in servers) / len(servers) if servers else 0.0
    return v2 / (v1 + v2), measured, len(servers)

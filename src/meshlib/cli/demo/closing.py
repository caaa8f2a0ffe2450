"""The end of the demo: both passes side by side, and what was claimed with the figures behind it."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .tally import Tally, figures
from .verdicts import Claim, failures_outside, outage, to_dead, to_dead_v2
from .words import milliseconds
from .world import DemoWorld


def closing(mesh: Tally, plain: Tally, world: DemoWorld, claims: list[Claim]) -> RenderableType:
    """The table, then the claims."""
    return Group(_side_by_side(mesh, plain, world), _claims(claims), _sum(claims))


def _side_by_side(mesh: Tally, plain: Tally, world: DemoWorld) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, title="the same traffic, the same faults")
    table.add_column("")
    table.add_column("MeshClient", justify="right", style="bold")
    table.add_column("plain httpx, round robin", justify="right")
    span = outage(mesh)
    both = (mesh, plain)
    answers = [figures(tally.answers) for tally in both]
    rows: list[tuple[str, list[str]]] = [
        ("requests", [str(one.count) for one in answers]),
        ("failures seen by the caller", [str(one.failures) for one in answers]),
        ("    outside the outage *", [str(failures_outside(tally, span)) for tally in both]),
        ("p50 of the answers", [milliseconds(one.p50) for one in answers]),
        ("p99 of the answers", [milliseconds(one.p99) for one in answers]),
        ("sent to the dead endpoint of v1", [str(to_dead(tally, world)) for tally in both]),
        ("sent to v2 while all of it was dead", [str(to_dead_v2(tally, world)) for tally in both]),
        ("requests sent to any endpoint", [str(len(tally.sent)) for tally in both]),
    ]
    for words, cells in rows:
        table.add_row(words, *cells)
    start, end = span
    table.caption = f"* from the death of all v2 until the mesh's breaker closed again, {min(end, 1e3) - start:.1f} s"
    table.caption_justify = "left"
    return table


def _claims(claims: list[Claim]) -> Table:
    grid = Table.grid(padding=(0, 1))
    for claim in claims:
        mark = Text("✔", "bold green") if claim.holds else Text("✘", "bold red")
        grid.add_row(mark, claim.words, Text(claim.figures, "dim"))
    return grid


def _sum(claims: list[Claim]) -> Text:
    kept = sum(claim.holds for claim in claims)
    good = kept == len(claims)
    return Text(f"\n{kept} of {len(claims)} claims held in this run.", "bold green" if good else "bold red")

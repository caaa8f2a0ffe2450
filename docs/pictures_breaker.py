"""Draws docs/img/circuit-breaker.svg from a real CircuitBreaker: its moves, and two minutes of an outage.

    python docs/pictures_breaker.py

Nothing in the picture is written by hand but where the boxes stand: every arrow is a transition that the object told,
with the reason that it gave, and every point is a call that it admitted or refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from meshlib import BreakerOpen, CircuitBreaker, Probes
from meshlib.call import FAILURE, SUCCESS
from meshlib.events import BreakerChanged, Event
from meshlib.testing import ManualClock

FILE = Path(__file__).parent / "img" / "circuit-breaker.svg"
BOXES = {"closed": (110, 60), "open": (400, 60), "half_open": (690, 60)}
ASIDE = {"forced_open": (110, 190), "disabled": (400, 190), "metrics_only": (690, 190)}
COLOURS = {"closed": "#2e7d32", "open": "#c62828", "half_open": "#ef6c00"}
WIDTH, LEFT, SCALE = 800, 60, 6.0  # pixels; pixels; pixels a second


def moves() -> dict[tuple[str, str], str]:
    """Every move that calls and time make, with the reason: found by making them."""
    seen: dict[tuple[str, str], str] = {}

    def note(event: Event) -> None:
        if isinstance(event, BreakerChanged):
            seen.setdefault((event.before, event.after), event.reason)

    def drive(act: Callable[[CircuitBreaker], object]) -> None:
        breaker = CircuitBreaker(
            failure_rate=0.5, minimum_calls=4, cooldown=20.0, probes=Probes(max_duration=30.0), runtime=ManualClock()
        )
        breaker.subscribe(note)
        for _ in range(4):
            breaker.leave(breaker.enter(0.0), FAILURE, 0.0)
        act(breaker)

    drive(lambda breaker: breaker.leave(breaker.enter(20.0), SUCCESS, 20.0))
    drive(lambda breaker: breaker.leave(breaker.enter(20.0), FAILURE, 20.0))
    return seen


def outage() -> tuple[list[tuple[float, str]], list[tuple[float, str]], list[tuple[float, float]]]:
    """Two minutes, a call a second, the server down from 20 s to 70 s: changes of state, calls, failure rate."""
    clock = ManualClock()
    breaker = CircuitBreaker(failure_rate=0.5, minimum_calls=10, cooldown=20.0, runtime=clock)
    states, calls, rates = [(0.0, "closed")], [], []

    def note(event: Event) -> None:
        if isinstance(event, BreakerChanged):
            states.append((event.now, event.after))

    breaker.subscribe(note)
    for second in range(120):
        now = float(second)
        down = 20 <= second < 70
        try:
            breaker.leave(breaker.enter(now), FAILURE if down else SUCCESS, now)
            calls.append((now, "failed" if down else "answered"))
        except BreakerOpen:
            calls.append((now, "refused"))
        if breaker.state == "closed":
            rates.append((now, max(breaker.metrics(now).failure_rate, 0.0)))
        clock.advance(1.0)
    return states, calls, rates


def box(name: str, x: float, y: float, colour: str) -> str:
    return (
        f'<rect x="{x - 75}" y="{y - 20}" width="150" height="40" rx="8" fill="none" stroke="{colour}" '
        f'stroke-width="2"/><text x="{x}" y="{y + 5}" text-anchor="middle">{name.upper()}</text>'
    )


def arrow(before: str, after: str, why: str) -> str:
    (x1, y1), (x2, y2) = BOXES[before], BOXES[after]
    if (before, after) == ("half_open", "closed"):
        path, at = f"M{x1},{y1 + 22} C{x1 - 60},{y1 + 95} {x2 + 60},{y2 + 95} {x2},{y2 + 24}", (400, y1 + 92)
    elif x2 > x1:
        path, at = f"M{x1 + 77},{y1 - 8} L{x2 - 79},{y2 - 8}", ((x1 + x2) / 2, y1 - 15)
    else:
        path, at = f"M{x1 - 77},{y1 + 8} L{x2 + 79},{y2 + 8}", ((x1 + x2) / 2, y1 + 26)
    return (
        f'<path d="{path}" fill="none" stroke="#777" stroke-width="1.5" marker-end="url(#tip)"/>'
        f'<text x="{at[0]}" y="{at[1]}" text-anchor="middle" class="small">{why}</text>'
    )


def draw() -> str:
    states, calls, rates = outage()
    top, parts = 270, []
    parts += [box(name, x, y, COLOURS[name]) for name, (x, y) in BOXES.items()]
    parts += [box(name, x, y, "#999") for name, (x, y) in ASIDE.items()]
    parts.append('<text x="400" y="235" text-anchor="middle" class="small">by hand, until reset by hand</text>')
    parts += [arrow(before, after, why) for (before, after), why in moves().items()]
    ends = [*(at for at, _ in states[1:]), 120.0]
    for (begin, name), end in zip(states, ends, strict=True):
        x, width = LEFT + begin * SCALE, max((end - begin) * SCALE, 3)
        parts.append(
            f'<rect x="{x:g}" y="{top}" width="{width:g}" height="130" fill="{COLOURS[name]}" fill-opacity="0.15"/>'
        )
    line = " ".join(f"{LEFT + at * SCALE:g},{top + 100 - rate * 80:g}" for at, rate in rates if at <= 40)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1565c0" stroke-width="1.5"/>')
    half = top + 60
    parts.append(f'<path d="M{LEFT},{half} h{120 * SCALE:g}" stroke="#1565c0" stroke-dasharray="2 4" fill="none"/>')
    parts.append(f'<text x="{LEFT - 6}" y="{half + 4}" text-anchor="end" class="small">50 %</text>')
    fill = {"answered": "#2e7d32", "failed": "#c62828", "refused": "#fff"}
    for at, what in calls:
        stroke = "#c62828" if what != "answered" else "#2e7d32"
        parts.append(
            f'<circle cx="{LEFT + at * SCALE + 3:g}" cy="{top + 117}" r="2.4" fill="{fill[what]}" stroke="{stroke}"/>'
        )
    for second in range(0, 121, 20):
        x = LEFT + second * SCALE
        parts.append(f'<text x="{x:g}" y="{top + 148}" text-anchor="middle" class="small">{second} s</text>')
    legend = "blue: failure rate of the last 10 s · points: answered, failed, refused (hollow) · server down 20 to 70 s"
    parts.append(f'<text x="{LEFT}" y="{top - 8}" class="small">{legend}</text>')
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 160}" font-family="sans-serif" font-size="14">
<style>text {{ fill: #444 }} .small {{ font-size: 12px }}</style>
<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#777"/></marker></defs>
<rect width="100%" height="100%" fill="#fff"/>
{body}
</svg>
"""  # noqa: E501


if __name__ == "__main__":
    FILE.write_text(draw())

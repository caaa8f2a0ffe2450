"""How the demo says things: events as sentences, states and figures as short words."""

from __future__ import annotations

from collections.abc import Mapping

from ...events import BreakerChanged, EndpointEjected, EndpointRestored, Event, SnapshotPublished

COLOURS = {
    "ok": "green",
    "slow": "yellow",
    "probing": "cyan",
    "ejected": "red",
    "closed": "green",
    "half_open": "cyan",
    "open": "red",
}
"""Of the states of endpoints and breakers."""


def sentence(event: Event, names: Mapping[str, str]) -> str:
    """An event in words; "" for one that is of no interest here. `names` are those of the addresses."""
    if isinstance(event, EndpointEjected):
        return f"{names[event.address]} is taken out: {event.reason}"
    if isinstance(event, EndpointRestored):
        return f"{names[event.address]} is back: its probe was answered well"
    if isinstance(event, BreakerChanged):
        return f"breaker of {event.name}: {event.after.replace('_', '-')} ({event.reason})"
    if isinstance(event, SnapshotPublished) and event.version > 1:
        return "the edit of mesh.yaml is in force"
    return ""


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds else "–"


def percent(share: float) -> str:
    return f"{share:.1%}" if 0.0 < share < 1.0 else f"{share:.0%}"

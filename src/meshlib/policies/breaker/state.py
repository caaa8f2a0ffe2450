"""Breaker states, and which manual moves between them are allowed."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN
FORCED_OPEN, DISABLED, METRICS_ONLY = State.FORCED_OPEN, State.DISABLED, State.METRICS_ONLY

# As in resilience4j: only a breaker that was open has something to probe, and one that only counts does not open by
# accident: it is closed, disabled or forced open first.
_FORBIDDEN = {CLOSED: (HALF_OPEN,), METRICS_ONLY: (OPEN, HALF_OPEN)}


def check_move(name: str, before: State, after: State) -> None:
    """Raise RuntimeError for a manual move that is not allowed."""
    if after in _FORBIDDEN.get(before, ()):
        raise RuntimeError(f"{name}: a breaker that is {before} cannot be made {after}")


def checked_state(field: str, value: str, *allowed: State) -> State:
    """`value` as a state, one of `allowed`. Raises ValueError."""
    if value not in allowed:
        raise ValueError(f"{field}={value!r}: expected one of {', '.join(repr(str(state)) for state in allowed)}")
    return State(value)

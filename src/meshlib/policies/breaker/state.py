"""The states of a breaker, and who may go where by hand."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a breaker is."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN
FORCED_OPEN, DISABLED, METRICS_ONLY = State.FORCED_OPEN, State.DISABLED, State.METRICS_ONLY

# By hand, as in resilience4j. What a breaker has not been open for cannot be probed, and one that only counts does not
# open by accident: it is closed, disabled or forced open first.
_FORBIDDEN = {CLOSED: (HALF_OPEN,), METRICS_ONLY: (OPEN, HALF_OPEN)}


def check_move(name: str, before: State, after: State) -> None:
    """Raise RuntimeError for a move that no hand may make."""
    if after in _FORBIDDEN.get(before, ()):
        raise RuntimeError(f"{name}: a breaker that is {before} cannot be made {after}")


def checked_state(field: str, value: str, *allowed: State) -> State:
    """`value` as a state, one of `allowed`. Raises ValueError."""
    if value not in allowed:
        raise ValueError(f"{field}={value!r}: expected one of {', '.join(repr(str(state)) for state in allowed)}")
    return State(value)

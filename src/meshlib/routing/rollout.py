"""Rollout: a state machine that takes time and figures and returns the next share of the new version.

It steps every so many seconds, holds while too few requests were seen, and rolls back for good as soon as `abort_if`
holds. Who publishes the share, and who measures the figures, is no business of this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from math import isfinite

from .rollout_condition import Condition
from .split import Destination, Split


class Phase(Enum):
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    ABORTED = "aborted"


class Move:
    """What a rollout wants now: the new version's `share` (0 to 1), and why in words."""

    __slots__ = ("reason", "share")

    def __init__(self, share: float, reason: str) -> None:
        self.share: float = share
        self.reason: str = reason

    def __repr__(self) -> str:
        return f"Move({self.share}, {self.reason!r})"


class Rollout:
    """Shift traffic in `steps` (shares above 0 that grow, at most 1), each held for `every` seconds.

    `abort_if` is looked at whenever `decide` is called, once `least` requests were counted (`requests` in the figures)
    since the step began; a step does not end before that either. After an abort the share is what it was before.
    """

    __slots__ = ("abort_if", "before", "every", "least", "phase", "reason", "since", "step", "steps")

    def __init__(
        self,
        *,
        steps: Sequence[float],
        every: float,
        abort_if: Condition | str | None = None,
        least: int = 1,
        before: float = 0.0,
    ) -> None:
        growing = all(low < high for low, high in zip([before, *steps], steps, strict=False))
        if not (steps and growing and before >= 0 and steps[-1] <= 1):
            raise ValueError(f"steps: {list(steps)!r} found, expected shares that grow from {before:g} to at most 1")
        if not (isfinite(every) and every > 0):
            raise ValueError(f"every: {every!r} found, expected seconds above 0")
        if least < 0:
            raise ValueError(f"least: {least!r} found, expected at least 0")
        self.steps: tuple[float, ...] = tuple(steps)
        self.every: float = every
        self.abort_if: Condition | None = Condition.read(abort_if) if isinstance(abort_if, str) else abort_if
        self.least: int = least
        self.before: float = before
        self.phase: Phase = Phase.RUNNING
        self.reason: str = ""
        self.step: int = -1
        self.since: float = 0.0

    @property
    def share(self) -> float:
        """The new version's share as of the last move."""
        if self.phase is Phase.ABORTED or self.step < 0:
            return self.before
        return self.steps[self.step]

    def decide(self, figures: Mapping[str, float], now: float) -> Move | None:
        """The next move, or None to stay. `figures` are those of the new version since the step began."""
        if self.phase in (Phase.DONE, Phase.ABORTED):
            return None
        if self.step < 0:
            return self._enter(0, now) if self.phase is Phase.RUNNING else None
        enough = figures.get("requests", 0.0) >= self.least
        if enough and self.abort_if is not None and self.abort_if.holds(figures):
            return self.abort(f"{self.abort_if} holds at {self.share:.2%} ({_shown(figures, self.abort_if)})")
        if self.phase is Phase.PAUSED or not enough or now - self.since < self.every:
            return None
        if self.step + 1 == len(self.steps):
            self.phase = Phase.DONE
            self.reason = f"all {len(self.steps)} steps held for {self.every:g} s"
            return None
        return self._enter(self.step + 1, now)

    def pause(self) -> None:
        """Hold the present share. `abort_if` is still watched."""
        if self.phase is Phase.RUNNING:
            self.phase = Phase.PAUSED

    def resume(self, now: float) -> None:
        """Go on; the present step begins anew."""
        if self.phase is Phase.PAUSED:
            self.phase = Phase.RUNNING
            self.since = now

    def abort(self, reason: str) -> Move | None:
        """Go back to where it began, for good. None if the rollout is over already."""
        if self.phase in (Phase.DONE, Phase.ABORTED):
            return None
        self.phase = Phase.ABORTED
        self.reason = reason
        return Move(self.before, reason)

    def _enter(self, step: int, now: float) -> Move:
        self.step = step
        self.since = now
        return Move(self.steps[step], f"step {step + 1} of {len(self.steps)}")


def shifted(split: Split, to: str, share: float) -> Split:
    """The split with `to` at `share` (0 to 1) of the traffic; the others keep their proportions among each other.

    `to` is appended if it is not there, and weights sum up to 100. Shift the split as it was before the rollout: at a
    share of 1 the proportions of the others are gone, and the first of them gets the rest. Raises ValueError for a
    share beyond 0 to 1, or if nobody is there to take the rest.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: {share!r} found, expected a ratio from 0 to 1")
    arms = list(split.destinations)
    if all(arm.cluster != to for arm in arms):
        arms.append(Destination(to, weight=0))
    others = sum(arm.weight for arm in arms if arm.cluster != to)
    rest = [arm.cluster for arm in arms if arm.cluster != to]
    if share < 1 and not rest:
        raise ValueError(f"share: {share!r} found, but {to!r} is alone in its split; nobody can take the rest")

    def weight(arm: Destination) -> float:
        if arm.cluster == to:
            return round(100 * share, 6)
        portion = arm.weight / others if others > 0 else float(arm.cluster == rest[0])
        return round(100 * (1 - share) * portion, 6)

    moved = [Destination(arm.cluster, weight=weight(arm), headers=arm.headers) for arm in arms]
    sticky = split.sticky
    if sticky is not None and sticky.method == "modulo":
        whole = [int(arm.weight) for arm in moved]
        if any(arm.weight != number for arm, number in zip(moved, whole, strict=True)):
            raise ValueError(f"share: {share!r} found, expected whole percents for a split with the method 'modulo'")
    return Split(moved, sticky=sticky)


def _shown(figures: Mapping[str, float], condition: Condition) -> str:
    return ", ".join(f"{name} is {figures[name]:g}" for name in sorted(condition.names) if name in figures)

"""What was measured in one pass: every answer that the caller got, every request that was sent, every change told.

All times are seconds since the start of the pass. Nothing is counted twice or estimated: figures are taken from these
lists when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Protocol, TypeVar

from ...events import Event


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller got for one request: from whom ("" for an error), and after how long since it was due."""

    at: float
    took: float
    ok: bool
    server: str
    sent: float  # when the caller really sent it, which a busy machine may delay


@dataclass(frozen=True, slots=True)
class Sent:
    """One request to one endpoint: a caller's request may be sent more than once, or not at all."""

    at: float
    took: float
    ok: bool
    address: str


@dataclass(frozen=True, slots=True)
class Told:
    """One event of the mesh."""

    at: float
    event: Event


@dataclass(frozen=True, slots=True)
class PassFigures:
    """A few numbers over many requests; times in seconds, NaN-free: 0.0 where there was nothing to measure."""

    count: int
    failures: int
    p50: float
    p99: float

    @property
    def success(self) -> float:
        """The share that went well, 0–1; 1.0 if there was none at all."""
        return 1.0 - self.failures / self.count if self.count else 1.0


@dataclass(slots=True)
class Tally:
    """The lists of one pass. `began` and `done` say when the steps of each act were begun and done, by act."""

    answers: list[Answer] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    began: dict[str, float] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)

    def answered(self, start: float, end: float) -> list[Answer]:
        """The answers to requests that the caller sent in a span."""
        return [one for one in self.answers if start < one.sent < end]

    def to(self, addresses: Iterable[str], start: float, end: float) -> list[Sent]:
        """What was sent to some addresses in a span."""
        wanted = frozenset(addresses)
        return [one for one in self.sent if start < one.at < end and one.address in wanted]

    def first(self, kind: type[E], start: float, **wanted: object) -> tuple[float, E | None]:
        """The first event of a kind, with these attributes, not before `start`: when, and which (inf, None: none)."""
        return next(self.all(kind, start, **wanted), (inf, None))

    def all(self, kind: type[E], start: float = 0.0, **wanted: object) -> Iterator[tuple[float, E]]:
        """All events of a kind, with these attributes, not before `start`."""
        for one in self.told:
            event = one.event
            if one.at < start or not isinstance(event, kind):
                continue
            if all(getattr(event, name) == value for name, value in wanted.items()):
                yield one.at, event


class Outcome(Protocol):
    @property
    def took(self) -> float: ...
    @property
    def ok(self) -> bool: ...


E = TypeVar("E", bound=Event)
O = TypeVar("O", Answer, Sent)  # noqa: E741


def figures(outcomes: Sequence[Outcome]) -> PassFigures:
    """Counts, and the percentiles of what went well: a refusal is quick, but nobody is glad of it."""
    times = sorted(one.took for one in outcomes if one.ok)
    return PassFigures(len(outcomes), len(outcomes) - len(times), percentile(times, 0.5), percentile(times, 0.99))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of an ordered sequence; 0.0 if it is empty."""
    return ordered[max(ceil(share * len(ordered)), 1) - 1] if ordered else 0.0


def recent(outcomes: Sequence[O], since: float) -> list[O]:
    """The last of a list that grows roughly in the order of time."""
    found = []
    for one in reversed(outcomes):
        if one.at >= since:
            found.append(one)
        elif one.at < since - 3.0:  # later than any answer may be
            break
    return found

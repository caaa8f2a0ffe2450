"""Recorder: the events of an object, in order, for tests that check what happened rather than how."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TypeVar

from ..events import Event, Listener

E = TypeVar("E", bound=Event)


class Emitter(Protocol):
    """Any object with `subscribe`: a policy, a mesh, a port."""

    def subscribe(self, listener: Listener) -> Callable[[], None]: ...


class Recorder:
    """Keeps every event of its `sources`, until `close` or the end of the `with` block."""

    def __init__(self, *sources: Emitter) -> None:
        self.events: list[Event] = []
        self._ends = [source.subscribe(self.events.append) for source in sources]

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def kinds(self) -> list[str]:
        """The names of the event classes, in the order in which they were emitted."""
        return [type(event).__name__ for event in self.events]

    def clear(self) -> None:
        self.events.clear()

    def close(self) -> None:
        """End the subscriptions."""
        for end in self._ends:
            end()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

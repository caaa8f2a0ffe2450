"""With blocks: which `with gate:` block ends, of the many that are open over one gate at once.

A block may be left from another task or thread than it was entered from (an async generator that another task closes),
so neither a thread's nor a task's own variables know. What stays the same is the frame in which the block stands.
Where `contextlib.ExitStack` enters and leaves, from two short-lived frames of its own, the stack stands for the frame.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, ExitStack
from threading import RLock

_STACKS = frozenset(
    method.__code__
    for method in (
        ExitStack.enter_context,
        ExitStack.__exit__,
        AsyncExitStack.enter_context,
        AsyncExitStack.enter_async_context,
        AsyncExitStack.__aexit__,
    )
)


class OpenBlocks:
    """The open blocks of one gate: each knows its permit and when it began."""

    __slots__ = ("_lock", "_open")

    def __init__(self) -> None:
        self._open: dict[int, list[tuple[int, float]]] = {}
        self._lock = RLock()  # garbage collection may close a generator, and so a block, while we hold it

    def _after_fork(self) -> None:
        self._lock = RLock()  # the blocks stay: one of them may be that in which this thread has forked

    def begin(self, frame: int, permit: int, now: float) -> None:
        with self._lock:
            self._open.setdefault(frame, []).append((permit, now))

    def end(self, frame: int) -> tuple[int, float]:
        """The youngest block of `frame`; without one (entered and left by calls), the youngest of all."""
        with self._lock:
            if not self._open:
                raise RuntimeError("the gate was left more often than entered: call __exit__ once for each __enter__")
            if frame not in self._open:
                frame = next(reversed(self._open))
            entries = self._open[frame]
            entry = entries.pop()
            if not entries:
                del self._open[frame]
            return entry


def block_frame(depth: int = 1) -> int:
    """The identity of the block that the caller's caller enters or leaves."""
    frame = sys._getframe(depth + 1)
    return id(frame.f_locals["self"]) if frame.f_code in _STACKS else id(frame)

"""Loop state: what belongs to one asyncio loop (timers, connections, tasks), kept by the loop itself."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop as _asyncio_loop
from typing import Any, Final
from weakref import ref

_STATE: Final = "_meshlib_state"
_loops: Final[dict[int, ref[Any]]] = {}  # those that have some, by the id of the reference
_rigid: Final[dict[int, tuple[Any, dict[str, Any]]]] = {}  # loops that take no attribute, and their state


def loop_state(loop: Any) -> dict[str, Any]:
    """What belongs to one asyncio loop: its timers, connections, tasks. The loop itself keeps it.

    So what waits in a loop that was closed goes when the loop goes, and gives back what it has taken. Kept anywhere
    else it would pin the loop, its tasks, and their places in bulkheads. Some loops do not go: they are remembered
    somewhere, or anyio holds one of their tasks. They are emptied when another loop comes.
    """
    state: dict[str, Any] | None = getattr(loop, _STATE, None)
    if state is None:
        known = _rigid.get(id(loop))
        state = known[1] if known is not None and known[0] is loop else _begin(loop)
    return state


def _begin(loop: Any) -> dict[str, Any]:
    """The state of a loop that has none; first those that were closed lose theirs."""
    for key, here in list(_loops.items()):
        other = here()
        if other is not None and other.is_closed():
            _loops.pop(key, None)
            setattr(other, _STATE, {})
            _end_calls(other)
    for key, (other, _) in list(_rigid.items()):
        if other.is_closed():
            _rigid.pop(key, None)
            _end_calls(other)
    state: dict[str, Any] = {}
    try:
        setattr(loop, _STATE, state)
        here = ref(loop, _forget)
        _loops[id(here)] = here
    except (AttributeError, TypeError):
        _rigid[id(loop)] = loop, state
    return state


def has_loop_state(loop: Any) -> bool:
    """Whether a loop keeps something for us already."""
    return hasattr(loop, _STATE) or id(loop) in _rigid


def loops_with_state() -> list[Any]:
    """The asyncio loops that keep something for us, and are still there."""
    found = [loop for here in list(_loops.values()) if (loop := here()) is not None]
    return [*found, *(loop for loop, _ in list(_rigid.values()))]


def _forget(here: ref[Any], loops: dict[int, ref[Any]] = _loops) -> None:
    loops.pop(id(here), None)


def _end_calls(loop: asyncio.AbstractEventLoop) -> None:
    """End the calls that were under way when `loop` was closed, as the garbage collector would end them."""
    running = _asyncio_loop()
    asyncio._set_running_loop(None)  # what they would still do on their way out must not happen in this one
    try:
        for task in asyncio.all_tasks(loop):
            coroutine = task.get_coro()
            if _is_ours(coroutine):
                try:
                    coroutine.close()
                except Exception:
                    pass  # nobody waits for it
    finally:
        asyncio._set_running_loop(running)


def _is_ours(coroutine: Any) -> bool:
    """Whether what a task waits for is waited for by something of this library."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None and frame.f_code.co_filename.startswith(_OURS):
            return True
        coroutine = getattr(coroutine, "cr_await", None)
    return False


_OURS = (__file__.rpartition("loop_state.py")[0], "<meshlib")

"""Native threads: threads and event loops of the system's, also where gevent or eventlet put greenlets in their place.

After `gevent.monkey.patch_all()` a `threading.Thread` is a greenlet. One that waits in native code stops all others,
and an event loop in one would be the running loop of all others, for asyncio knows one for each thread of the system.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from .parking import start_thread


def threads_are_greenlets() -> bool:
    """Whether a `threading.Thread` that is started now would be a greenlet."""
    return _patcher() is not None


def start_native_thread(work: Callable[[], object], name: str) -> None:
    """Run `work` in a new thread of the system's that does not keep the process alive."""
    patcher = _patcher()
    if patcher is None:
        start_thread(work, name)
    else:
        patcher("_thread", "start_new_thread")(work, ())


def new_native_loop() -> asyncio.AbstractEventLoop:
    """A new event loop, to be run in a native thread."""
    patcher = _patcher()
    return asyncio.new_event_loop() if patcher is None else _NativeLoop(patcher)


class _NativeLoop(asyncio.SelectorEventLoop):
    """An event loop that waits natively, where a selector made by its name would wait for other greenlets."""

    def __init__(self, patcher: Callable[[str, str], Any]) -> None:
        super().__init__(patcher("selectors", "DefaultSelector")())
        self._getaddrinfo = patcher("socket", "getaddrinfo")

    async def getaddrinfo(self, host: Any, port: Any, **how: Any) -> Any:
        """Look up a name in a native thread of its own: the threads of an executor would be greenlets."""
        found = self.create_future()

        def settle(error: Exception | None, addresses: Any) -> None:
            if not found.done():
                found.set_result(addresses) if error is None else found.set_exception(error)

        def look() -> None:
            error, addresses = None, None
            try:
                addresses = self._getaddrinfo(host, port, **how)
            except Exception as raised:
                error = raised
            try:
                self.call_soon_threadsafe(settle, error, addresses)
            except RuntimeError:
                pass  # the loop was closed meanwhile

        start_native_thread(look, "meshlib name lookup")
        return await found


def _patcher() -> Callable[[str, str], Any] | None:
    """What finds the original of a name in a module, if threads are patched."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        original: Callable[[str, str], Any] = gevent.get_original
        return original
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return lambda module, name: getattr(eventlet.original(module), name)
    return None

"""httpx or httpx2: the two libraries differ in their module and in nothing that we use. One engine serves both."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

from .engine.lazy_response import EmptyStream, lazy_response
from .engine.stream_lease import AsyncGuarded, AsyncWire, SyncGuarded, SyncTimed
from .errors import Errors
from .transports.httpx_pools import AsyncLeakSweeper


class Family:
    """One of the two libraries, and those of our classes that must also be its own."""

    def __init__(self, lib: ModuleType) -> None:
        self.lib: Any = lib
        self.errors: Errors = Errors(lib)
        self.log: logging.Logger = logging.getLogger(lib.__name__)
        self.AsyncGuarded: Any = type("AsyncGuarded", (AsyncGuarded, self.lib.AsyncByteStream), {})
        self.SyncGuarded: Any = type("SyncGuarded", (SyncGuarded, self.lib.SyncByteStream), {})
        self.SyncTimed: Any = type("SyncTimed", (SyncTimed, self.lib.SyncByteStream), {})
        self.AsyncLeakSweeper: Any = type("AsyncLeakSweeper", (AsyncLeakSweeper, self.lib.AsyncByteStream), {})
        self.AsyncWire: Any = type("AsyncWire", (AsyncWire, self.lib.AsyncByteStream), {})
        self.EmptyStream: Any = type("EmptyStream", (EmptyStream, self.lib.AsyncByteStream), {})
        self.LazyResponse: Any = lazy_response(self.lib, self.EmptyStream)

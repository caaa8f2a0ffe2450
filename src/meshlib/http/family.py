"""httpx or httpx2: the two libraries differ in their module and in nothing that we use. One engine serves both."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

from .beneath import AsyncSwept
from .errors import Errors
from .lazy_response import Spent, lazy_response
from .stream import AsyncGuarded, AsyncWire, SyncGuarded, SyncTimed


class Family:
    """One of the two libraries, and those of our classes that must also be its own."""

    def __init__(self, lib: ModuleType) -> None:
        self.lib: Any = lib
        self.errors = Errors(lib)
        self.log = logging.getLogger(lib.__name__)
        self.AsyncGuarded: Any = type("AsyncGuarded", (AsyncGuarded, self.lib.AsyncByteStream), {})
        self.SyncGuarded: Any = type("SyncGuarded", (SyncGuarded, self.lib.SyncByteStream), {})
        self.SyncTimed: Any = type("SyncTimed", (SyncTimed, self.lib.SyncByteStream), {})
        self.AsyncSwept: Any = type("AsyncSwept", (AsyncSwept, self.lib.AsyncByteStream), {})
        self.AsyncWire: Any = type("AsyncWire", (AsyncWire, self.lib.AsyncByteStream), {})
        self.Spent: Any = type("Spent", (Spent, self.lib.AsyncByteStream), {})
        self.LazyResponse: Any = lazy_response(self.lib, self.Spent)

"""httpx or httpx2: the two libraries differ in their module and in nothing that we use. One engine serves both."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

from .errors import Errors


class Family:
    """One of the two libraries, and the exceptions of ours that are also its own."""

    __slots__ = ("AsyncByteStream", "Request", "Response", "SyncByteStream", "errors", "lib", "log", "request_context")

    def __init__(self, lib: ModuleType) -> None:
        self.lib: Any = lib
        self.Request = self.lib.Request
        self.Response = self.lib.Response
        self.AsyncByteStream = self.lib.AsyncByteStream
        self.SyncByteStream = self.lib.SyncByteStream
        self.errors = Errors(lib)
        self.log = logging.getLogger(lib.__name__)

"""How do a client's own verbs (`get`, `post`, `request` …) come to take the lean path? They try it first."""

from __future__ import annotations

import functools
from typing import Any, Final, TypeVar

from .untouched import original

C = TypeVar("C", bound=type[Any])
VERBS: Final = ("get", "options", "head", "post", "put", "patch", "delete", "query")


def leanly(kind: C) -> C:
    """Have the verbs of a client class try the lean path first. Their signatures and documentation stay httpx's."""
    for verb in VERBS:
        if hasattr(kind, verb):
            setattr(kind, verb, _verb(kind, verb))
    setattr(kind, "request", _request(kind))  # noqa: B010 (mypy knows httpx's own signature, and shall)
    return kind


def _verb(kind: type[Any], verb: str) -> Any:
    lib = kind._family.lib
    written = getattr(lib.AsyncClient, verb)
    ours = original(written, lib)
    method = verb.upper()

    @functools.wraps(written)
    async def send(self: Any, url: Any, **options: Any) -> Any:
        door = self.__dict__.get("_meshlib_door")
        lean = None if door is None or not door.fast else door.lean
        if lean is not None and ours and getattr(lib.AsyncClient, verb) is written:
            exchange = lean.exchange(self, method, url, options)
            if exchange is not None:
                return await lean.send(self, exchange, options)
        return await getattr(super(kind, self), verb)(url, **options)

    return send


def _request(kind: type[Any]) -> Any:
    @functools.wraps(kind._family.lib.AsyncClient.request)
    async def request(self: Any, method: Any, url: Any, **options: Any) -> Any:
        door = self.__dict__.get("_meshlib_door")
        lean = None if door is None or not door.fast else door.lean
        if lean is not None and type(method) is str:
            exchange = lean.exchange(self, method, url, options)
            if exchange is not None:
                return await lean.send(self, exchange, options)
        return await super(kind, self).request(method, url, **options)

    return request

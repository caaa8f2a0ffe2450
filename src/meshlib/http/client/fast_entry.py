"""How do a client's own verbs (`get`, `post`, `request` …) come to take the lean path? They try it first."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final, TypeVar

from ...errors import MeshError
from ..plan.patches import original

C = TypeVar("C", bound=type[Any])
VERBS: Final = ("get", "options", "head", "post", "put", "patch", "delete", "query")


def with_fast_entry(kind: C) -> C:
    """Have the verbs of a client class try the lean path first. Their signatures and documentation stay httpx's."""
    for verb in VERBS:
        if hasattr(kind, verb):
            setattr(kind, verb, _sender(kind, verb, ("url",)))
    setattr(kind, "request", _sender(kind, "request", ("method", "url")))  # noqa: B010 (mypy shall see httpx's own)
    return kind


def _sender(kind: type[Any], verb: str, names: tuple[str, ...]) -> Any:
    """The method `verb`, whose first arguments have these `names`; all others may only be given by name."""
    theirs, errors = kind._family.lib.AsyncClient, (MeshError, kind._family.lib.RequestError)
    written = getattr(theirs, verb)
    ours = original(written, kind._family.lib)
    fixed = None if verb == "request" else verb.upper()
    number = len(names)
    taken = frozenset(inspect.signature(written).parameters)  # all others are a TypeError, which httpx shall raise

    @functools.wraps(written)
    async def send(self: Any, *where: Any, **options: Any) -> Any:
        if len(where) < number and all(name in options for name in names[len(where) :]):
            where += tuple(options.pop(name) for name in names[len(where) :])
        door = self.__dict__.get("_meshlib_door")
        lean = None if door is None or not door.fast else door.lean
        if (
            lean is not None
            and ours
            and getattr(theirs, verb) is written
            and len(where) == number
            and (not options or options.keys() <= taken)
        ):
            exchange = lean.exchange(self, fixed or where[0], where[-1], options)
            if exchange is not None:
                busy = door.busy
                busy.add(exchange)
                try:
                    try:
                        response = await lean.engine.call(exchange)
                    except errors as error:
                        dressed = await lean.dressed(error, exchange)
                        if dressed is error:
                            raise
                        raise dressed from error.__cause__
                    return response if exchange.settled else await lean.finish(self, exchange, response, options)
                finally:
                    busy.discard(exchange)
                    if door.idle:
                        door.done(exchange)  # somebody waits for the last one
        return await getattr(super(kind, self), verb)(*where, **options)

    return send

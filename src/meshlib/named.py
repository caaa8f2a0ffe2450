"""Named pipelines: `@resilient("users")` guards a function by the pipeline of that name, and follows its changes."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol, TypeVar, cast

from . import forked
from .pipeline import Pipeline
from .policies.shell.codegen import check_function, is_coroutine_function

F = TypeVar("F", bound=Callable[..., Any])


class Pipelines(Protocol):
    """Where pipelines are found by name: a `Mesh`, or any object with these members.

    `version` changes whenever `pipeline` may return another one. It is read before each call, so it must be cheap.
    """

    @property
    def version(self) -> int: ...

    def pipeline(self, name: str) -> Pipeline:
        """The pipeline of this name; the same object as long as nothing about it has changed. Raises LookupError."""


_offered: list[weakref.ref[Pipelines]] = []  # replaced whole, so that no reader sees a half-built list


def offer(source: Pipelines) -> None:
    """Make `source` the default of `resilient` without `mesh=`: the newest offer that still exists counts."""
    global _offered
    _offered = [*(ref for ref in _offered if ref() is not None), weakref.ref(source)]


def withdraw(source: Pipelines) -> None:
    """Take back an `offer`."""
    global _offered
    _offered = [ref for ref in _offered if ref() not in (None, source)]


def _of_this_process(name: str) -> Pipelines:
    for ref in reversed(_offered):
        source = ref()
        if source is not None:
            return source
    raise LookupError(f"{name!r}: no mesh exists yet to look it up in; make one (Mesh.from_file), or pass mesh=…")


def resilient(name: str, *, mesh: Pipelines | None = None) -> Callable[[F], F]:
    """Guard a function by the pipeline that `mesh` names `name`.

    Without a `mesh`, it is the default of this process: the newest that was read from a file or a store and is not
    closed. A reload changes the policy of the running function: calls that have begun end as they began, the next call
    is guarded by the new pipeline. The name is looked up at the first call, so functions can be decorated before a mesh
    exists; if it is unknown then, that call raises LookupError. Raises TypeError for generators: a reload could bring a
    policy that calls again.
    """

    def decorate(fn: F) -> F:
        check_function(fn)
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise TypeError(f"{fn!r} cannot be guarded by name: a generator that has begun cannot be called again")
        current = _Current(name, mesh, fn)

        if is_coroutine_function(fn):

            @functools.wraps(fn)
            async def guarded_async(*args: Any, **kwargs: Any) -> Any:
                return await current.guarded()(*args, **kwargs)

            return cast(F, guarded_async)

        @functools.wraps(fn)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            return current.guarded()(*args, **kwargs)

        return cast(F, guarded)

    return decorate


class _Current:
    """The function under the pipeline of the last version seen. The first call after a change rebuilds it."""

    __slots__ = ("__weakref__", "_fn", "_lock", "_mesh", "_name", "_pipeline", "_seen")

    def __init__(self, name: str, mesh: Pipelines | None, fn: Callable[..., Any]) -> None:
        self._name = name
        self._mesh = mesh
        self._fn = fn
        self._pipeline: Pipeline | None = None
        # One tuple, replaced whole, so that a reader never pairs the version of one reload with the policy of another.
        self._seen: tuple[Pipelines, int, Callable[..., Any]] | None = None
        self._lock = Lock()
        forked.register(self)

    def _after_fork(self) -> None:
        if forked.held(self._lock):  # the two may not belong together
            self._pipeline = self._seen = None
        self._lock = Lock()

    def guarded(self) -> Callable[..., Any]:
        mesh = self._mesh or _of_this_process(self._name)
        seen = self._seen
        version = mesh.version
        if seen is not None and seen[0] is mesh and seen[1] == version:
            return seen[2]
        with self._lock:
            # Read again: another thread may have replaced it, and only this one belongs to `_pipeline`.
            seen = self._seen
            pipeline = mesh.pipeline(self._name)
            guarded = seen[2] if seen is not None and pipeline is self._pipeline else pipeline(self._fn)
            self._pipeline = pipeline
            self._seen = mesh, version, guarded
        return guarded

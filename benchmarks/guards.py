"""What hot_path.py measures, a row at a time: one way to guard a function, and how to make it fail or refuse."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Decorate = Callable[[Any], Any]
Make = Callable[[], Decorate]
TRIAL = 0.02  # seconds after which a breaker made by `Row.trial` lets a probe through


class Failed(Exception):
    """What the function raises when it is to fail."""


@dataclass(frozen=True)
class Row:
    """One way to guard a function. Each factory builds a new decorator; `peer` is the distribution that it needs."""

    name: str
    make: Make
    peer: str | None = None
    sync: bool = True
    is_async: bool = True
    failing: Make | None = None  # set so that failures neither open it nor make it wait
    tight: Make | None = None  # set so that it refuses soon: by failures, with one place, or with few permits
    trial: Make | None = None  # a breaker that is half-open TRIAL seconds after it opened
    why: str = ""  # where it takes less than ours: what it does not do


@dataclass(frozen=True)
class Section:
    """What stands in one table: ours first. `refuses` says how a tight one is brought to refuse."""

    rows: tuple[Row, ...]
    refuses: Literal["open", "fill", "spend"] = "open"
    about: str = ""


def is_async(fn: Any) -> bool:
    return inspect.iscoroutinefunction(fn)


def of(module: str, name: str, /, *args: Any, **settings: Any) -> Make:
    """`from module import name`, made with these arguments, when it is needed."""

    def make() -> Decorate:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found(*args, **settings)  # type: ignore[no-any-return]

    return make


def each(sync: Make, asynchronous: Make) -> Make:
    """Where a peer has one decorator for plain functions and another one for async ones."""
    return lambda: lambda fn: (asynchronous if is_async(fn) else sync)()(fn)


def within(sync: Callable[[], Any] | None, asynchronous: Callable[[], Any] | None) -> Make:
    """Where a peer has context managers and no decorator: the shortest decorator around one."""

    def make() -> Decorate:
        def decorate(fn: Any) -> Any:
            if is_async(fn):
                assert asynchronous is not None
                held = asynchronous()

                async def guarded_async(x: Any) -> Any:
                    async with held:
                        return await fn(x)

                return guarded_async
            assert sync is not None
            kept = sync()

            def guarded(x: Any) -> Any:
                with kept:
                    return fn(x)

            return guarded

        return decorate

    return make


def asking(sync: Callable[[], Callable[[], object]]) -> Make:
    """Where a peer is asked before the call and says False, or raises, instead of admitting it."""

    def make() -> Decorate:
        ask = sync()

        def decorate(fn: Any) -> Any:
            if is_async(fn):

                async def guarded_async(x: Any) -> Any:
                    if not ask():
                        raise ConnectionError("refused")
                    return await fn(x)

                return guarded_async

            def guarded(x: Any) -> Any:
                if not ask():
                    raise ConnectionError("refused")
                return fn(x)

            return guarded

        return decorate

    return make


def pyresilience(**parts: tuple[str, dict[str, Any]]) -> Make:
    """`@resilient(part=Config(…))`, by the name of each config and what it is given."""

    def make() -> Decorate:
        module = importlib.import_module("pyresilience")
        configs = {part: getattr(module, name)(**settings) for part, (name, settings) in parts.items()}
        return module.resilient(**configs)  # type: ignore[no-any-return]

    return make


def interlock(*strategies: Callable[[Any], Any]) -> Make:
    """A pipeline of interlock's, of what each function makes of the module."""

    def make() -> Decorate:
        module = importlib.import_module("interlock")
        return module.Pipeline(*(strategy(module) for strategy in strategies))  # type: ignore[no-any-return]

    return make

"""Call policy: a policy that may wait, and may call again; and how it guards a function.

Gates guard a function with a wrapper of its own signature. A call policy needs something that can be sent twice: the
arguments are packed once into a `Call` and unpacked at the leaf.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable
from types import CoroutineType
from typing import Any, NoReturn, TypeVar, cast

from ... import forked
from ...call import AsyncStep, Call, Classifier, R, Step, raised
from ...events import Listener, Port
from ...runtime import SYSTEM, Runtime
from ..deadline import deadline
from ..deadline.deadline_timer import bounded, bounded_async
from . import checks
from .codegen import check_function, is_coroutine_function

F = TypeVar("F", bound=Callable[..., Any])


class Packed:
    """The arguments of a guarded function, on their way to the leaf."""

    __slots__ = ("args", "kwargs")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs

    def __repr__(self) -> str:
        parts = [repr(arg) for arg in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"({', '.join(parts)})"


class CallPolicy:
    """May wait and may call again. One object may guard functions, pipelines and clients at once."""

    tier = "service"
    # What a pipeline reads to check the order of its policies:
    repeats: bool = False  # may send more than one attempt, beneath which a limit per try belongs
    races: bool = False  # sends attempts beside each other
    shares: bool = False  # equal calls are one run
    hides: bool = False  # turns failures into answers

    def __init__(self, name: str, *, runtime: Runtime = SYSTEM) -> None:
        self.name: str = checks.name(name)
        self.runtime = runtime
        self.port: Port = Port()
        forked.register(self)

    def _after_fork(self) -> None:
        """In a forked child: new locks, and nothing is under way. Those with more of their own go on."""
        self.port._after_fork()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        raise NotImplementedError

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        raise NotImplementedError

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event of this policy from now on; the function returned ends that."""
        return self.port.subscribe(listener)

    def short(self, classify: Classifier) -> bool:
        """Whether `guard` is fused, so that it makes no `Call` before something fails."""
        return False

    def guard(self, fn: F, run: Runtime, classify: Classifier, *, inner: bool = False) -> F:
        """A function under this policy alone; `inner`: a call policy above it keeps the deadline from outside."""
        if inner:
            return pack(
                fn, lambda leaf: self.wrap(leaf, run, classify), lambda leaf: self.wrap_async(leaf, run, classify)
            )
        return pack(
            fn,
            lambda leaf: bounded(self.wrap(leaf, run, classify), run),
            lambda leaf: bounded_async(self.wrap_async(leaf, run, classify), run),
        )

    def __call__(self, fn: F) -> F:
        """Guard a function with this policy alone; it stays async where it was."""
        return self.guard(fn, self.runtime, raised)


def call_key(call: Call, key: Callable[..., Hashable] | None) -> Hashable:
    """What makes two calls equal: `key` of the arguments, or all of them. Raises TypeError if that cannot be hashed."""
    what = call.what
    if isinstance(what, Packed):
        if key is not None:
            return key(*what.args, **what.kwargs)
        return what.args, tuple(sorted(what.kwargs.items())) if what.kwargs else ()
    return cast(Hashable, what if key is None else key(what))


def unpack(fn: Callable[..., Any]) -> Callable[[Call], Any]:
    """`fn` as a leaf."""
    if is_coroutine_function(fn):
        return lambda call: fn(*call.what.args, **call.what.kwargs)

    def leaf(call: Call) -> Any:
        what = call.what
        result = fn(*what.args, **what.kwargs)
        if type(result) is CoroutineType:
            refuse_coroutine(result)
        return result

    return leaf


def refuse_coroutine(result: Any) -> NoReturn:
    """Raise TypeError: a plain function that returns a coroutine is not over, and nothing would guard the rest."""
    result.close()
    raise TypeError(f"{result.__qualname__} came from a plain function that is guarded: write `async def` around it")


def check_repeatable(fn: object) -> None:
    """Raise TypeError for what cannot be called a second time."""
    check_function(fn)
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(f"{fn!r} cannot be guarded: a generator that has begun cannot be called again; gates alone can")


def pack(fn: F, over: Callable[[Step[Any]], Step[Any]], over_async: Callable[[AsyncStep[Any]], AsyncStep[Any]]) -> F:
    """`fn` as the leaf of what `over` or `over_async` builds. Raises TypeError for what cannot be called twice."""
    check_repeatable(fn)
    now_due = deadline.current

    leaf = unpack(fn)
    if is_coroutine_function(fn):
        send = over_async(leaf)

        @functools.wraps(fn)
        async def guarded_async(*args: Any, **kwargs: Any) -> Any:
            return await send(Call(Packed(args, kwargs), now_due()))

        return cast("F", guarded_async)
    step = over(leaf)

    @functools.wraps(fn)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return step(Call(Packed(args, kwargs), now_due()))

    return cast("F", guarded)

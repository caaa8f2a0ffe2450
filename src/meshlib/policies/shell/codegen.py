"""Generated wrappers: functions with the parameters, kind, name and documentation of the function they wrap.

Passing `*args, **kwargs` through costs more than a closed breaker decides in (94 against 47 ns on CPython 3.12), so
the wrapper is written as source and compiled at decoration, as `dataclasses` does for `__init__`; functions with the
same parameters share the code. Its lines are registered with `linecache`: a traceback shows them.
"""

from __future__ import annotations

import functools
import inspect
import linecache
from collections.abc import Callable
from inspect import CO_VARARGS, CO_VARKEYWORDS
from itertools import count
from types import CodeType, FunctionType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
ANY = "*args, **kwargs"
# Builtins that the templates use. The templates' own names begin with an underscore.
_OURS = frozenset(
    {"type", "BaseException", "Exception", "GeneratorExit", "StopAsyncIteration", "IndexError", "ValueError"}
)
_serial = count(1)


def write_wrapper(fn: F, source: str, scope: dict[str, Any], params: str) -> F:
    """A wrapper of `fn`: the function that `source` defines with the parameters `params`, `scope` being its globals."""
    name = getattr(fn, "__name__", "guarded")
    code = compile_wrapper(source).replace(co_name=name, co_qualname=getattr(fn, "__qualname__", name))
    wrapper = FunctionType(code, scope)
    functools.update_wrapper(wrapper, fn)
    if isinstance(fn, FunctionType) and params != ANY:
        wrapper.__defaults__, wrapper.__kwdefaults__ = fn.__defaults__, fn.__kwdefaults__
    return cast("F", wrapper)


@functools.lru_cache(maxsize=1024)
def compile_wrapper(source: str) -> CodeType:
    """The code of the one function that `source` defines."""
    file = f"<meshlib guard {next(_serial)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    return next(const for const in compile(source, file, "exec").co_consts if isinstance(const, CodeType))


def check_function(fn: object) -> None:
    """Raise TypeError, with what to do instead, for what a decorator cannot guard."""
    if isinstance(fn, staticmethod | classmethod):
        raise TypeError(f"{fn!r} cannot be guarded: put the decorator below @{type(fn).__name__}, next to the function")
    if isinstance(fn, type) or not callable(fn):
        raise TypeError(f"{fn!r} cannot be guarded: expected a function")


def is_coroutine_function(fn: Any) -> bool:
    """Also of callable objects and partials."""
    return kind_of(fn) == "coroutine"


def kind_of(fn: Any) -> str:
    """One of function, coroutine, generator and async generator."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    for one in (fn, getattr(type(fn), "__call__", None)):  # noqa: B004 – what it is, not whether
        if inspect.iscoroutinefunction(one):
            return "coroutine"
        if inspect.isasyncgenfunction(one):
            return "async generator"
        if inspect.isgeneratorfunction(one):
            return "generator"
    return "function"


def parameters(fn: Any) -> tuple[str, str]:
    """The parameter list to write and the argument list that passes it on; defaults are copied onto the wrapper.

    The templates' own names begin with an underscore: a function with such parameters is called with `*args, **kwargs`.
    """
    if not isinstance(fn, FunctionType):
        return ANY, ANY
    code = fn.__code__
    names = iter(code.co_varnames)
    plain = [next(names) for _ in range(code.co_argcount)]
    only = [next(names) for _ in range(code.co_kwonlyargcount)]
    star = [next(names)] if code.co_flags & CO_VARARGS else []
    stars = [next(names)] if code.co_flags & CO_VARKEYWORDS else []
    if any(name.startswith("_") or name in _OURS for name in (*plain, *only, *star, *stars)):
        return ANY, ANY
    # The defaults written here only say which parameters have one. The values are the function's own.
    required = len(plain) - len(fn.__defaults__ or ())
    params = [name if i < required else f"{name}=None" for i, name in enumerate(plain)]
    if code.co_posonlyargcount:
        params.insert(code.co_posonlyargcount, "/")
    params += [f"*{name}" for name in star] or (["*"] if only else [])
    params += [f"{name}=None" if name in (fn.__kwdefaults__ or ()) else name for name in only]
    params += [f"**{name}" for name in stars]
    args = [*plain, *(f"*{name}" for name in star), *(f"{name}={name}" for name in only)]
    return ", ".join(params), ", ".join([*args, *(f"**{name}" for name in stars)])

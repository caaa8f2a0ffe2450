"""The decorator form of a gate: a wrapper with the function's own parameters, kind, name and documentation.

Passing `*args, **kwargs` through costs more than a closed breaker decides in (94 against 47 ns on CPython 3.12), so
the wrapper is written out for the parameters of the function and compiled once, at decoration, as `dataclasses` does
for `__init__`. Its lines are registered with `linecache`: a traceback shows them.
"""

from __future__ import annotations

import functools
import inspect
import linecache
from collections.abc import AsyncGenerator, Callable
from itertools import count
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..call import SUCCESS, Call, Classifier, raised
from ..runtime import Runtime

if TYPE_CHECKING:
    from ._gate import Gate

F = TypeVar("F", bound=Callable[..., Any])
_NO_CALL = Call(None)
_serial = count(1)

# `quiet` is read again after the call: while it ran, somebody else's failure may have given our success a meaning.
# A classifier of the user's own wants to see each result, so there nothing is skipped.
_BODY = """\
{def_} {name}({params}):
    {permit}
    try:
        result = {call}
    except BaseException as _error:
        {failed}
        raise
    {settle}
    return result
"""
_FAILED = "_failed(_permit, _judge(_no_call, None, _error), _now, _start)"
_GLANCE = {
    "permit": "_permit = _gate.generation if _gate.admits else _enter(_now())",
    "settle": "if not _gate.quiet: _leave(_permit, _success, _now())",
}
_JUDGED = {
    "permit": "_permit = _gate.generation if _gate.admits else _enter(_now())",
    "settle": "_leave(_permit, _judge(_no_call, result, None), _now())",
}
_TIMED = {
    "permit": "_start = _now(); _permit = _gate.generation if _gate.admits else _enter(_start)",
    "settle": "_end = _now(); _leave(_permit, _judge(_no_call, result, None), _end, _end - _start)",
}


def guard(fn: F, gate: Gate, run: Runtime, judge: Classifier) -> F:
    """`fn` behind `gate`. Raises TypeError for what cannot be guarded."""
    check_function(fn)
    if inspect.isasyncgenfunction(fn):
        return cast("F", functools.wraps(fn)(_async_generator(fn, gate, run, judge)))
    generator = inspect.isgeneratorfunction(fn)
    is_async = is_coroutine_function(fn)
    params, args = _signature(fn)
    call = f"_fn({args})"
    lines = _TIMED if gate.timed else _GLANCE if judge is raised and not generator else _JUDGED
    lines = {"failed": _FAILED, **lines, **gate._lines("await " if is_async else "")}
    name = fn.__name__ if getattr(fn, "__name__", "").isidentifier() else "guarded"
    source = _BODY.format(
        def_="async def" if is_async else "def",
        name=name,
        params=params,
        call=f"await {call}" if is_async else f"yield from {call}" if generator else call,
        **lines,
    )
    scope = {
        "_gate": gate, "_fn": fn, "_enter": gate.enter, "_leave": gate.leave, "_failed": gate._failed, "_now": run.now,
        "_judge": judge, "_no_call": _NO_CALL, "_success": SUCCESS, "_start": 0.0, **gate._names(is_async),
    }  # fmt: skip
    wrapper = _compile(source, name, scope)
    functools.update_wrapper(wrapper, fn)
    if isinstance(fn, FunctionType) and "*args" not in params:
        wrapper.__defaults__, wrapper.__kwdefaults__ = fn.__defaults__, fn.__kwdefaults__
    return cast("F", wrapper)


def check_function(fn: object) -> None:
    """Raise TypeError, saying what to do instead, for what a decorator cannot guard."""
    if isinstance(fn, staticmethod | classmethod):
        raise TypeError(f"{fn!r} cannot be guarded: put the decorator below @{type(fn).__name__}, next to the function")
    if isinstance(fn, type) or not callable(fn):
        raise TypeError(f"{fn!r} cannot be guarded: expected a function")


def is_coroutine_function(fn: Any) -> bool:
    """Also of callable objects and partials."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def _signature(fn: Any) -> tuple[str, str]:
    """The parameter list to write and the argument list that passes it on; defaults are copied onto the wrapper."""
    parameters = inspect.signature(fn).parameters.values() if isinstance(fn, FunctionType) else ()
    plain = isinstance(fn, FunctionType) and not hasattr(fn, "__wrapped__") and not hasattr(fn, "__signature__")
    if not plain or any(p.name.startswith("_") or p.name == "result" for p in parameters):
        return "*args, **kwargs", "*args, **kwargs"
    params, args, keyword_only = [], [], False
    for p in parameters:
        default = "" if p.default is p.empty else "=None"
        if p.kind is p.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            params.append("*")
        if p.kind is p.VAR_POSITIONAL:
            keyword_only = True
            params.append(f"*{p.name}")
            args.append(f"*{p.name}")
        elif p.kind is p.VAR_KEYWORD:
            params.append(f"**{p.name}")
            args.append(f"**{p.name}")
        else:
            params.append(p.name + default)
            args.append(f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else p.name)
    positional_only = [i for i, p in enumerate(parameters) if p.kind is p.POSITIONAL_ONLY]
    if positional_only:
        params.insert(positional_only[-1] + 1, "/")
    return ", ".join(params), ", ".join(args)


def _compile(source: str, name: str, scope: dict[str, Any]) -> FunctionType:
    file = f"<meshlib guard {next(_serial)} of {name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    exec(compile(source, file, "exec"), scope)
    return cast("FunctionType", scope[name])


def _async_generator(fn: Callable[..., Any], gate: Gate, run: Runtime, judge: Classifier) -> Callable[..., Any]:
    """An async generator has no `yield from`: what is sent and thrown is passed on by hand (PEP 380's expansion)."""

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        start = run.now()
        permit = await gate._enter_async(run)
        inner = fn(*args, **kwargs)
        try:
            item = await inner.__anext__()
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:
                    item = await inner.athrow(error)
                else:
                    item = await inner.asend(sent)
        except StopAsyncIteration:
            gate._failed(permit, judge(_NO_CALL, None, None), run.now, start)
        except BaseException as error:
            gate._failed(permit, judge(_NO_CALL, None, error), run.now, start)
            raise

    return guarded

"""The decorator form of a retry: until something fails, it costs a deposit and a glance.

The wrapper is written out for the parameters of the function, as `_guard` does for gates. Only a failure makes a
`Call`, and hands over to the driver of `Retry`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import inf
from types import CoroutineType, FunctionType
from typing import Any, TypeVar, cast

from ..call import Call
from . import deadline
from ._guard import _ANY, _compiled, _kind, _parameters
from ._loop import Packed, refuse_coroutine

F = TypeVar("F", bound=Callable[..., Any])

# With a deadline from outside, somebody has to keep it: that is what the whole chain (`_slow`) is for.
_SOURCE = """\
{def_} guarded({params}):
    if _due() < _inf: return {wait}_slow({args})
    {deposit}
    try:
        _result = {wait}_fn({args})
    except _failures as _error:
        _call = _Call(_pack({args}))
        _tries = _begin(_now())
        _delay = _tries.next_delay(_call, None, _error, _now())
        if _delay is None:
            raise
    else:
        {check}return _result
    return {wait}_rest(_call.again(), _tries, _delay)
"""


def first_try(
    fn: F,
    slow: F,
    rest: Callable[..., Any],
    *,
    deposit: Callable[[float], object] | None,
    begin: Callable[[float], Any],
    now: Callable[[], float],
) -> F:
    """`fn`, tried once; `rest(call, tries, delay)` goes on after a failure, `slow` does everything from the start."""
    params, args = _parameters(fn)
    is_async = _kind(fn) == "coroutine"
    source = _SOURCE.format(
        def_="async def" if is_async else "def",
        params=params,
        args=args,
        deposit="pass" if deposit is None else "_deposit(_now())",
        wait="await " if is_async else "",
        check="" if is_async else "if type(_result) is _coroutine: _refuse(_result)\n        ",
    )
    name = getattr(fn, "__name__", "guarded")
    code = _compiled(source).replace(co_name=name, co_qualname=getattr(fn, "__qualname__", name))
    scope = {
        "_due": deadline.current, "_inf": inf, "_slow": slow, "_deposit": deposit, "_now": now, "_fn": fn,
        "_failures": Exception, "_Call": Call, "_pack": _pack, "_begin": begin, "_rest": rest,
        "_coroutine": CoroutineType, "_refuse": refuse_coroutine,
    }  # fmt: skip
    wrapper = FunctionType(code, scope)
    functools.update_wrapper(wrapper, fn)
    if isinstance(fn, FunctionType) and params != _ANY:
        wrapper.__defaults__, wrapper.__kwdefaults__ = fn.__defaults__, fn.__kwdefaults__
    return cast("F", wrapper)


def _pack(*args: Any, **kwargs: Any) -> Packed:
    return Packed(args, kwargs)

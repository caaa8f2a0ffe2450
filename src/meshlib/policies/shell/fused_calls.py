"""Fused calls: the decorator forms of retry, fallback and timeout, which make no `Call` before something fails.

The wrappers are generated for the parameters of the function (see `codegen`). Only a failure makes a `Call`, and the
policy's own driver goes on with it. The outermost call policy keeps a deadline from outside: if there is one, it takes
its whole chain (`slow`) instead. Call policies beneath another (`inner`) leave that to it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from types import CoroutineType
from typing import Any, TypeAlias, TypeVar

from ...call import Call
from ...runtime import Expired, Runtime
from ..deadline import deadline
from ..retry.budget import Budget, RetryBudget
from .call_policy import Packed, refuse_coroutine
from .codegen import is_coroutine_function, parameters, write_wrapper

F = TypeVar("F", bound=Callable[..., Any])
LazyAttribute: TypeAlias = Callable[[TimeoutError | None, float], TimeoutError]

_DEPOSIT = "_budget.deposit(_now())"
_QUICK_DEPOSIT = """_time = _now()
    if _time < _budget.plain_until: _step()
    else: _budget.deposit(_time)"""
_RETRY = """\
{def_} guarded({params}):
    {keep}
    {deposit}
    try:
        _result = {wait}_fn({args})
    except _Exception as _error:
        _call = _Call(_pack({args}), _due())
        _tries = _begin(_now())
        _delay = _tries.next_delay(_call, None, _error, _now())
        if _delay is None:
            raise
    else:
        {check}
        return _result
    return {wait}_rest(_call.again(), _tries, _delay)
"""
_FALLBACK = """\
{def_} guarded({params}):
    {keep}
    try:
        _result = {wait}_fn({args})
    except _Exception as _error:
        return {wait}_rescue(_Call(_pack({args}), _due()), _error)
    {check}
    return _result
"""
# The answer is a value. Without an `on` it is for every error: failures, rejections and passed deadlines are all that
# the default classifier knows. So neither the call nor its arguments are needed.
_ANSWER = """\
{def_} guarded({params}):
    {keep}
    try:
        _result = {wait}_fn({args})
    except _Exception as _error:
        {stands}
        return _value
    {check}
    return _result
"""
# In another context (a generator around the call was closed there) the token is of no use: nothing is left to end.
_TIMEOUT = """\
def guarded({params}):
    _at = _now() + _seconds
    if _due() <= _at: return _slow({args})
    _token = _enter(_at)
    try:
        _result = _fn({args})
    except _TimeoutError as _error:
        raise _late(_error, _at)
    finally:
        try: _leave(_token)
        except _ValueError: pass
    if _now() >= _at: raise _late(None, _at)
    {check}
    return _result
"""
_TIMEOUT_ASYNC = """\
async def guarded({params}):
    _at = _now() + _seconds
    if _due() <= _at: return await _slow({args})
    _token = _enter(_at)
    try:
        return await _until(_at, _fn({args}))
    except _Expired as _error:
        raise _late(_error, _at)
    finally:
        try: _leave(_token)
        except _ValueError: pass
"""


def _pack(*args: Any, **kwargs: Any) -> Packed:
    return Packed(args, kwargs)


_SCOPE = {
    "_due": deadline.current, "_enter": deadline.enter, "_leave": deadline.reset, "_inf": inf, "_Call": Call,
    "_pack": _pack, "_Exception": Exception, "_TimeoutError": TimeoutError, "_ValueError": ValueError,
    "_Expired": Expired, "_coroutine": CoroutineType, "_refuse": refuse_coroutine,
}  # fmt: skip


def fused_retry(
    fn: F,
    slow: F,
    rest: Callable[..., Any],
    *,
    budget: Budget | None,
    begin: Callable[[float], Any],
    now: Callable[[], float],
    inner: bool,
) -> F:
    """`fn`, called once; `rest(call, tries, delay)` goes on after a failure."""
    quick = isinstance(budget, RetryBudget)
    deposit = "pass" if budget is None else _QUICK_DEPOSIT if quick else _DEPOSIT
    source = _source(_RETRY, fn, inner, deposit=deposit)
    paying = {"_budget": budget, "_step": getattr(budget, "step", None), "_now": now}
    ours = {"_fn": fn, "_slow": slow, "_rest": rest, "_begin": begin}
    return write_wrapper(fn, source, {**_SCOPE, **paying, **ours}, parameters(fn)[0])


def fused_fallback(fn: F, slow: F, rescue: Callable[[Call, Exception], Any], *, inner: bool) -> F:
    """`fn`, and `rescue(call, error)` in its place when it fails."""
    ours = {"_fn": fn, "_slow": slow, "_rescue": rescue}
    return write_wrapper(fn, _source(_FALLBACK, fn, inner), {**_SCOPE, **ours}, parameters(fn)[0])


def fused_value(fn: F, slow: F, value: object, on: Callable[[BaseException], bool] | None, *, inner: bool) -> F:
    """`fn`, and `value` when it fails with an error that `on` claims (None: with any)."""
    source = _source(_ANSWER, fn, inner, stands="pass" if on is None else "if not _on(_error): raise")
    ours = {"_fn": fn, "_slow": slow, "_value": value, "_on": on}
    return write_wrapper(fn, source, {**_SCOPE, **ours}, parameters(fn)[0])


def fused_timeout(fn: F, slow: F, seconds: float, late: LazyAttribute, run: Runtime) -> F:
    """`fn`, given `seconds`; `late(error, due)` makes what is raised of a TimeoutError, or of a late answer."""
    template = _TIMEOUT_ASYNC if is_coroutine_function(fn) else _TIMEOUT
    ours = {"_fn": fn, "_slow": slow, "_seconds": seconds, "_late": late, "_now": run.now, "_until": run.until}
    return write_wrapper(fn, _source(template, fn, True), {**_SCOPE, **ours}, parameters(fn)[0])


def _source(template: str, fn: Callable[..., Any], inner: bool, **lines: str) -> str:
    params, args = parameters(fn)
    wait = "await " if is_coroutine_function(fn) else ""
    return template.format(
        def_="async def" if wait else "def",
        params=params,
        args=args,
        wait=wait,
        keep="pass" if inner else f"if _due() < _inf: return {wait}_slow({args})",
        check="pass" if wait else "if type(_result) is _coroutine: _refuse(_result)",
        **lines,
    )

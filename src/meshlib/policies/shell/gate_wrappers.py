"""Gate wrappers: the decorator form of a gate, and its form as a layer of a pipeline.

Both are generated: how, and what that saves, is in `codegen`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from ...call import IGNORED, SUCCESS, Call, Classifier, Verdict, raised
from ...runtime import Runtime
from .codegen import ANY, check_function, compile_wrapper, kind_of, parameters, write_wrapper

if TYPE_CHECKING:
    from .gate import Gate

F = TypeVar("F", bound=Callable[..., Any])
NO_CALL = Call(None)  # what a classifier gets without a pipeline

_FUNCTION = """\
{def_} guarded({params}):
    {permit}
    try:
        _result = {call}
    except BaseException as _error:
        {failed}
        raise
    {settle}
    return _result
"""
# An async generator has no `yield from`: what is sent and thrown is passed on by hand (PEP 380's expansion).
_ASYNC_GENERATOR = """\
async def guarded({params}):
    _stream = _fn({args})
    _start = _now()
    {enter}
    try:
        _item = await _stream.__anext__()
        while True:
            try:
                _sent = yield _item
            except GeneratorExit:
                await _stream.aclose()
                raise
            except BaseException as _error:
                _item = await _stream.athrow(_error)
            else:
                _item = await _stream.asend(_sent)
    except StopAsyncIteration:
        _leave_with(_permit, _classify, _no_call, None, None, _now, _start)
    except BaseException as _error:
        _leave_with(_permit, _classify, _no_call, None, _error, _now, _start)
        raise
"""
# A plain function may return a coroutine: then the call is not over, and the wrapper goes on with it.
_LATER = "if type(_result) is _coroutine: return _await(_result, _permit, _start)\n    "
# A streamed response is not over either: closing the stream gives the verdict.
_STREAMED = """if _call.later is not None:
        _call.later.append(_later(_permit, _start))
        return _result
    """
_FAILED = "_leave_with(_permit, _classify, {about}, None, _error, _now, _start)"
_PERMIT = "_permit = _gate.generation if _gate.admits else _enter({now})"
# `quiet` is read after the call: while it ran, another call may have failed, and then this success counts.
_GLANCE = {
    "permit": _PERMIT.format(now="_now()"),
    "settle": """if not _gate.quiet:
        _end = _now()
        if _permit == _gate.counted and _end < _gate.plain_until: _gate.step()
        else: _leave(_permit, _success, _end)""",
}
_TIMED = {
    "permit": "_start = _now(); " + _PERMIT.format(now="_start"),
    "settle": """if not _gate.quiet:
        _end = _now(); _took = _end - _start
        if _permit == _gate.counted and _end < _gate.plain_until and _took <= _gate.slow_call: _gate.step()
        else: _leave(_permit, _success, _end, _took)""",
}
# A classifier with `on_result` gets every result. One that raises gives no verdict: the permit comes back.
_JUDGED = """try:
        _verdict = _classify({about}, _result, None)
    except BaseException:
        _leave(_permit, _ignored, _now())
        raise
    if _verdict is not _success or not _gate.quiet:
        _end = _now()
        _leave(_permit, _verdict, _end, {took})"""


def wrap_function(fn: F, gate: Gate, run: Runtime, classify: Classifier) -> F:
    """`fn` behind `gate`. Raises TypeError for what cannot be guarded."""
    check_function(fn)
    kind = kind_of(fn)
    # A key or a cost is computed from the arguments as the caller wrote them.
    params, args = (ANY, ANY) if gate.asks_call else parameters(fn)
    wait = "await " if kind == "coroutine" else ""
    lines = {**_lines(gate, classify, "_no_call"), **gate._lines(wait, "_run", args)}
    if kind == "function":
        lines["settle"] = _LATER + lines["settle"]
    call = f"yield from _fn({args})" if kind == "generator" else f"{wait}_fn({args})"
    if kind == "async generator":
        lines.setdefault("enter", "_permit = await _enter_async(_run)")
    template = _ASYNC_GENERATOR if kind == "async generator" else _FUNCTION
    source = template.format(def_="async def" if wait else "def", params=params, args=args, call=call, **lines)
    return write_wrapper(fn, source, {**_scope(fn, gate, run, classify), **gate._names(bool(wait))}, params)


def wrap_step(
    step: Callable[..., Any], gate: Gate, run: Runtime, classify: Classifier, wait: str = ""
) -> Callable[..., Any]:
    """The same as a layer of a pipeline: what goes down is one `Call`. `wait` is "await " or nothing."""
    lines = {**_lines(gate, classify, "_call"), **gate._lines(wait, "_run, _call.deadline", "_call")}
    lines["settle"] = _STREAMED + lines["settle"]
    def_ = "async def" if wait else "def"
    code = compile_wrapper(_FUNCTION.format(def_=def_, params="_call", call=f"{wait}_fn(_call)", **lines))
    return FunctionType(code, {**_scope(step, gate, run, classify), **gate._names(bool(wait))})


def _lines(gate: Gate, classify: Classifier, about: str) -> dict[str, str]:
    lines = dict(_TIMED if gate.timed else _GLANCE)
    if classify is not raised and not getattr(classify, "trusts_results", False):
        lines["settle"] = _JUDGED.format(about=about, took="_end - _start" if gate.timed else "0.0")
    return {"failed": _FAILED.format(about=about), **lines}


def _scope(fn: Callable[..., Any], gate: Gate, run: Runtime, classify: Classifier) -> dict[str, Any]:
    def awaited(work: Any, permit: int, start: float) -> Any:
        begun: list[bool] = []
        going_on = go_on(work, permit, start, begun)
        # Cancelled or dropped before its first step, it never runs; but the permit must come back.
        weakref.finalize(going_on, never_begun, permit, start, begun).atexit = False
        return going_on

    def never_begun(permit: int, start: float, begun: list[bool]) -> None:
        if not begun:
            gate._end(permit, IGNORED, run.now, start)

    async def go_on(work: Any, permit: int, start: float, begun: list[bool]) -> Any:
        begun.append(True)
        try:
            result = await work
        except BaseException as error:
            gate._leave_with(permit, classify, NO_CALL, None, error, run.now, start)
            raise
        gate._leave_with(permit, classify, NO_CALL, result, None, run.now, start)
        return result

    def later(permit: int, start: float) -> Callable[[Verdict], None]:
        return lambda verdict: gate._end(permit, verdict, run.now, start)

    return {
        "_gate": gate, "_fn": fn, "_enter": gate.enter, "_enter_async": gate._enter_async, "_leave": gate.leave,
        "_leave_with": gate._leave_with, "_now": run.now, "_run": run, "_classify": classify, "_no_call": NO_CALL,
        "_success": SUCCESS, "_ignored": IGNORED, "_start": 0.0, "_permit": 0, "_coroutine": CoroutineType,
        "_await": awaited, "_later": later,
    }  # fmt: skip

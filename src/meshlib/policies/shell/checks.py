"""Refusing nonsense at construction: each check returns its value, or says which field is wrong and why."""

from __future__ import annotations

from math import inf, isfinite
from typing import Any, TypeVar

from .codegen import is_coroutine_function

T = TypeVar("T")


def seconds(field: str, value: Any, *, zero: bool = False, infinite: bool = False) -> float:
    """A time span: above 0 (or from 0 with `zero=True`), finite unless `infinite=True`."""
    least = "0 or more" if zero else "above 0"
    number = _number(field, value, f"seconds, {least}")
    if number < 0 or (number == 0 and not zero) or not (isfinite(number) or infinite):
        raise ValueError(f"{field}={value!r}: expected seconds, {least}{'' if infinite else ' and finite'}")
    return number


def ratio(field: str, value: Any, *, zero: bool = False, above_one: bool = False) -> float:
    """A share between 0 and 1; 0 itself only with `zero=True`, more than 1 only with `above_one=True`."""
    wanted = f"a ratio {'from' if zero else 'above'} 0{'' if above_one else ' up to 1'}"
    number = _number(field, value, wanted)
    if not isfinite(number) or number < 0 or (number == 0 and not zero) or (number > 1 and not above_one):
        raise ValueError(f"{field}={value!r}: expected {wanted}")
    return number


def count(field: str, value: Any, *, least: int = 1) -> int:
    """A whole number, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{field}={value!r}: expected a whole number, {least} or more")
    return value


def number(field: str, value: Any, *, least: float = -inf) -> float:
    """A finite number, `least` or more."""
    wanted = "a finite number" if least == -inf else f"a number, {least:g} or more"
    result = _number(field, value, wanted)
    if not isfinite(result) or result < least:
        raise ValueError(f"{field}={value!r}: expected {wanted}")
    return result


def function(field: str, value: T, of: str, *, may_be_async: bool = False) -> T:
    """Something that can be called with what `of` says, or None. A coroutine, unless awaited, would always be true."""
    if value is not None and not callable(value):
        raise ValueError(f"{field}={value!r}: expected a function of {of}")
    if not may_be_async and is_coroutine_function(value):
        raise ValueError(f"{field}={value!r}: expected a plain function of {of}; nothing awaits what an async one says")
    return value


def like(field: str, value: T, method: str, wanted: str) -> T:
    """An object that has this method; a class that was not called has it too, and is none."""
    if isinstance(value, type) or not hasattr(value, method):
        raise ValueError(f"{field}={value!r}: expected {wanted}")
    return value


def at_most(field: str, value: float, bound: str, most: float) -> None:
    """Two settings of which the first must not be above the second."""
    if value > most:
        raise ValueError(f"{field}={value!r}: expected at most {bound}={most!r}")


def name(value: Any) -> str:
    """A name that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"name={value!r}: expected a name, as it shall stand in errors and events")
    return value


def _number(field: str, value: Any, wanted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"{field}={value!r}: expected {wanted}")
    return float(value)

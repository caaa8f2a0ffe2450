"""Argument checks: each returns its value, or raises ValueError as `field=value: expected …`."""

from __future__ import annotations

from math import inf, isfinite
from typing import Any, TypeVar

from .codegen import is_coroutine_function

T = TypeVar("T")


def seconds(field: str, value: Any, *, zero: bool = False, infinite: bool = False) -> float:
    """A time span: above 0 (or from 0 with `zero=True`), finite unless `infinite=True`."""
    wanted = f"seconds, {'at least 0' if zero else 'above 0'}{'' if infinite else ' and finite'}"
    number = _number(field, value, wanted)
    if number < 0 or (number == 0 and not zero) or not (isfinite(number) or infinite):
        raise refused(field, value, wanted)
    return number


def ratio(field: str, value: Any, *, zero: bool = False, above_one: bool = False) -> float:
    """A share between 0 and 1; 0 itself only with `zero=True`, more than 1 only with `above_one=True`."""
    wanted = f"a ratio {'from' if zero else 'above'} 0{'' if above_one else ' up to 1'}"
    number = _number(field, value, wanted)
    if not isfinite(number) or number < 0 or (number == 0 and not zero) or (number > 1 and not above_one):
        raise refused(field, value, wanted)
    return number


def count(field: str, value: Any, *, min_value: int = 1, max_value: float = inf) -> int:
    """A whole number of at least `min_value`; where each costs memory or time, of at most `max_value`."""
    if isinstance(value, bool) or not isinstance(value, int) or not min_value <= value <= max_value:
        bound = f" and at most {max_value}" if max_value < inf else ""
        raise refused(field, value, f"a whole number of at least {min_value}{bound}")
    return value


def number(field: str, value: Any, *, min_value: float = -inf) -> float:
    """A finite number of at least `min_value`."""
    wanted = "a finite number" if min_value == -inf else f"a finite number of at least {min_value:g}"
    result = _number(field, value, wanted)
    if not isfinite(result) or result < min_value:
        raise refused(field, value, wanted)
    return result


def function(field: str, value: T, of: str, *, may_be_async: bool = False) -> T:
    """A function of what `of` names, or None. The coroutine of an async one would always be true, unless awaited."""
    if value is not None and not callable(value):
        raise refused(field, value, f"a function of {of}")
    if not may_be_async and is_coroutine_function(value):
        raise refused(field, value, f"a plain function of {of}; the result of an async one is never awaited")
    return value


def like(field: str, value: T, method: str, wanted: str) -> T:
    """An object with this method. The class itself has the method too, and is refused."""
    if isinstance(value, type) or not hasattr(value, method):
        raise refused(field, value, wanted)
    return value


def at_most(field: str, value: float, bound: str, max_value: float) -> None:
    """Two settings of which the first must not be above the second, which is called `bound`."""
    if value > max_value:
        raise refused(field, value, f"at most {bound}={max_value!r}")


def name(value: Any) -> str:
    """A name that is not empty."""
    if not isinstance(value, str) or not value:
        raise refused("name", value, "a name that is not empty, for errors and events")
    return value


def refused(field: str, value: object, wanted: str) -> ValueError:
    """The one format of a bad argument."""
    return ValueError(f"{field}={value!r}: expected {wanted}")


def _number(field: str, value: Any, wanted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise refused(field, value, wanted)
    return float(value)

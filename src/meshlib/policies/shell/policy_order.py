"""Policy order: which orders of two policies are legal and defeat one of them.

The flags of the policies decide, and none is imported: most programs need few of them.
"""

from __future__ import annotations

from math import inf
from typing import Any


def order_problem(outer: Any, inner: Any) -> str | None:
    """Why `outer` makes no sense outside `inner`, and what to do; None: it does."""
    repeats, races = _is(outer, "repeats"), _is(outer, "races")
    if (repeats or _is(outer, "counts_outcomes")) and _is(inner, "hides"):
        return "the fallback hides each failure from it; put the fallback outside"
    if _is(inner, "shares"):
        if races:
            return "a further attempt equals the first and would wait for it; put the sharing outside"
        if _is(outer, "counts_outcomes"):
            return "one outcome would count once for each call that shares it; put the sharing outside"
    if repeats and _is(inner, "repeats") and (races or not _is(inner, "races")):
        return f"attempts multiply; {'put the hedge inside' if races else 'one retry in a chain is enough'}"
    if _is(outer, "measures_latency") and _is(inner, "repeats"):
        return "it would measure several attempts and their waits as one slow answer; put it inside"
    return _too_short(outer, inner) if hasattr(outer, "per_try") else None


def _too_short(timeout: Any, inner: Any) -> str | None:
    if hasattr(inner, "per_try") and inner.seconds >= timeout.seconds < inf:
        return "the inner limit can never be reached"
    delay = getattr(inner, "delay", None) if _is(inner, "races") else None
    if isinstance(delay, int | float) and delay < inf:
        if delay >= timeout.seconds:
            return "the time is over before a further attempt is due"
        if timeout.per_try is not None and delay >= timeout.per_try and not inner.on_failure:
            return "each try is over before a further attempt is due"
    return None


def _is(policy: Any, what: str) -> bool:
    return bool(getattr(policy, what, False))

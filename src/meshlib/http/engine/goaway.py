"""Fate of a request whose HTTP/2 stream or connection the server ended: unsent, graceful, or a failure.

    unsent     the server did not process it (RFC 9113 §6.8, §8.7): it is sent again, whatever its method, as the same
               attempt, and is evidence against no server
    graceful   it was under way when the server closed a connection after a GOAWAY without error: repeated if it may be,
               as after any other error, but no evidence against the server either
    failure    anything else

This is the one place that knows how httpx reports it. Over the mesh's own pools a `Link` has followed the connection;
over a transport of the caller's there is only what httpcore and h2 raise.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from ...wire.h2_link import NO_ERROR, REFUSED_STREAM, Refusal

# How often one attempt is sent again before its endpoint counts as one that cannot be reached:
MAX_REFUSALS: Final = 3  # by connections that had processed nothing
MAX_RESENDS: Final = 100  # in all


class Fate(Enum):
    UNSENT = "unsent"
    GRACEFUL = "graceful"
    FAILURE = "failure"


UNSENT: Final = Fate.UNSENT
GRACEFUL: Final = Fate.GRACEFUL
FAILURE: Final = Fate.FAILURE


def fate(error: BaseException) -> Fate:
    """What httpx's `error` says about its request. UNSENT counts only where no response had begun."""
    event = _event(error)
    if event is None:
        return FAILURE
    code = getattr(event, "error_code", None)
    last = getattr(event, "last_stream_id", None)
    if isinstance(event, Refusal) or last == 0 or _CLOSED.format("SEND_HEADERS") in _h2_errors(error, event):
        return UNSENT
    if last is not None:  # a GOAWAY
        return GRACEFUL if code == NO_ERROR else FAILURE
    if code == REFUSED_STREAM:  # a RST_STREAM
        return UNSENT
    # After a GOAWAY h2 raises an error for each answer that still comes, and httpcore loses sight of the GOAWAY.
    return GRACEFUL if _CLOSED.format("") in _h2_errors(error, event) else FAILURE


_CLOSED: Final = "{} in state ConnectionState.CLOSED"  # how h2 says that a connection can be used no more


def _event(error: BaseException) -> Any:
    """What httpcore's error carries in place of a message: a refusal, h2's event, or h2's own error. None: nothing."""
    cause = error.__cause__
    if cause is None or not cause.args or not type(cause).__module__.startswith("httpcore"):
        return None
    return None if isinstance(cause.args[0], str) else cause.args[0]


def _h2_errors(error: BaseException, event: Any) -> str:
    """The texts of h2's errors behind `error`: where there was a GOAWAY, httpcore raises it in place of h2's error."""
    context = error.__cause__ and error.__cause__.__context__
    return " ".join(str(one) for one in (event, context) if type(one).__module__ == "h2.exceptions")


class Resends:
    """How often the request of one attempt was sent again."""

    __slots__ = ("_refusals", "made")

    def __init__(self) -> None:
        self.made: int = 0
        self._refusals = 0  # by connections that had processed nothing

    def again(self, error: BaseException) -> bool:
        """Whether it may be sent once more after `error`, which was UNSENT."""
        progress = getattr(_event(error), "progress", False)
        if self.made >= MAX_RESENDS or not (progress or self._refusals < MAX_REFUSALS):
            return False
        self.made += 1
        self._refusals += not progress
        return True

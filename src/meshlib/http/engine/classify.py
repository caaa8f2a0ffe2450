"""What an HTTP exchange says about the server: the one classifier that breaker, balancer, budget and retry hear.

    2xx, 3xx, 4xx                     success: the server did its work
    429                               no evidence: the server is well, and has had enough of us
    502, 503, 504 (`statuses`)        failure; another attempt may help
    other 5xx                         final failure: it would happen again
    connect error, connect timeout    failure; nothing was sent, so any method may be repeated
    other transport errors            failure if the request may be sent twice, else final
    time for this attempt is over     the same
    HTTP/2: not processed             ignored: it was sent again (`httpx_transport`), or its body was spent
    HTTP/2: lost after a GOAWAY       as other transport errors; endpoint and gates ignore it (`Engine._evidence`)
    our own limits, local misuse      ignored
    cancelled                         ignored, unless it was a deadline that cancelled: then as a transport error

A request may be sent twice if its method is idempotent (RFC 9110 §9.2.2) or it carries an `Idempotency-Key`, and its
body can be read again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...call import FAILURE, FATAL, IGNORED, SUCCESS, Call, Classifier, Verdict
from ...errors import DeadlineExceeded, MeshError
from .goaway import GRACEFUL, UNSENT, fate

if TYPE_CHECKING:
    from .exchange import Exchange

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
STATUSES = (502, 503, 504)
EARLY = 0.002  # seconds by which an event loop may fire a timer too soon (uvloop counts in milliseconds)


def classifier(now: Callable[[], float]) -> Classifier:
    """The classifier of HTTP exchanges. `now` tells a deadline that cancelled from a caller who did."""

    def classify(call: Call, result: object, error: BaseException | None) -> Verdict:
        exchange: Exchange = call.what
        if error is None:
            status: int = result.status_code  # type: ignore[attr-defined]
            if status < 500 and status not in exchange.curable:
                return IGNORED if status == 429 else SUCCESS
            return FAILURE if status in exchange.curable and exchange.repeatable else FATAL
        errors = exchange.family.errors
        if isinstance(error, MeshError):
            if not isinstance(error, DeadlineExceeded) or not error.sent:
                return IGNORED
        elif isinstance(error, errors.transport):
            if isinstance(error, errors.not_sent):
                return FAILURE
            end = fate(error)
            if end is UNSENT and getattr(error, "sent", True) is False:
                return IGNORED  # its body was spent, or it would have been sent again
            if end is not GRACEFUL and isinstance(error, errors.own_fault):
                return IGNORED
        elif isinstance(error, errors.decoding):
            return FATAL
        elif isinstance(error, Exception) or now() < call.deadline - EARLY:
            return IGNORED  # the caller's own stream raised, or the caller went away
        return FAILURE if exchange.repeatable else FATAL

    return classify

"""What an HTTP exchange says about the server: the one classifier that breaker, balancer, budget and retry hear.

    2xx, 3xx, 4xx                     success: the server did its work
    429, 408 from a proxy             see below: no evidence, and not repeated behind the caller's back
    502, 503, 504 (`statuses`)        failure; another attempt may help
    other 5xx                         final failure: it would happen again
    connect error, connect timeout    failure; nothing was sent, so any method may be repeated
    other transport errors            failure if the request may be sent twice, else final
    our own limits, local misuse      ignored
    cancelled                         ignored, unless it was the deadline that cancelled: then final

A request may be sent twice if its method is idempotent (RFC 9110 §9.2.2) or it carries an `Idempotency-Key`, and its
body can be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from ..call import FAILURE, FINAL, IGNORED, SUCCESS, Call, Classifier, Verdict, raised
from ..errors import MeshError

if TYPE_CHECKING:
    from .exchange import Exchange

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
STATUSES = (502, 503, 504)


def classifier(now: Callable[[], float], statuses: Collection[int] = STATUSES) -> Classifier:
    """The classifier of one service: `statuses` are those that another attempt may cure."""
    curable = frozenset(statuses)

    def classify(call: Call, result: object, error: BaseException | None) -> Verdict:
        exchange: Exchange = call.what
        if error is None:
            status: int = result.status_code  # type: ignore[attr-defined]
            if status < 500 and status not in curable:
                return IGNORED if status == 429 else SUCCESS
            return FAILURE if status in curable and exchange.repeatable else FINAL
        errors = exchange.family.errors
        if isinstance(error, MeshError):
            return raised(call, result, error)
        if isinstance(error, errors.transport):
            if isinstance(error, errors.not_sent):
                return FAILURE
            if isinstance(error, errors.own_fault):
                return IGNORED
            return FAILURE if exchange.repeatable else FINAL
        if isinstance(error, errors.decoding):
            return FINAL
        if isinstance(error, Exception):
            return IGNORED  # the caller's own stream or hook raised
        return FINAL if now() >= call.deadline else IGNORED

    return classify

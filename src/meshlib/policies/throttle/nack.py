"""Nacks: find answers that mean "not processed here", so that a throttle sends less."""

from __future__ import annotations

from collections.abc import Callable

from ...call import FAILURE, IGNORED, SUCCESS, Call, Classifier, Verdict
from ...errors import Rejected


def nacks(nack: Callable[[object], bool]) -> Classifier:
    """A classifier for which only what `nack` claims (a result or an error) is a failure."""

    def classify(call: Call, result: object, error: BaseException | None) -> Verdict:
        if error is not None and (isinstance(error, Rejected) or not isinstance(error, Exception)):
            return IGNORED  # a refusal of our own, or a cancellation
        return FAILURE if nack(result if error is None else error) else SUCCESS

    return classify


def http_nack(answer: object) -> bool:
    """Whether an answer means "not processed here, and do not hurry back".

    A status of 503 with `Retry-After`, or with Finagle's `finagle-http-nack` or `finagle-http-nonretryable-nack`; a
    `grpc-status` of 14 (UNAVAILABLE) with the push-back trailer `grpc-retry-pushback-ms`. Works on whatever has
    `status_code` and `headers` (httpx, requests), on errors that carry such a `response`, and on grpcio's errors
    (`code()`, `trailing_metadata()`).
    """
    response = getattr(answer, "response", None)
    answer = answer if response is None else response
    headers = getattr(answer, "headers", None)
    if headers is not None:
        if getattr(answer, "status_code", None) == 503:
            return any(name in headers for name in _NACK_HEADERS)
        return str(headers.get("grpc-status", "")) == "14" and "grpc-retry-pushback-ms" in headers
    code, trailers = getattr(answer, "code", None), getattr(answer, "trailing_metadata", None)
    if not callable(code) or not callable(trailers) or getattr(code(), "name", None) != "UNAVAILABLE":
        return False
    return any(item[0] == "grpc-retry-pushback-ms" for item in trailers() or ())


_NACK_HEADERS = ("retry-after", "finagle-http-nack", "finagle-http-nonretryable-nack")

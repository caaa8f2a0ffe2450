"""What does an attempt say about its endpoint, besides its verdict and the time it took?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...balancing import Balancer, Endpoint
from ...balancing.load_report import HEADER, parse_report
from ...balancing.outlier_detection import OutlierDetection
from ...call import IGNORED, SUCCESS, Call, Verdict
from ...errors import DeadlineExceeded
from .retry_after import response_retry_after


def listen(balancer: Balancer, endpoint: Endpoint, response: Any, now: float) -> None:
    """A server may write a load report into its answer."""
    text = response.headers.get(HEADER)
    report = None if text is None else parse_report(text, now)
    if report is not None:
        balancer.reported(endpoint, report, now)


def learn(
    outlier: OutlierDetection | None,
    call: Call,
    endpoint: Endpoint,
    verdict: Verdict,
    outcome: Any,
    now: float,
    random: Callable[[], float],
) -> None:
    """An attempt is over, and the endpoint has been told. `outcome` is its response or its error.

    A 429 is for accrual policies that ask for it, and `Retry-After` keeps the next probe away. Outlier detection hears
    of every status, and of what went wrong without one.
    """
    status: int | None = getattr(outcome, "status_code", None)
    if status == 429 and verdict is IGNORED:
        endpoint.limited(now)
    if (status == 429 or status == 503) and not endpoint.healthy:
        seconds = response_retry_after(outcome)
        if seconds is not None:
            endpoint.postpone(seconds, now)
    if outlier is None:
        return
    if status is not None and (status >= 500 or verdict is SUCCESS or verdict is IGNORED):
        if verdict is not IGNORED or status == 429:
            outlier.record(endpoint, status, now, random)
    elif verdict is not IGNORED:
        outlier.record(endpoint, None, now, random, local=_local(call, outcome))


def _local(call: Call, outcome: Any) -> str:
    """What kind of error it was that our own side saw: a body that broke off counts like a reset."""
    errors = call.what.family.errors
    if isinstance(outcome, errors.not_sent):
        return "connect"
    return "timeout" if isinstance(outcome, (DeadlineExceeded, *errors.slow)) else "reset"

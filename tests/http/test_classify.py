"""One judge for breaker, balancer, budget and retry: what an exchange says about the server."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import httpx2
import pytest

from meshlib import BreakerOpen, DeadlineExceeded
from meshlib.call import FAILURE, FATAL, IGNORED, SUCCESS, Call, Verdict
from meshlib.http.engine.classify import classifier
from meshlib.http.engine.exchange import Exchange
from meshlib.http.family import Family

FAMILIES = {lib.__name__: Family(lib) for lib in (httpx, httpx2)}


def judged(
    lib: Any, method: str, *, status: int = 0, error: BaseException | None = None, now: float = 0.0, **how: Any
) -> Verdict:
    family = FAMILIES[lib.__name__]
    request = family.lib.Request(method, "http://users/", **how)
    exchange = Exchange(request, family, None, stream=False, plain=True, labels={}, start=0.0)  # type: ignore[arg-type]
    result = family.lib.Response(status) if error is None else None
    return classifier(lambda: now)(Call(exchange, 10.0), result, error)


@pytest.mark.parametrize("lib", [httpx, httpx2], ids=lambda lib: lib.__name__)
class TestEachFamily:
    @pytest.mark.parametrize(
        ("status", "get", "post"),
        [
            (200, SUCCESS, SUCCESS),
            (304, SUCCESS, SUCCESS),
            (404, SUCCESS, SUCCESS),
            (429, IGNORED, IGNORED),
            (500, FATAL, FATAL),
            (501, FATAL, FATAL),
            (502, FAILURE, FATAL),
            (503, FAILURE, FATAL),
            (504, FAILURE, FATAL),
            (599, FATAL, FATAL),
        ],
    )
    def test_statuses(self, lib: Any, status: int, get: Verdict, post: Verdict) -> None:
        assert judged(lib, "GET", status=status) is get
        assert judged(lib, "POST", status=status) is post

    @pytest.mark.parametrize(
        ("error", "get", "post"),
        [
            ("ConnectError", FAILURE, FAILURE),
            ("ConnectTimeout", FAILURE, FAILURE),
            ("ReadError", FAILURE, FATAL),
            ("ReadTimeout", FAILURE, FATAL),
            ("WriteError", FAILURE, FATAL),
            ("RemoteProtocolError", FAILURE, FATAL),
            ("DecodingError", FATAL, FATAL),
            ("PoolTimeout", IGNORED, IGNORED),
            ("LocalProtocolError", IGNORED, IGNORED),
            ("UnsupportedProtocol", IGNORED, IGNORED),
            ("ProxyError", IGNORED, IGNORED),
        ],
    )
    def test_errors_of_the_transport(self, lib: Any, error: str, get: Verdict, post: Verdict) -> None:
        raised = getattr(lib, error)("broken")
        assert judged(lib, "GET", error=raised) is get
        assert judged(lib, "POST", error=raised) is post

    def test_our_own_refusals_are_no_evidence(self, lib: Any) -> None:
        assert judged(lib, "GET", error=BreakerOpen("users")) is IGNORED
        assert judged(lib, "GET", error=DeadlineExceeded("users", sent=False)) is IGNORED
        assert judged(lib, "GET", error=ZeroDivisionError()) is IGNORED

    def test_an_answer_that_came_too_late_is(self, lib: Any) -> None:
        assert judged(lib, "GET", error=DeadlineExceeded("users")) is FAILURE
        assert judged(lib, "POST", error=DeadlineExceeded("users")) is FATAL

    def test_a_cancellation_is_nobodys_failure_unless_the_deadline_cancelled(self, lib: Any) -> None:
        assert judged(lib, "GET", error=asyncio.CancelledError(), now=9.9) is IGNORED
        assert judged(lib, "GET", error=asyncio.CancelledError(), now=10.0) is FAILURE
        assert judged(lib, "POST", error=asyncio.CancelledError(), now=10.0) is FATAL

    def test_what_may_be_sent_twice(self, lib: Any) -> None:
        for method in ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"):
            assert judged(lib, method, status=503) is FAILURE
        assert judged(lib, "POST", status=503, headers={"Idempotency-Key": "1"}) is FAILURE
        assert judged(lib, "PUT", status=503, content=iter([b"once"])) is FATAL
        assert judged(lib, "PUT", status=503, files={"f": b"content"}) is FAILURE

"""A server counts its requests, answers probes, and tells its load with every answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshlib.asgi import LoadReports
from meshlib.asgi.meter import LoadMeter
from meshlib.balancing.load_report import HEADER, PROBE_PATH, LoadReport, parse_report

# --- The meter -------------------------------------------------------------------------------------------------------


def take(meter: LoadMeter, came: float, latency: float, *, failed: bool = False) -> None:
    request = meter.enter(came)
    meter.answered(request, came + latency)
    meter.leave(came + latency, failed=failed)


def test_in_flight_is_who_came_and_has_not_gone() -> None:
    meter = LoadMeter()
    meter.enter(0.0)
    meter.enter(0.0)
    assert meter.report(0.0).in_flight == 2
    assert meter.report(0.0, leaving=1).in_flight == 1
    meter.leave(1.0)
    meter.leave(1.0)
    assert meter.report(1.0).in_flight == 0


def test_latency_is_the_median_at_the_present_load() -> None:
    meter = LoadMeter()
    for latency in (0.1, 0.9, 0.2):
        take(meter, 0.0, latency)
    meter.enter(1.0)  # from now on one is in flight
    for latency in (0.5, 0.7, 0.6):
        take(meter, 1.0, latency)
    assert meter.report(2.0).latency == pytest.approx(0.6)
    meter.leave(2.0)
    assert meter.report(2.0).latency == pytest.approx(0.2)


def test_without_samples_at_this_load_the_nearest_counts() -> None:
    meter = LoadMeter()
    take(meter, 0.0, 0.25)
    for _ in range(100):
        meter.enter(1.0)
    assert meter.report(1.0).latency == pytest.approx(0.25)
    take(meter, 1.0, 0.5)
    assert meter.report(2.0).latency == pytest.approx(0.5)


def test_old_latencies_are_forgotten() -> None:
    meter = LoadMeter(memory=5.0)
    take(meter, 0.0, 1.0)
    assert meter.report(5.9).latency == pytest.approx(1.0)
    assert meter.report(6.1).latency is None


def test_rates_are_those_of_the_last_window() -> None:
    meter = LoadMeter(memory=10.0)
    for second in range(20):
        for number in range(5):
            take(meter, float(second), 0.0, failed=number == 0)
    report = meter.report(19.5)
    assert (report.qps, report.eps) == (5.0, 1.0)
    silent = meter.report(60.0)
    assert (silent.qps, silent.eps) == (0.0, 0.0)


def test_memory_must_be_a_time() -> None:
    with pytest.raises(ValueError, match="memory"):
        LoadMeter(memory=0.0)


# --- The middleware --------------------------------------------------------------------------------------------------


class Called:
    """Calls an ASGI application by hand."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.sent: list[Any] = []

    async def call(self, path: str = "/", *, method: str = "GET", kind: str = "http") -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            self.sent.append(message)

        await self._app({"type": kind, "path": path, "method": method}, receive, send)

    def get(self, path: str = "/", *, method: str = "GET") -> tuple[int, dict[bytes, bytes]]:
        self.sent = []
        asyncio.run(self.call(path, method=method))
        return self.sent[0]["status"], dict(self.sent[0]["headers"])


def answer(status: int = 200, *headers: tuple[bytes, bytes]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


def report(headers: dict[bytes, bytes]) -> LoadReport:
    found = parse_report(headers[HEADER.encode()].decode(), 0.0)
    assert found is not None
    return found


def test_a_probe_is_answered_without_the_application() -> None:
    app = LoadReports(answer(500), utilization=lambda: 0.75)
    status, headers = Called(app).get(PROBE_PATH)
    assert status == 204
    assert report(headers).in_flight == 0
    assert report(headers).utilization == 0.75
    assert headers[b"cache-control"] == b"no-store"
    assert app.meter.report(0.0).qps == 0.0


def test_only_a_get_of_the_path_is_a_probe() -> None:
    called = Called(LoadReports(answer(200)))
    assert called.get(PROBE_PATH, method="POST")[0] == 200
    assert called.get("/")[0] == 200
    assert Called(LoadReports(answer(200), path=None)).get(PROBE_PATH)[0] == 200
    assert Called(LoadReports(answer(200), path="/load")).get("/load")[0] == 204


def test_each_answer_tells_the_load_without_itself() -> None:
    assert report(Called(LoadReports(answer())).get()[1]).in_flight == 0
    assert HEADER.encode() not in Called(LoadReports(answer(), header=False)).get()[1]


def test_what_the_application_tells_itself_stays() -> None:
    own = (b"Endpoint-Load-Metrics", b"TEXT named_metrics.in_flight=9")
    assert Called(LoadReports(answer(200, own))).get()[1] == dict([own])


def test_a_request_is_in_flight_until_its_body_has_gone() -> None:
    app = LoadReports(answer())
    seen: list[int] = []

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        seen.append(app.meter.in_flight)
        await send({"type": "http.response.body", "body": b""})

    app.app = watching
    called = Called(app)
    asyncio.run(called.call())
    assert (seen, app.meter.in_flight) == ([1], 0)
    assert HEADER.encode() in dict(called.sent[0]["headers"])


def test_an_application_that_raises_has_failed_and_is_over() -> None:
    clock = [100.0]

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("no")

    app = LoadReports(broken, now=lambda: clock[0])
    with pytest.raises(RuntimeError, match="no"):
        asyncio.run(Called(app).call())
    assert app.meter.in_flight == 0
    assert app.meter.report(100.0).eps == 1.0


def test_what_is_no_http_passes_by() -> None:
    kinds: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kinds.append(scope["type"])

    reports = LoadReports(app)
    asyncio.run(Called(reports).call(kind="lifespan"))
    asyncio.run(Called(reports).call(kind="websocket"))
    assert kinds == ["lifespan", "websocket"]
    assert reports.meter.report(0.0).qps == 0.0


def test_a_path_begins_with_a_slash() -> None:
    with pytest.raises(ValueError, match="path='load'"):
        LoadReports(answer(), path="load")

"""Active checks against real servers: by HTTP, by TCP; each asked by hand, and once by the thread."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

from support.loopback import Trust, served
from support.scripted import OK, Peer, answering, once
from support.waiting import wait_until

from meshlib import Endpoint, Mesh
from meshlib.balancing.outlier_detection import OutlierDetection
from meshlib.events import EndpointEjected, EndpointRestored, Event
from meshlib.http.health.health_checks import FAILED, FATAL, PASSED, CheckKind, Checks, Health, HttpCheck, TcpCheck
from meshlib.http.health.health_thread import HealthThread
from meshlib.http.transports.own_transport import LoopPools

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
LOST = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def ask(way: CheckKind, *endpoints: Endpoint, tls: Any = None) -> list[Health]:
    """Ask each endpoint once, by an event loop of this thread."""

    async def asked() -> list[Health]:
        station = LoopPools(asyncio.get_running_loop(), tls, 60.0)
        checks = Checks("users", way)
        checks.update(endpoints, 0.0)
        try:
            return [await checks.ask(check, station) for check in checks.all]
        finally:
            await station.aclose()

    return asyncio.run(asked())


def nobody() -> Endpoint:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", one.getsockname()[1])


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.reader.read()


def test_http_is_asked_for_its_status() -> None:
    way = HttpCheck(host="users", path="/healthz?deep=1", timeout=5.0)
    with served(once(OK), once(LOST), once(BUSY)) as server:
        one = Endpoint("127.0.0.1", server.port)
        assert [ask(way, one), ask(way, one), ask(way, one)] == [[PASSED], [FAILED], [FATAL]]
    assert [line for _, line in server.requests] == [b"GET /healthz?deep=1 HTTP/1.1"] * 3


def test_other_statuses_may_be_the_good_ones() -> None:
    way = HttpCheck(host="users", statuses=(404, 503), timeout=5.0)
    with served(once(LOST), once(BUSY), once(OK)) as server:
        one = Endpoint("127.0.0.1", server.port)
        assert [ask(way, one), ask(way, one), ask(way, one)] == [[PASSED], [PASSED], [FAILED]]


def test_who_refuses_breaks_off_or_talks_nonsense_has_failed() -> None:
    way = HttpCheck(host="users", timeout=5.0)
    with served(once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), once(b"hello\r\n\r\n")) as server:
        one = Endpoint("127.0.0.1", server.port)
        assert ask(way, nobody()) == ask(way, one) == ask(way, one) == [FAILED]


def test_who_is_silent_for_longer_than_the_timeout_has_failed() -> None:
    with served(silent) as server:
        assert ask(HttpCheck(host="users", timeout=0.05), Endpoint("127.0.0.1", server.port)) == [FAILED]


def test_https_is_checked_against_the_name() -> None:
    trust = Trust()
    context, asked = trust.server("users")
    with served(answering(), ssl=context) as server:
        one = Endpoint("127.0.0.1", server.port)
        good = HttpCheck(host="users", tls=True, timeout=5.0)
        other = HttpCheck(host="users", tls=True, tls_name="orders", timeout=5.0)
        assert ask(good, one, tls=trust.client) == [PASSED]
        assert ask(other, one, tls=trust.client) == [FAILED]
    assert asked == ["users", "orders"]


def test_tcp_is_asked_for_a_connection_and_nothing_else(tmp_path: Path) -> None:
    uds = str(tmp_path / "s")
    with served(answering()) as server, served(answering(), uds=uds) as local:
        assert ask(TcpCheck(timeout=5.0), Endpoint("127.0.0.1", server.port)) == [PASSED]
        assert ask(TcpCheck(timeout=5.0), Endpoint(f"unix:{uds}")) == [PASSED]
        wait_until(lambda: len(server.peers) == len(local.peers) == 1)
        assert server.requests == local.requests == []
    assert ask(TcpCheck(timeout=5.0), nobody()) == [FAILED]


# --- What is made of it ----------------------------------------------------------------------------------------------


def test_three_failures_take_out_and_two_passes_bring_back() -> None:
    one = Endpoint("h", 1)
    checks = Checks("users", TcpCheck())
    checks.update([one], 0.0)
    (check,) = checks.all
    states = []
    for health in (PASSED, FAILED, FAILED, FAILED, PASSED, PASSED, FATAL):
        checks.settle(check, health, 1.0)
        states.append(one.healthy)
    assert states == [True, True, True, False, False, True, False]


def test_an_endpoint_that_left_is_free_and_a_late_result_says_nothing() -> None:
    one, other = Endpoint("h", 1), Endpoint("h", 2)
    checks = Checks("users", TcpCheck())
    checks.update([one, other], 0.0)
    check = checks.of(one)
    assert check is not None
    checks.settle(check, FAILED, 1.0)
    assert not one.healthy
    kept = checks.of(other)
    checks.update([other], 2.0)
    assert one.healthy and checks.of(one) is None and checks.of(other) is kept
    checks.settle(check, FAILED, 3.0)
    assert one.healthy


def test_a_good_check_brings_back_an_outlier() -> None:
    one = Endpoint("h", 1)
    checks = Checks("users", TcpCheck())
    checks.outlier = outlier = OutlierDetection(consecutive_5xx=1)
    outlier.update([one])
    checks.update([one], 0.0)
    outlier.record(one, 500, 1.0, lambda: 0.0)
    assert not one.healthy
    checks.settle(checks.all[0], PASSED, 2.0)
    assert one.healthy and outlier.ejected == ()


# --- The thread ------------------------------------------------------------------------------------------------------


class Told:
    """Waits for events of a mesh."""

    def __init__(self, mesh: Mesh) -> None:
        self._all: list[Event] = []
        self._more = threading.Condition()
        mesh.subscribe(self._add)

    def _add(self, event: Event) -> None:
        with self._more:
            self._all.append(event)
            self._more.notify_all()

    def wait_for(self, kind: type[Event]) -> bool:
        with self._more:
            return self._more.wait_for(lambda: any(isinstance(event, kind) for event in self._all), 20)


def caretakers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "meshlib caretaker"]


def test_a_mesh_checks_its_endpoints_until_it_is_closed(tmp_path: Path) -> None:
    ejected = threading.Event()

    async def changing(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(BUSY if ejected.is_set() else OK)

    before = set(caretakers())  # other tests' may still be ending
    with served(changing) as server:
        ejected.set()
        file = tmp_path / "mesh.yaml"
        file.write_text(
            f"clusters: {{users: {{endpoints: ['127.0.0.1:{server.port}'], health_check: {{http: /healthz, "
            "interval: 20ms, initial_jitter: 200ms, timeout: 5s}}}\nservices: {users: {}}\n"
        )
        with Mesh.from_file(file, watch=False) as mesh:
            told = Told(mesh)
            [mine] = set(caretakers()) - before
            assert mine.daemon
            assert told.wait_for(EndpointEjected)
            ejected.clear()
            assert told.wait_for(EndpointRestored)
        assert not mine.is_alive()
    assert len(server.peers) == 1  # one connection, used again and again


def test_there_is_no_thread_where_nothing_is_to_be_asked(tmp_path: Path) -> None:
    before = set(caretakers())
    (tmp_path / "mesh.yaml").write_text("clusters: {users: {endpoints: [h:1]}}\nservices: {users: {}}\n")
    with Mesh.from_file(tmp_path / "mesh.yaml", watch=False):
        assert set(caretakers()) <= before


def test_closing_does_not_wait_for_an_endpoint_that_hangs() -> None:
    with served(silent) as server:
        mesh = Mesh()
        caretaker = HealthThread.of(mesh)
        checks = Checks("users", HttpCheck(host="users", timeout=600.0), initial_jitter=0.0)
        checks.update([Endpoint("127.0.0.1", server.port)], mesh.runtime.now())
        caretaker.look_after([checks])
        wait_until(lambda: len(server.requests) == 1)
        mesh.close()
        assert caretakers() == []
        caretaker.look_after([checks])  # a reload that comes too late
        assert caretakers() == []

"""gevent: a process whose threads are greenlets (`gunicorn -k gevent`, `celery -P gevent`) never stands still for us.

Each test runs a program of its own, because patching cannot be undone: once patched before meshlib is loaded, as gevent
asks for, and once after. A program that stands still is killed by its time-out, and the test fails.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

PATCH = "from gevent import monkey; monkey.patch_all()\n"
LOAD = "import httpx, meshlib, meshlib.loading, meshlib.http.health.health_thread\n"
BEFORE = """
import asyncio, gevent, sys, time
from pathlib import Path
from meshlib import Bulkhead, Mesh, Retry, SyncMeshClient
from meshlib.discovery.file_store import FileStore

TEXT = "services: {u: {}}\\nclusters: {u: {endpoints: ['127.0.0.1:1']}}\\n"
path = Path(sys.argv[1])
turns = 0


def turn():
    global turns
    while True:
        turns += 1
        gevent.sleep(0.005)


gevent.spawn(turn)


def until(condition):
    while not condition():
        gevent.sleep(0.01)


def port(mesh):
    return mesh.current.clusters["u"].balancer.endpoints[0].port

"""
ORDERS = {"patched before meshlib is loaded": PATCH + LOAD, "patched after": LOAD + PATCH}


@pytest.fixture(params=ORDERS)
def order(request: pytest.FixtureRequest) -> str:
    return ORDERS[request.param]


def run(order: str, folder: Path, program: str) -> None:
    command = [sys.executable, "-c", order + BEFORE + dedent(program), str(folder / "mesh.yaml")]
    # gevent has warnings of its own about modules that were loaded before it came.
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_is_watched_while_other_greenlets_run(order: str, tmp_path: Path) -> None:
    program = """
    path.write_text(TEXT)
    with Mesh.from_file(path) as mesh:
        gevent.sleep(0.05)
        path.write_text(TEXT.replace(":1'", ":2'"))
        until(lambda: port(mesh) == 2)
        assert turns > 5
    """
    run(order, tmp_path, program)


def test_a_store_is_watched_while_other_greenlets_run(order: str, tmp_path: Path) -> None:
    program = """
    store = FileStore(path)
    store.put(TEXT)
    with Mesh.from_store(store) as mesh:
        gevent.sleep(0.05)
        store.put(TEXT.replace(":1'", ":2'"))
        until(lambda: port(mesh) == 2)
        assert turns > 5
    """
    run(order, tmp_path, program)


def test_a_greenlet_that_waits_for_a_place_lets_its_owner_run(order: str, tmp_path: Path) -> None:
    program = """
    gate, done = Bulkhead(1, max_wait=float("inf")), []


    @gate
    def work(number):
        gevent.sleep(0.02)
        done.append(number)


    gevent.joinall([gevent.spawn(work, number) for number in range(5)])
    assert done == [0, 1, 2, 3, 4] and gate.in_flight == 0
    """
    run(order, tmp_path, program)


def test_a_greenlet_that_waits_for_its_next_attempt_lets_others_run(order: str, tmp_path: Path) -> None:
    program = """
    tries = []


    @Retry(3, on=Exception, backoff=0.05)
    def work():
        tries.append(turns)
        if len(tries) < 3:
            raise ConnectionError


    work()
    assert tries[0] < tries[1] < tries[2]
    """
    run(order, tmp_path, program)


def test_endpoints_are_checked_while_other_greenlets_run_and_see_no_event_loop(order: str, tmp_path: Path) -> None:
    program = """
    from gevent.pywsgi import WSGIServer
    healthy, loops = True, set()


    def app(environ, start):
        start("200 OK" if healthy or environ["PATH_INFO"] != "/health" else "503 Ill", [("content-length", "2")])
        return [b"ok"]


    server = WSGIServer(("127.0.0.1", 0), app, log=None)
    server.start()
    endpoint = f"localhost:{server.server_port}"  # a name, which is to be looked up
    check = "{http: /health, interval: 20ms, initial_jitter: 0s}"
    path.write_text(f"services: {{u: {{}}}}\\nclusters: {{u: {{endpoints: ['{endpoint}'], health_check: {check}}}}}\\n")
    with Mesh.from_file(path) as mesh, SyncMeshClient(mesh=mesh) as client:
        one = mesh.current.clusters["u"].balancer.endpoints[0]
        assert client.get("http://u/").text == "ok"
        for state in (False, True):
            healthy = state
            until(lambda: one.healthy is healthy)
            loops.add(asyncio._get_running_loop())
        assert client.get("http://u/").text == "ok"
    assert loops == {None} and turns > 5
    """
    run(order, tmp_path, program)

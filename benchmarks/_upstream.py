"""What stands behind the clients of sidecar.py: nginx, one endpoint that is ill, and a real Envoy before them."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import _harness as harness

BODY = '{"a": 1234567890, "text": "fifty-six bytes in all, so"}'
ANSWER = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
SLOW = 0.3
NGINX = """
daemon off; worker_processes 1; pid FOLDER/nginx.pid; error_log FOLDER/nginx.log crit;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type application/json;
  SERVERS
}
"""


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(url: str, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1) as response:
                if response.status == 200:
                    return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.01)


class Child:
    """A process on core 1 that lives as long as the block."""

    process: subprocess.Popen[Any]

    def start(self, *command: str, **more: Any) -> None:
        self.process = subprocess.Popen(command, **more)
        harness.pin_other(self.process.pid, 1)

    @property
    def pid(self) -> int:
        return self.process.pid

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Nginx(Child):
    """Three endpoints that are always well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports(3)

    @staticmethod
    def found() -> str | None:
        return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

    def __enter__(self) -> Nginx:
        servers = "\n  ".join(
            f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 '{BODY}'; }} }}"
            for port in self.ports
        )
        file = self.folder / "nginx.conf"
        file.write_text(NGINX.replace("FOLDER", str(self.folder)).replace("SERVERS", servers))
        self.start(str(self.found()), "-p", str(self.folder), "-c", str(file), stderr=subprocess.DEVNULL)
        wait_for(f"http://127.0.0.1:{self.ports[0]}/")
        return self

    @property
    def pids(self) -> list[int]:
        """The master and its worker."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]


class BalancerAdapter:
    """The same without nginx: three of our own."""

    def __enter__(self) -> BalancerAdapter:
        self.children = [Sick("none") for _ in range(3)]
        self.ports = [child.__enter__().port for child in self.children]
        self.pids = [child.pid for child in self.children]
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.__exit__()


class Sick(Child):
    """The endpoint with a fault, or with none. A dead one is a port that nobody listens at."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.port = 0

    def __enter__(self) -> Sick:
        self.start(sys.executable, __file__, self.fault, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        return self


class Envoy(Child):
    """A sidecar with one worker, and policies as near to the mesh's defaults as it has them."""

    number = 0

    def __init__(self, folder: Path, upstream: list[int]) -> None:
        self.file = folder / "envoy.json"
        self.port, self.admin = free_ports(2)
        self.file.write_text(json.dumps(_config(self.port, self.admin, upstream)))
        self.ready_s = 0.0

    @staticmethod
    def found() -> str | None:
        return shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")

    def __enter__(self) -> Envoy:
        Envoy.number += 1
        base = (id(self) // 16 + Envoy.number) % 30_000 + 100
        begin = time.monotonic()
        self.start(
            str(self.found()), "-c", str(self.file), "--concurrency", "1", "-l", "error", "--base-id", str(base),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(f"http://127.0.0.1:{self.admin}/ready")
        self.ready_s = time.monotonic() - begin
        return self


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _config(port: int, admin: int, upstream: list[int]) -> dict[str, Any]:
    kinds = "type.googleapis.com/envoy.extensions"
    previous = {"@type": f"{kinds}.retry.host.previous_hosts.v3.PreviousHostsPredicate"}
    route = {
        "cluster": "users",
        "timeout": "5s",
        "retry_policy": {
            "retry_on": "5xx,connect-failure,reset",
            "num_retries": 2,
            "per_try_timeout": "1s",
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.2s"},
            "retry_host_predicate": [{"name": "previous", "typed_config": previous}],
            "host_selection_retry_max_attempts": 3,
        },
    }
    manager = {
        "@type": f"{kinds}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound",
        "route_config": {
            "virtual_hosts": [
                {"name": "users", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}
            ]
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{kinds}.filters.http.router.v3.Router"}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    limits = {"max_connections": 1024, "max_pending_requests": 1024, "max_requests": 1024}
    budget = {"budget_percent": {"value": 20}, "min_retry_concurrency": 10}
    cluster = {
        "name": "users",
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": "users",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(one)}} for one in upstream]}],
        },
        "circuit_breakers": {"thresholds": [{**limits, "retry_budget": budget}]},
        "outlier_detection": {
            "consecutive_5xx": 5,
            "interval": "0.25s",
            "base_ejection_time": "0.25s",
            "max_ejection_time": "4s",
            "max_ejection_percent": 50,
        },
    }
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {
            "listeners": [{"name": "outbound", "address": _address(port), "filter_chains": [chain]}],
            "clusters": [cluster],
        },
    }


def ejected(fault: str) -> None:
    """Answer slowly, or badly every other second, or not at all."""

    class Server(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            if fault == "slow":
                loop.call_later(SLOW, self.answer, ANSWER)
            else:
                self.answer(BUSY if fault == "flapping" and int(time.monotonic()) % 2 else ANSWER)

        def answer(self, data: bytes) -> None:
            if not self.transport.is_closing():
                self.transport.write(data)

    if fault == "dead":
        print(free_ports(1)[0], flush=True)
        time.sleep(3600)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(Server, "127.0.0.1", 0, backlog=4096))
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.run_forever()


if __name__ == "__main__":
    ejected(sys.argv[1])

"""The demo's world: five servers as processes of their own, and the folder with mesh.yaml and the endpoints file.

Whatever is started here is stopped here: on leaving, on errors and on Ctrl-C by `close`, and if this process is killed
by the servers themselves, whose standard input then ends.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO

from .script import SLOW, USUAL, Act

SERVERS = {"v1-a": "v1", "v1-b": "v1", "v1-c": "v1", "v2-a": "v2", "v2-b": "v2"}
"""The servers by name, and the version of the service `users` that each of them runs."""

# Below the ports that systems give to outgoing connections: a killed server's port must not become somebody's own end.
_PORTS = range(20_000, 32_000)

_MESH = """\
services:
  users:
    split: {{users-v1: {v1}, users-v2: {v2}}}
    timeout: 2s
    retry: {{attempts: 3}}
    budget: {{ratio: 20%}}
clusters:
  users-v1:
    endpoints_from: {{file: endpoints.yaml, labels: {{version: v1}}}}
    breaker: {{consecutive_failures: 10, failure_rate: 50%, window: 2s, cooldown: {{seconds: {cooldown}, factor: 1}}}}
    accrual: {{consecutive_failures: 2, backoff: [150ms, {patience}]}}
  users-v2:
    endpoints_from: {{file: endpoints.yaml, labels: {{version: v2}}}}
    breaker: {{consecutive_failures: 10, failure_rate: 50%, window: 2s, cooldown: {{seconds: {cooldown}, factor: 1}}}}
    accrual: {{consecutive_failures: 2, backoff: [150ms, {patience}]}}
"""


class DemoServer:
    """One server: its address stays the same through all deaths.

    After a kill the next process is started at once, but told to listen only by `listen`: it is loaded by then, and
    the demo need not wait for it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.version: str = SERVERS[name]
        self.port: int = 0
        self._process = self._spawn()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def listen(self) -> None:
        """Serve; returns when it does. Raises RuntimeError if the port is not to be had."""
        answer = ""
        for _ in range(10):
            port = self.port or random.choice(_PORTS)
            answer = await self._ask(f"listen {port}")
            if answer == "listening":
                self.port = port
                return
            self.kill()
            if answer != "taken":
                break
        raise RuntimeError(f"the server {self.name} does not start: {answer or 'it ended without a word'}")

    def delay(self, seconds: float) -> None:
        """Take so long for each answer from now on."""
        self._tell(f"delay {seconds}")

    def kill(self) -> None:
        """As the kernel does it when memory is short: no goodbye to anybody. The next process gets ready."""
        self._bury()
        self._process = self._spawn()

    def close(self) -> None:
        self._bury()

    async def _ask(self, line: str) -> str:
        try:
            self._tell(line)
        except BrokenPipeError:
            return ""
        pipe = self._process.stdout
        assert pipe is not None
        return (await asyncio.to_thread(pipe.readline)).strip()

    def _tell(self, line: str) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(line + "\n")
        pipe.flush()

    def _spawn(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", str(Path(__file__).with_name("server.py")), self.name]
        # A session of its own: a Ctrl-C is for the demo, which then ends its servers.
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def _bury(self) -> None:
        process = self._process
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            _close(pipe)


def _close(pipe: IO[str] | None) -> None:
    try:
        if pipe is not None:
            pipe.close()
    except (OSError, ValueError):
        pass  # its other end is gone, or a thread still reads the last of it


class DemoWorld:
    """All servers and the folder. `async with` starts and ends it.

    `cooldown` is the breakers', `patience` the longest wait between two probes of an endpoint: as mesh.yaml writes
    times.
    """

    def __init__(self, *, cooldown: str, patience: str) -> None:
        self._cooldown = cooldown
        self._patience = patience
        self._folder = TemporaryDirectory(prefix="meshlib-demo-")
        self.servers: dict[str, DemoServer] = {}
        self.mesh_yaml: Path = Path(self._folder.name) / "mesh.yaml"

    async def __aenter__(self) -> DemoWorld:
        try:
            for name in SERVERS:
                self.servers[name] = DemoServer(name)
            await asyncio.gather(*(server.listen() for server in self.servers.values()))
            self._write_endpoints()
            self.split(100, 0)
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every server and remove the folder."""
        for server in self.servers.values():
            server.close()
        self._folder.cleanup()

    def of(self, version: str) -> list[DemoServer]:
        """The servers that run a version."""
        return [server for server in self.servers.values() if server.version == version]

    async def perform(self, act: Act) -> None:
        """Do what an act of the play says."""
        if act.slow:
            self.servers[act.slow].delay(SLOW)
        if act.quick:
            self.servers[act.quick].delay(USUAL)
        for name in act.kill:
            self.servers[name].kill()
        await asyncio.gather(*(self.servers[name].listen() for name in act.start))
        if act.split is not None:
            self.split(*act.split)

    def split(self, v1: int, v2: int) -> None:
        """Edit mesh.yaml, as people should: written beside, then renamed over it."""
        text = _MESH.format(v1=v1, v2=v2, cooldown=self._cooldown, patience=self._patience)
        draft = self.mesh_yaml.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(self.mesh_yaml)

    def _write_endpoints(self) -> None:
        """Prometheus' `file_sd` format: one group for each version."""
        groups = [
            "- targets: [" + ", ".join(server.address for server in self.of(version)) + "]\n"
            f"  labels: {{version: {version}}}\n"
            for version in ("v1", "v2")
        ]
        (self.mesh_yaml.parent / "endpoints.yaml").write_text("".join(groups))

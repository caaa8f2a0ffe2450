"""How a real server is found or installed, started on a free port of this machine, and stopped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Server:
    """One kind of server. `command(port, folder)` are its arguments, `ready(port)` whether it answers."""

    name: str
    binary: str
    package: str
    command: Callable[[int, Path], Sequence[str]]
    ready: Callable[[int], bool]
    patience: float = 20.0

    def missing(self) -> str | None:
        """Install it if need be and possible. Why it is not here, or None."""
        if self.path() is not None:
            return None
        if shutil.which("apt-get") is None or os.geteuid() != 0 or os.environ.get("MESHLIB_INSTALL") == "no":
            return f"{self.binary} is not installed, and only root with apt-get may install {self.package}"
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", self.package]):
            done = _apt(arguments)
            if done.returncode:
                return f"apt-get {arguments[0]} failed: {done.stdout.strip().splitlines()[-1:]}"
        return None if self.path() is not None else f"{self.package} has no {self.binary}"

    def path(self) -> str | None:
        return shutil.which(self.binary, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

    @contextmanager
    def running(self, port: int | None = None) -> Iterator[int]:
        """Start one, and stop it at the end: its port."""
        port = port or free_port()
        with tempfile.TemporaryDirectory(prefix=f"{self.name}-") as folder:
            process = self.start(port, Path(folder))
            try:
                yield port
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)

    def start(self, port: int, folder: Path) -> subprocess.Popen[bytes]:
        """Start one in this folder and wait until it answers; whoever calls this stops it."""
        path = self.path()
        assert path is not None, self.missing()
        log = folder / "log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [path, *self.command(port, folder)], stdout=output, stderr=subprocess.STDOUT, cwd=folder
            )
        try:
            self._wait_until_ready(process, port, log)
        except BaseException:
            process.kill()
            process.wait(10)
            raise
        return process

    def _wait_until_ready(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        give_up = time.monotonic() + self.patience
        while not self.ready(port):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{self.name} does not answer:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(port: int, question: bytes, expected: bytes) -> bool:
    """Whether what listens on `port` says `expected` to `question`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(question)
            return expected in connection.recv(4096)
    except OSError:
        return False


def _apt(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        check=False,
    )

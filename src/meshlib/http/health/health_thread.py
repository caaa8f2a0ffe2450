"""Who asks endpoints how they are while nobody calls? One background thread per mesh, with an event loop of its own.

It sends the active health checks of all clusters and Prequal's probes. It starts when there is something to ask, ends
with `mesh.close()`, and never keeps the process alive. Of its own it decides nothing: `HealthCheck.delay` says when,
and the balancer whom to probe.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from ... import forked
from ...balancing import Balancer, Endpoint
from ...balancing.health_check import HealthCheck
from ...balancing.load_report import HEADER, PROBE_PATH, parse_report
from ...mesh import Cluster, Mesh
from ...native import new_native_loop, start_native_thread
from ..transports.own_transport import LoopPools
from .health_checks import Checks, client_tls, head

PATIENCE: Final = 1.0  # seconds for a probe: an older answer would not be used
DEAF: Final = 60.0  # seconds for which an endpoint is left alone that does not know what a probe is
_HEADER: Final = HEADER.encode("ascii")


class HealthThread:
    """The thread of one mesh (`of`)."""

    @classmethod
    def of(cls, mesh: Mesh) -> HealthThread:
        found: HealthThread | None = mesh.doors.get(cls)
        return mesh.doors.setdefault(cls, cls(mesh)) if found is None else found

    def __init__(self, mesh: Mesh) -> None:
        self._now = mesh.runtime.now
        self._random = mesh.runtime.random
        self._on_close = mesh.on_close
        self._lock = threading.Lock()
        self._ended: threading.Event | None = None  # of the thread that runs
        self._begun = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._checks: tuple[Checks, ...] = ()
        # What follows belongs to the thread alone.
        self._station: LoopPools | None = None
        self._tasks: dict[HealthCheck, asyncio.Task[None]] = {}
        self._probing: dict[Endpoint, asyncio.Task[None]] = {}
        self._deaf: WeakKeyDictionary[Endpoint, float] = WeakKeyDictionary()
        forked.register(self)

    def _after_fork(self) -> None:
        """The thread is the parent's, with its connections and whatever it was asking."""
        self._lock = threading.Lock()
        if self._station is not None:
            self._station._after_fork()
        self._loop = self._station = self._ended = None

    def _resume(self) -> None:
        if self._checks:
            self._tell(self._arrange)

    def look_after(self, checks: Iterable[Checks]) -> None:
        """These are all the checks to be made from now on; ask again after each `Checks.update`."""
        gone, self._checks = self._checks, tuple(checks)
        for one in gone:
            if one not in self._checks:
                one.update((), self._now())
        if self._checks or gone:
            self._tell(self._arrange)

    def probe(self, cluster: Cluster, balancer: Balancer) -> None:
        """Ask for load reports, as the balancer wishes after a pick. Never waits."""
        endpoints = [one for one in balancer.probes(self._random) if one not in self._probing]
        if endpoints:
            self._tell(self._probe, cluster, balancer, endpoints)

    def close(self) -> None:
        """End the thread, and the connections with it."""
        with self._lock:
            self._closed = True
            loop, ended = self._loop, self._ended
        if loop is not None and ended is not None:
            try:
                loop.call_soon_threadsafe(loop.stop)
            except RuntimeError:
                pass  # it has ended by itself
            if _asyncio_loop() is not loop:
                ended.wait(2.0)

    # From here on all happens in the thread.

    def _tell(self, what: Any, *arguments: Any) -> None:
        with self._lock:
            if self._closed:
                return
            if self._loop is None:
                self._start()
            assert self._loop is not None
            self._loop.call_soon_threadsafe(what, *arguments)

    def _start(self) -> None:
        """A thread with a loop; in a process that was forked off, another one."""
        if not self._begun:
            self._begun = True
            self._on_close(self.close)
        self._tasks, self._probing = {}, {}
        self._loop = loop = new_native_loop()
        self._station = LoopPools(loop, client_tls(), 60.0)
        self._ended = ended = threading.Event()
        start_native_thread(partial(self._run, loop, ended), "meshlib caretaker")

    def _run(self, loop: asyncio.AbstractEventLoop, ended: threading.Event) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.get_loop().run_forever()
                runner.run(self._end())
        finally:
            ended.set()

    async def _end(self) -> None:
        tasks = [*self._tasks.values(), *self._probing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._station is not None:
            await self._station.aclose()

    def _arrange(self) -> None:
        """One task for each endpoint that is to be checked."""
        wanted = {check: checks for checks in self._checks for check in checks.all}
        for check in self._tasks.keys() - wanted.keys():
            self._tasks.pop(check).cancel()
        for check, checks in wanted.items():
            if check not in self._tasks:
                self._tasks[check] = self._task(self._watch(checks, check))

    async def _watch(self, checks: Checks, check: HealthCheck) -> None:
        assert self._station is not None
        while True:
            await asyncio.sleep(check.delay(self._random))
            health = await checks.ask(check, self._station)
            checks.settle(check, health, self._now())

    def _probe(self, cluster: Cluster, balancer: Balancer, endpoints: list[Endpoint]) -> None:
        now = self._now()
        for endpoint in endpoints:
            if endpoint not in self._probing and self._deaf.get(endpoint, now) <= now:
                self._probing[endpoint] = self._task(self._ask(cluster, balancer, endpoint))

    async def _ask(self, cluster: Cluster, balancer: Balancer, endpoint: Endpoint) -> None:
        assert self._station is not None
        host = cluster.tls_name or cluster.name
        try:
            asked = head(b"GET", PROBE_PATH, host)
            async with asyncio.timeout(PATIENCE):
                pool = self._station.pool(endpoint, host if cluster.tls else "", cluster.max_connection_duration)
                answer = await pool.exchange(asked, method=b"GET", replayable=True)
            told = next((value for name, value in answer.head.headers if name.lower() == _HEADER), None)
            report = None if told is None else parse_report(told.decode("latin-1"), self._now())
            if report is not None:
                balancer.reported(endpoint, report, self._now())
            elif answer.head.status < 500:
                self._deaf[endpoint] = self._now() + DEAF
        except Exception:
            pass  # no answer is no report; whether the endpoint is well, the calls will show
        finally:
            self._probing.pop(endpoint, None)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

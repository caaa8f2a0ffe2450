"""No policy with its defaults refuses a call of a healthy server.

Healthy: each call is answered, after 0 to 100 ms that have nothing to do with how many there are. Up to 1,000 calls at
once, to a policy that has seen nothing yet, one that has seen other calls, and one that has been idle for minutes. To
wait for up to `max_wait` is no refusal. A policy is found by looking: a new one is tested, or its reason stands here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from threading import Barrier
from typing import Any, NamedTuple

import anyio
import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.virtual_time import VirtualRuntime, run

import meshlib.policies
from meshlib import Mesh, MeshClient, Pipeline
from meshlib.policies.concurrency import limit_algorithms
from meshlib.policies.concurrency.adaptive_limit import AdaptiveLimit
from meshlib.policies.concurrency.limit_algorithms import Gradient2, WindowedLimit
from meshlib.policies.fallback import Fallback
from meshlib.policies.retry.retry import Retry
from meshlib.policies.throttle import throttle
from meshlib.policies.throttle.throttle import Throttle
from meshlib.runtime import SYSTEM, Runtime

MOST = 1000
EXEMPT = {
    "Bulkhead": "a number of places, which only its user can know; 100 stands for it",
    "ThreadBulkhead": "a number of threads; 10, as in Hystrix, stands for it",
    "RateLimit": "a rate, which has no default",
    "Quota": "a rate, which has no default",
    "FixedLimit": "a number of places, which has no default",
}
BASES = {"CallPolicy", "Gate", "KeyedLimit", "Slots", "WaitingGate"}  # a policy is made of each, none of itself
# Those that want an argument which says nothing about how much, and views of others.
MADE: dict[str, Callable[[Runtime], Any]] = {
    "Fallback": lambda run: Fallback(None, runtime=run),
    "Retry": lambda run: Retry(on=Exception, runtime=run),
    "WindowedLimit": lambda run: AdaptiveLimit(WindowedLimit(Gradient2()), runtime=run),
    "Partition": lambda run: AdaptiveLimit(runtime=run).partition("any"),
}
MESH = """
services: {users: {}}
clusters:
  users: {endpoints: ["a:1", "b:1", "c:1"], outlier: on, throttle: {}, adaptive_limit: {BY}}
"""


def classes(module: Any, method: str) -> Iterator[type[Any]]:
    for name, kind in vars(module).items():
        if inspect.isclass(kind) and name[0] != "_" and hasattr(kind, method) and not getattr(kind, "_is_protocol", 0):
            yield kind


def public_policies() -> Iterator[type[Any]]:
    for found in pkgutil.walk_packages(meshlib.policies.__path__, "meshlib.policies."):
        if not found.ispkg and "._" not in found.name:
            module = importlib.import_module(found.name)
            yield from (kind for kind in classes(module, "wrap_async") if kind.__module__ == module.__name__)


def subjects() -> dict[str, Callable[[Runtime], Any]]:
    made = dict(MADE)
    for kind in public_policies():
        if kind.__name__ not in {*EXEMPT, *MADE, *BASES}:
            made[kind.__name__] = lambda run, kind=kind: kind(runtime=run)
    for kind in classes(limit_algorithms, "update"):
        if kind.__name__ not in {*EXEMPT, *MADE}:
            made[f"AdaptiveLimit({kind.__name__}())"] = lambda run, kind=kind: AdaptiveLimit(kind(), runtime=run)
    for kind in classes(throttle, "refuse"):
        made[f"Throttle({kind.__name__}())"] = lambda run, kind=kind: Throttle(kind(), runtime=run)
    return made


SUBJECTS = subjects()


def test_the_guard_sees_what_it_is_for() -> None:
    assert {
        "AdaptiveLimit", "AdaptiveLimit(AIMD())", "AdaptiveLimit(Gradient())", "AdaptiveLimit(Gradient2())",
        "AdaptiveLimit(Vegas())", "CircuitBreaker", "DeadlineAdmission", "FailFast", "Hedge", "RequestCache", "Retry",
        "SingleFlight", "Throttle", "Throttle(FailureThrottle())", "Throttle(NackThrottle())", "Timeout",
    } <= set(SUBJECTS)  # fmt: skip


class Burst(NamedTuple):
    """`pause` seconds after the one before, `calls` at once, which take `least` to `most` seconds.

    `uneven`: the share of them that takes the most, the others the least; 0: anything between.
    """

    pause: float
    calls: int
    least: float
    most: float
    uneven: float = 0.0

    def latency(self, chance: Callable[[], float]) -> float:
        if self.uneven:
            return self.most if chance() < self.uneven else self.least
        return self.least + chance() * (self.most - self.least)


async def ask(
    policy: Any, bursts: list[Burst], runtime: Runtime, pipeline: Callable[[Any], Pipeline] = Pipeline
) -> None:
    """Every call of every burst; what a policy refuses is raised. Never more than `MOST` at once."""
    chance, under_way = Random(7).random, 0

    @pipeline(policy)
    async def server(number: int, seconds: float) -> int:
        await anyio.sleep(seconds)
        return number

    async def call(number: int, seconds: float) -> None:
        nonlocal under_way
        assert await server(number, seconds) == number
        under_way -= 1

    async with anyio.create_task_group() as tasks:
        for burst in bursts:
            await anyio.sleep(burst.pause)
            for number in range(min(burst.calls, MOST - under_way)):
                under_way += 1
                tasks.start_soon(call, number, burst.latency(chance))


def burst() -> st.SearchStrategy[Burst]:
    seconds = st.sampled_from([0.0, 0.0005, 0.001, 0.02, 0.08, 0.1])
    pauses = st.sampled_from([0.0, 0.01, 0.15, 1.0, 4.0, 130.0, 1000.0])
    return st.builds(
        lambda pause, calls, ends, uneven: Burst(pause, calls, min(ends), max(ends), uneven),
        pauses, st.integers(1, MOST), st.tuples(seconds, seconds), st.sampled_from([0.0, 0.05, 0.2, 0.5, 0.95, 0.99]),
    )  # fmt: skip


COLD = [Burst(0.0, MOST, 0.1, 0.1)]
JITTER = [Burst(0.0, MOST, 0.0, 0.1), Burst(600.0, MOST, 0.0, 0.1)]
RARELY_FAST = [Burst(0.0, MOST, 0.0001, 0.1, 0.99), Burst(5.0, 32, 0.02, 0.02), Burst(1.0, 300, 0.0, 0.1, 0.95)]
WARM_AND_FAST_THEN_SLOW = [*(Burst(0.05, 3, 0.001, 0.001) for _ in range(200)), Burst(1.0, MOST, 0.1, 0.1)]
EVER_AGAIN = [Burst(0.1, MOST, 0.0, 0.1) for _ in range(8)]


@pytest.mark.parametrize("name", SUBJECTS)
@settings(max_examples=3)
@given(bursts=st.lists(burst(), min_size=1, max_size=4))
@example(bursts=COLD)
@example(bursts=JITTER)
@example(bursts=RARELY_FAST)
@example(bursts=WARM_AND_FAST_THEN_SLOW)
@example(bursts=EVER_AGAIN)
def test_no_policy_refuses_a_call_of_a_healthy_server(name: str, bursts: list[Burst]) -> None:
    async def main(runtime: VirtualRuntime) -> None:
        await ask(SUBJECTS[name](runtime), bursts, runtime)

    run("asyncio", main)


@pytest.mark.parametrize("name", ["AdaptiveLimit", "AdaptiveLimit(Vegas())", "Throttle"])
@pytest.mark.parametrize("bursts", [COLD, JITTER], ids=["cold", "jitter"])
def test_nor_does_it_on_trio(name: str, bursts: list[Burst]) -> None:
    async def main(runtime: VirtualRuntime) -> None:
        await ask(SUBJECTS[name](runtime), bursts, runtime)

    run("trio", main)


@pytest.mark.parametrize("name", [name for name in SUBJECTS if name not in ("Hedge",)])
def test_nor_does_it_from_threads(name: str) -> None:
    calls, policy = 64, SUBJECTS[name](SYSTEM)
    together = Barrier(calls)

    @Pipeline(policy)
    def server(number: int) -> int:
        SYSTEM.sleep(0.001 * (number % 10))
        return number

    def call(number: int) -> int:
        together.wait(30.0)
        return server(number)

    with ThreadPoolExecutor(calls) as pool:
        for _ in range(2):
            assert list(pool.map(call, range(calls))) == list(range(calls))


@pytest.mark.parametrize("by", ["", "by: vegas", "by: aimd"], ids=["gradient2", "vegas", "aimd"])
@settings(max_examples=3)
@given(bursts=st.lists(burst(), min_size=1, max_size=4))
@example(bursts=COLD)
@example(bursts=JITTER)
@example(bursts=EVER_AGAIN)
def test_nor_do_all_that_a_mesh_file_names_together(
    tmp_path_factory: pytest.TempPathFactory, by: str, bursts: list[Burst]
) -> None:
    file = tmp_path_factory.mktemp("mesh") / "mesh.yaml"
    file.write_text(MESH.replace("BY", by))

    async def main(runtime: VirtualRuntime) -> None:
        mesh = Mesh.from_file(file, watch=False, runtime=runtime)
        await ask("users", bursts, runtime, mesh.pipeline)

    run("asyncio", main)


def test_nor_does_a_client_of_such_a_mesh(tmp_path: Path) -> None:
    file, chance = tmp_path / "mesh.yaml", Random(3).random
    file.write_text(MESH.replace("BY", "").replace("users: {}", "users: {hedge: {}}"))

    async def answer(request: httpx.Request) -> httpx.Response:
        await anyio.sleep(0.1 * chance())
        return httpx.Response(200)

    async def main(runtime: VirtualRuntime) -> None:
        mesh = Mesh.from_file(file, watch=False, runtime=runtime)
        async with MeshClient(mesh=mesh, transport=httpx.MockTransport(answer)) as client:

            async def call() -> None:
                assert (await client.get("http://users/")).status_code == 200

            for pause, calls in ((0.0, MOST), (0.5, 300), (200.0, 500)):
                await anyio.sleep(pause)
                async with anyio.create_task_group() as tasks:
                    for _ in range(calls):
                        tasks.start_soon(call)

    run("asyncio", main)

"""A function guarded by a name: which pipeline is asked, and when a reload takes effect."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshlib import BreakerOpen, Mesh, Service, Snapshot, named
from meshlib.config.reader import MeshReader
from meshlib.named import resilient
from meshlib.pipeline import Pipeline
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.fallback import Fallback
from meshlib.policies.retry.retry import Retry


class Book:
    """Pipelines by name, with a version."""

    def __init__(self, **pipelines: Pipeline) -> None:
        self.version = 1
        self.asked = 0
        self.pipelines = pipelines

    def pipeline(self, name: str) -> Pipeline:
        self.asked += 1
        return self.pipelines[name]

    def reload(self, **pipelines: Pipeline) -> None:
        self.pipelines.update(pipelines)
        self.version += 1


def test_a_function_is_guarded_by_the_pipeline_of_that_name() -> None:
    book = Book(users=Pipeline(Fallback("nobody")))

    @resilient("users", mesh=book)
    def load(user: int) -> str:
        raise OSError

    assert [load(1), load(2)] == ["nobody"] * 2
    assert book.asked == 1, "the name is looked up once per version"


def test_a_reload_changes_the_policy_under_a_running_function() -> None:
    calls: list[int] = []
    book = Book(users=Pipeline(Retry(1, on=Exception)))

    @resilient("users", mesh=book)
    def load() -> None:
        calls.append(1)
        raise OSError

    with pytest.raises(OSError):
        load()
    book.reload(users=Pipeline(Retry(3, on=Exception, backoff=0)))
    with pytest.raises(OSError):
        load()
    assert len(calls) == 1 + 3


def test_a_call_that_has_begun_finishes_as_it_began() -> None:
    book = Book(users=Pipeline(Fallback("old")))

    @resilient("users", mesh=book)
    async def load(wait: asyncio.Event) -> str:
        await wait.wait()
        raise OSError

    async def main() -> list[str]:
        wait = asyncio.Event()
        first = asyncio.create_task(load(wait))
        await asyncio.sleep(0)
        book.reload(users=Pipeline(Fallback("new")))
        second = asyncio.create_task(load(wait))
        await asyncio.sleep(0)
        wait.set()
        return [await first, await second]

    assert asyncio.run(main()) == ["old", "new"]


def test_a_reload_that_changes_nothing_keeps_what_the_policies_know() -> None:
    remembers = Pipeline(Fallback(stale=60.0))
    book, down = Book(users=remembers), False

    @resilient("users", mesh=book)
    def load() -> str:
        if down:
            raise OSError
        return "fresh"

    load()
    down = True
    book.reload()
    assert load() == "fresh"


def test_a_name_that_is_not_known_is_an_error_of_the_call() -> None:
    @resilient("nobody", mesh=Book())
    def load() -> None: ...

    with pytest.raises(LookupError):
        load()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "_offered", [])


@pytest.mark.usefixtures("nowhere")
def test_the_mesh_of_the_process_is_asked_when_none_is_given() -> None:
    @resilient("users")
    def load() -> str:
        raise OSError

    with pytest.raises(LookupError, match="no mesh exists yet"):
        load()
    books = [Book(users=Pipeline(Fallback(answer))) for answer in ("one", "two")]
    for book in books:
        named.offer(book)
    assert load() == "two"
    named.withdraw(books[1])
    assert load() == "one"


MESH = """
services:
  users: {retry: {attempts: ATTEMPTS, backoff: 0}, split: {users: 1}}
clusters:
  users: {endpoints: [], breaker: {consecutive_failures: 4}}
"""


@pytest.mark.usefixtures("nowhere")
def test_mesh_yaml_tunes_a_function_without_a_deploy(tmp_path: Path) -> None:
    calls: list[int] = []

    @resilient("users")
    def load() -> None:
        calls.append(1)
        raise OSError

    for attempts, error in ((1, OSError), (2, OSError)):
        file = tmp_path / f"mesh{attempts}.yaml"
        file.write_text(MESH.replace("ATTEMPTS", str(attempts)))
        with Mesh.from_file(file, watch=False), pytest.raises(error):
            load()
    assert len(calls) == 1 + 2


def test_a_change_elsewhere_in_the_mesh_keeps_the_pipeline() -> None:
    mesh = Mesh()
    mesh.publish(lambda old: Snapshot(services={"users": Service("users", Pipeline(Retry(2, on=Exception)))}))
    before = mesh.pipeline("users")
    mesh.publish(lambda old: Snapshot(services={**old.services, "shop": Service("shop", Pipeline())}))
    assert mesh.pipeline("users") is before
    with pytest.raises(LookupError, match="no pipeline or service 'nobody'; it has users, shop"):
        mesh.pipeline("nobody")


def test_a_service_that_leads_to_one_cluster_lends_its_gates_whatever_their_names(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    gates = "{breaker: {failure_rate: null, consecutive_failures: 1}, endpoints: []}"
    file.write_text(
        f"services: {{users: {{retry: off, split: {{users-v1: 1, users-v2: 0}}}}, shop: {{split: {{a: 1, b: 1}}}}}}\n"
        f"clusters: {{users-v1: {gates}, users-v2: {gates}, a: {gates}, b: {gates}}}\n"
    )
    mesh = Mesh.from_file(file, watch=False)

    @resilient("users", mesh=mesh)
    def load() -> None:
        raise OSError

    with pytest.raises(OSError):
        load()
    with pytest.raises(BreakerOpen, match="users-v1"):
        load()
    assert mesh.pipeline("users").policies[-1] is mesh.current.clusters["users-v1"].breaker
    assert not [policy for policy in mesh.pipeline("shop").policies if isinstance(policy, CircuitBreaker)]


class Users:
    def load(self, user: int) -> int:
        raise OSError(user)

    async def fetch(self, user: int) -> int:
        raise OSError(user)

    def __call__(self, user: int) -> int:
        raise OSError(user)


KINDS: dict[str, Callable[[Book], Callable[[int], Any]]] = {
    "function": lambda book: resilient("users", mesh=book)(lambda user: Users().load(user)),
    "coroutine function": lambda book: _run(resilient("users", mesh=book)(Users().fetch)),
    "method": lambda book: functools.partial(resilient("users", mesh=book)(Users.load), Users()),
    "bound method": lambda book: resilient("users", mesh=book)(Users().load),
    "callable object": lambda book: resilient("users", mesh=book)(Users()),
    "partial": lambda book: resilient("users", mesh=book)(functools.partial(Users.load, Users())),
    "async partial": lambda book: _run(resilient("users", mesh=book)(functools.partial(Users.fetch, Users()))),
    "async callable object": lambda book: _run(resilient("users", mesh=book)(_AsyncCallable())),
}


class _AsyncCallable:
    async def __call__(self, user: int) -> int:
        raise OSError(user)


def _run(fn: Callable[[int], Any]) -> Callable[[int], Any]:
    assert inspect.iscoroutinefunction(fn)
    return lambda user: asyncio.run(fn(user))


@pytest.mark.parametrize("kind", KINDS)
def test_a_reload_changes_the_policy_under_every_kind_of_function(kind: str) -> None:
    book = Book(users=Pipeline(Fallback("old")))
    load = KINDS[kind](book)
    assert load(1) == "old"
    book.reload(users=Pipeline(Fallback("new")))
    assert load(1) == "new"
    book.reload(users=Pipeline())
    with pytest.raises(OSError):
        load(1)


def test_it_stays_what_it_was() -> None:
    @resilient("users", mesh=Book())
    async def load(user: int) -> str:
        """Load."""
        return ""

    assert inspect.iscoroutinefunction(load)
    assert (load.__name__, load.__doc__) == ("load", "Load.")
    assert str(inspect.signature(load)) == "(user: 'int') -> 'str'"


def test_generators_are_refused() -> None:
    with pytest.raises(TypeError, match="generator"):

        @resilient("users", mesh=Book())
        def items() -> Iterator[int]:
            yield 1


def test_a_function_is_guarded_by_the_pipeline_that_mesh_yaml_names_and_a_reload_changes_it(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text("pipelines: {reports: {breaker: {failure_rate: null, consecutive_failures: 1}}}\n")
    mesh = Mesh(name="mesh")
    reader = MeshReader(mesh, file)
    reader.load()
    calls: list[int] = []

    @resilient("reports", mesh=mesh)
    def report() -> str:
        calls.append(1)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        report()
    with pytest.raises(BreakerOpen):
        report()
    file.write_text("pipelines: {reports: {retry: {attempts: 3, backoff: 0s}}}\n")
    reader.load()
    with pytest.raises(ConnectionError):
        report()
    assert len(calls) == 1 + 3


def test_a_caller_overtaken_during_a_reload_does_not_bring_the_old_policy_back() -> None:
    class Overtaken(Book):
        """While one caller asks for the version, another one comes and sees the reload first."""

        overtake = False

        @property
        def version(self) -> int:
            if self.overtake:
                self.overtake = False
                self.reload(users=Pipeline(Fallback("new")))
                assert load() == "new"
            return self._version

        @version.setter
        def version(self, number: int) -> None:
            self._version = number

    book = Overtaken(users=Pipeline(Fallback("old")))

    @resilient("users", mesh=book)
    def load() -> str:
        raise OSError

    assert load() == "old"
    book.overtake = True
    assert [load(), load()] == ["new"] * 2

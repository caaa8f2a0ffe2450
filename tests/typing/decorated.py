"""Read by mypy and pyright, never run: what a decorated function is to a type checker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar, assert_type, overload

from meshlib.named import resilient
from meshlib.pipeline import Pipeline
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.cache.collapse import collapse
from meshlib.policies.deadline.timeout import Timeout
from meshlib.policies.retry.budget import RetryBudget
from meshlib.policies.retry.retry import Retry
from meshlib.policies.shell.decorators import circuit_breaker, fallback, hedge, retry, single_flight, timeout

T = TypeVar("T")

users = Pipeline(
    Timeout(1.0), Retry(attempts=3, on=Exception, budget=RetryBudget(ratio=0.2)), CircuitBreaker(name="users")
)
breaker = CircuitBreaker(name="payments")


@circuit_breaker
def bare(order: str, *, count: int = 1) -> float:
    return 1.0


@circuit_breaker(name="payments", failure_rate=0.5, window=10.0, minimum_calls=20, cooldown=5.0)
async def pay(order: str) -> int:
    return 1


@retry(on=OSError)
def again(order: str) -> bytes:
    return b""


@retry(attempts=3, on=Exception)
async def again_async(order: str) -> bytes:
    return b""


@timeout(1.0)
async def quick(order: str) -> bytes:
    return b""


@fallback(0)
def answered(order: str) -> int:
    return 1


@users
async def refresh(user_id: int) -> list[str]:
    return []


@users
def refresh_now(user_id: int) -> list[str]:
    return []


@breaker
def items(first: int) -> Iterator[str]:
    yield "a"


@breaker
async def aitems(first: int) -> AsyncIterator[str]:
    yield "a"


@hedge
async def hedged(order: str) -> bytes:
    return b""


@single_flight
async def shared(order: str) -> bytes:
    return b""


@collapse(max_batch=10, within=0.01)
async def load_user(ids: list[int]) -> dict[int, str]:
    return {}


@collapse()
def load_order(ids: list[int]) -> list[float]:
    return []


@resilient("users")
async def tuned(order: str) -> bytes:
    return b""


@breaker
def echo(thing: T) -> T:
    return thing


@overload
def parse(text: str) -> str: ...
@overload
def parse(text: bytes) -> bytes: ...
@circuit_breaker
def parse(text: Any) -> Any:
    return text


@users
def everything(first: int, /, *rest: str, last: bool = False, **more: float) -> None: ...


class Shop:
    @retry(attempts=2, on=Exception)
    @breaker
    async def buy(self, order: str) -> int:
        return 1

    @collapse()
    async def price(self, items: list[str]) -> dict[str, float]:
        return {}

    @collapse()
    def stock(self, items: list[str]) -> list[int]:
        return []

    @Retry(2, on=Exception)
    def sell(self, order: str) -> int:
        return 1

    @staticmethod
    @retry(on=OSError)
    def open_at(hour: int) -> str:
        return ""

    @classmethod
    @timeout(1.0)
    def named(cls, name: str) -> "Shop":
        return cls()

    @property
    @circuit_breaker
    def size(self) -> int:
        return 1


async def main() -> None:
    assert_type(bare("a", count=2), float)
    coroutine_1: Coroutine[Any, Any, int] = pay("a")
    assert_type(await coroutine_1, int)
    assert_type(await asyncio.create_task(pay("a")), int)
    assert_type(again("a"), bytes)
    coroutine_2: Coroutine[Any, Any, bytes] = again_async("a")
    assert_type(await coroutine_2, bytes)
    assert_type(await asyncio.create_task(quick("a")), bytes)
    assert_type(answered("a"), int)
    coroutine_3: Coroutine[Any, Any, list[str]] = refresh(1)
    assert_type(await coroutine_3, list[str])
    assert_type(await asyncio.create_task(refresh(1)), list[str])
    assert_type(refresh_now(1), list[str])
    assert_type(items(1), Iterator[str])
    assert_type(aitems(1), AsyncIterator[str])
    coroutine_4: Coroutine[Any, Any, int] = Shop().buy("a")
    assert_type(await coroutine_4, int)
    assert_type(await Shop().price("a"), float)
    assert_type(Shop().stock("a"), int)
    assert_type(Shop().sell("a"), int)
    assert_type(await asyncio.create_task(hedged("a")), bytes)
    assert_type(await asyncio.create_task(shared("a")), bytes)
    assert_type(await asyncio.create_task(load_user(1)), str)
    assert_type(load_order(1), float)
    assert_type(await asyncio.create_task(tuned("a")), bytes)
    assert_type(echo(1.5), float)
    assert_type((parse("a"), parse(b"a")), tuple[str, bytes])
    everything(1, "a", "b", last=True, weight=1.0)
    assert_type((Shop.open_at(9), Shop.named("a"), Shop().size), tuple[str, Shop, int])
    async with breaker as nothing:
        assert_type(nothing, None)
    as_argument: Callable[[str], bytes] = again
    as_argument("a")


def refused() -> None:
    everything(first=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Shop.open_at("nine")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    again_async()  # type: ignore[call-arg, unused-coroutine]  # pyright: ignore[reportCallIssue, reportUnusedCoroutine]
    retry(attempts="three", on=Exception)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]

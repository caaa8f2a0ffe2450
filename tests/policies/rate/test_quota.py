"""The quota over a real redis-server, and what happens when it is away."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from math import inf
from typing import Any

import anyio
import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from meshlib.errors import DeadlineExceeded, RateLimited
from meshlib.events import Event, QuotaStoreFound, QuotaStoreLost
from meshlib.policies.rate.quota import Quota
from meshlib.policies.rate.rate_limit import TokenBucket
from meshlib.policies.rate.redis_store import RedisStore
from meshlib.runtime import SYSTEM

names = (f"quota {number}" for number in count())
needs_redis = pytest.mark.needs("redis-server")


@pytest.fixture
def client(redis_port: int) -> Iterator[Any]:
    with redis.Redis(port=redis_port) as client:
        yield client


def quota(limit: float, **settings: Any) -> Quota:
    settings = {"when_away": "closed", "name": next(names), **settings}
    return Quota(limit, **settings)


@needs_redis
def test_two_processes_worth_of_quotas_share_one_bucket(client: Any) -> None:
    first = quota(5, per=3600.0, store=RedisStore(client))
    second = quota(5, per=3600.0, store=RedisStore(client), name=first.name)
    work, other = first(lambda: 1), second(lambda: 1)
    assert work() + other() + work() + other() + work() == 5
    with pytest.raises(RateLimited) as caught:
        other()
    assert 600 < caught.value.retry_after <= 720


@needs_redis
def test_a_refusal_takes_nothing_and_the_key_expires_when_the_bucket_is_full(client: Any) -> None:
    limit = quota(1, per=0.05, store=RedisStore(client))
    limit.enter(0.0)
    for _ in range(100):
        limit.reserve(0.0)
    assert limit.wait_for(0.0) <= 0.05
    assert 0 < client.pttl(limit._key(None)) <= 52


@needs_redis
def test_a_plain_call_waits_for_its_permit(client: Any) -> None:
    limit = quota(1, per=0.02, max_wait=1.0, store=RedisStore(client))
    start = SYSTEM.now()
    for _ in range(3):
        limit.wait(SYSTEM)
    assert SYSTEM.now() - start >= 0.039


@needs_redis
def test_a_quota_per_day_is_whole_at_once_and_gone_until_midnight(client: Any) -> None:
    limit = quota(3, per=86_400.0, cycles=True, store=RedisStore(client))
    assert [limit.reserve(0.0, None, permits) for permits in (2, 2, 1)] == [0.0, -1.0, 0.0]
    until_midnight = 86_400.0 - client.time()[0] % 86_400
    assert limit.wait_for(0.0) == pytest.approx(until_midnight, abs=2.0)
    assert limit.wait_for(0.0, None, 4) == pytest.approx(until_midnight + 86_400.0, abs=2.0)
    assert client.pttl(limit._key(None)) / 1000 == pytest.approx(until_midnight, abs=2.0)


@needs_redis
def test_the_next_cycle_may_be_reserved_and_given_back(client: Any) -> None:
    limit = quota(1, per=86_400.0, cycles=True, store=RedisStore(client))
    waits = [limit.reserve(0.0, None, 1, inf) for _ in range(3)]
    assert waits[0] == 0.0
    assert waits[2] - waits[1] == pytest.approx(86_400.0, abs=2.0)
    for _ in range(5):
        limit.ask(None, -1, inf)
    assert limit.reserve(0.0) == 0.0


@needs_redis
def test_each_key_has_a_bucket_of_its_own(client: Any) -> None:
    limit = quota(1, per=3600.0, store=RedisStore(client), key=lambda user: user)
    work = limit(lambda user: user)
    assert [work("ann"), work("ben")] == ["ann", "ben"]
    with pytest.raises(RateLimited, match="'ann'"):
        work("ann")
    with pytest.raises(RateLimited), limit.key("ben"):
        pass


async def share(limit: Quota) -> None:
    @limit
    async def work() -> str:
        return "done"

    assert await work() == "done"
    with anyio.move_on_after(0.05) as scope:
        await limit.ask_async(None, 1, inf)  # somebody else's reservation, before ours
        await work()
    assert scope.cancelled_caught
    answer = await limit.ask_async(None, 1, inf)
    assert answer is not None
    assert 190 < answer.wait <= 200


@needs_redis
def test_async_calls_share_it_and_a_cancelled_wait_gives_its_permit_back(redis_port: int) -> None:
    async def run() -> None:
        async with redis.asyncio.Redis(port=redis_port) as client:
            await share(quota(1, per=100.0, max_wait=inf, store=RedisStore(async_client=client)))

    asyncio.run(run())


@needs_redis
@pytest.mark.anyio
async def test_without_an_async_client_a_thread_asks(client: Any) -> None:
    await share(quota(1, per=100.0, max_wait=inf, store=RedisStore(client)))


@needs_redis
def test_many_threads_get_no_more_than_the_quota(client: Any) -> None:
    limit = quota(100, per=3600.0, store=RedisStore(client))
    with ThreadPoolExecutor(16) as pool:
        waits = list(pool.map(lambda _: limit.reserve(0.0), range(400)))
    assert waits.count(0.0) == 100


@needs_redis
def test_a_deadline_is_seen_before_waiting(client: Any) -> None:
    limit = quota(1, per=100.0, max_wait=inf, store=RedisStore(client))
    limit.enter(0.0)
    with pytest.raises(DeadlineExceeded):
        limit.wait(SYSTEM, SYSTEM.now() + 1.0)


# --- the store is away ---------------------------------------------------------------------------------------------


class Away:
    """A client whose server may be away."""

    def __init__(self) -> None:
        self.away, self.asked = True, 0

    def register_script(self, script: str) -> Any:
        def run(keys: list[str], args: list[str]) -> Any:
            self.asked += 1
            if self.away:
                raise ConnectionRefusedError
            return [1, b"0.000"]

        return run


def test_open_lets_through_closed_refuses_and_both_say_so_once() -> None:
    for when_away, kind in (("open", None), ("closed", RateLimited)):
        store, told = Away(), list[Event]()
        limit = quota(1, when_away=when_away, store=RedisStore(store, ask_again=0.0))
        limit.subscribe(told.append)
        work = limit(lambda: "done")
        for _ in range(3):
            if kind is None:
                assert work() == "done"
            else:
                with pytest.raises(kind, match="does not answer"):
                    work()
        store.away = False
        assert work() == "done"
        lost, *_, found = [event for event in told if isinstance(event, QuotaStoreLost | QuotaStoreFound)]
        assert isinstance(lost, QuotaStoreLost)
        assert lost.instead == when_away
        assert isinstance(found, QuotaStoreFound)
        assert len([event for event in told if isinstance(event, QuotaStoreLost)]) == 1


def test_a_rate_of_its_own_limits_this_process_meanwhile() -> None:
    limit = quota(1, when_away=TokenBucket(0.001, burst=2), store=RedisStore(Away()))
    work = limit(lambda: "done")
    assert [work(), work()] == ["done", "done"]
    with pytest.raises(RateLimited):
        work()


def test_a_store_that_failed_is_left_alone_for_a_while() -> None:
    store = Away()
    limit = quota(1, when_away="open", store=RedisStore(store, ask_again=60.0))
    for _ in range(10):
        limit(lambda: None)()
    assert store.asked == 1


def test_a_real_client_without_a_server_fails_as_configured() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        with redis.Redis(port=nobody.getsockname()[1], retry=Retry(NoBackoff(), 0)) as client:
            assert quota(1, when_away="open", store=RedisStore(client))(lambda: "done")() == "done"
            with pytest.raises(RateLimited, match="does not answer"):
                quota(1, when_away="closed", store=RedisStore(client))(lambda: "done")()


def test_nonsense_is_refused_at_construction() -> None:
    wrong: Any = "perhaps"
    with pytest.raises(ValueError, match=r"^client=None: expected a client, or an async_client$"):
        RedisStore()
    with pytest.raises(ValueError, match=r"^limit=1.5: expected a whole number"):
        Quota(1.5, when_away="open", store=RedisStore(Away()), cycles=True)
    with pytest.raises(ValueError, match=r"^when_away='perhaps'"):
        Quota(1, when_away=wrong, store=RedisStore(Away()))
    with pytest.raises(ValueError, match=r"^client=None"):
        Quota(1, when_away="open", store=RedisStore(async_client=Away())).wait(SYSTEM)

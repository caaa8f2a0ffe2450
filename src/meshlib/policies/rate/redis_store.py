"""The store of a quota: Redis or Valkey, and the scripts that it runs in one step each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..shell import checks

# Microseconds since late 2023, so that a Lua number (a double) still tells 1/64 of one apart. `refund` is a call with
# a negative cost: it may not lift the bucket above full, which `now` as the least value of the key sees to.
SCRIPT = """\
local clock = redis.call('TIME')
local now = (tonumber(clock[1]) - 1700000000) * 1000000 + tonumber(clock[2])
local interval, depth, cost, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local full_at = math.max(now, tonumber(redis.call('GET', KEYS[1]) or now)) + cost * interval
local wait = full_at - now - depth
if wait > longest then return {0, string.format('%.3f', wait)} end
local rest = full_at - now
if rest > 0 then
  redis.call('SET', KEYS[1], string.format('%.4f', full_at), 'PX', math.ceil(rest / 1000) + 1)
else
  redis.call('DEL', KEYS[1])
end
return {1, string.format('%.3f', math.max(0, wait))}
"""


# The same for permits per cycle of the store's clock (see `Cycles`): one key holds "cycle:permits left".
CYCLES = """\
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local period, limit, cost, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local cycle, have = math.floor(now / period), limit
local saved = redis.call('GET', KEYS[1])
if saved then
  local number, left = string.match(saved, '(%d+):(-?%d+)')
  have = math.min(limit, tonumber(left) + math.max(0, cycle - tonumber(number)) * limit)
end
local rest, wait = (cycle + 1) * period - now, 0
if have < cost then wait = rest + math.max(0, math.ceil((cost - have - limit) / limit)) * period end
if wait > longest then return {0, string.format('%.3f', wait)} end
local left = math.min(limit, have - cost)
if left < limit then
  local lasts = rest + math.max(0, math.ceil(-left / limit)) * period
  redis.call('SET', KEYS[1], string.format('%.0f:%.0f', cycle, left), 'PX', math.ceil(lasts / 1000) + 1)
else
  redis.call('DEL', KEYS[1])
end
return {1, string.format('%.3f', wait)}
"""


class StoreAnswer(NamedTuple):
    """The store's answer: whether the permits are taken, and the seconds until they may be used, or would be there."""

    taken: bool
    wait: float


@dataclass(frozen=True, slots=True)
class RedisStore:
    """Where a `Quota` keeps its numbers; quotas of the same store, `prefix` and name share them.

    `client` is a `redis.Redis` (or Valkey's) for plain functions, `async_client` a `redis.asyncio.Redis` for async
    ones; without the latter, and on trio, async functions ask through `client` in a worker thread. Their own timeouts
    and retries bound each question: redis-py's default is to retry for seconds, so give it `retry=None` or few. After
    a question that failed, a quota does not ask again for `ask_again` seconds. Raises ValueError for values without
    sense.
    """

    client: Any = None
    async_client: Any = None
    prefix: str = "meshlib:quota:"
    ask_again: float = 1.0

    def __post_init__(self) -> None:
        if self.client is None and self.async_client is None:
            raise ValueError("client=None: expected a client, or an async_client")
        checks.seconds("ask_again", self.ask_again, zero=True)

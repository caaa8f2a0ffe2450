"""Does it recover? A retry storm: what the policies do when the servers are too slow for fifteen seconds.

    python benchmarks/storm.py [--fast] [--json FILE] [--seeds 2] [--no-real]

Ten servers of four workers each, exponential work of 100 ms: 400 requests/s at most. 40 clients offer 300, give up on
an attempt after 1 s, and the work that they gave up on is done all the same, first come first served, without bound.
From 30 s to 45 s the servers run at 0.4 of their speed. Each client has its own policies: the shipped objects,
unchanged, on an event loop whose clock jumps (nothing waits for anything real).

Goodput is the share of the calls that arrived in a second which were answered. Recovered is the first moment after
the trigger from which every five seconds have at least 95 % of the goodput before it. The real form is the same on
loopback, smaller: three servers, `MeshClient`, and a mesh.yaml.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from collections import defaultdict, deque
from collections.abc import Callable
from math import inf
from random import Random
from statistics import mean
from typing import Any

import _harness as harness

from meshlib import CircuitBreaker, Cooldown, Hedge, Pipeline, Retry, RetryBudget, Throttle
from meshlib.balancing import ClusterHealth, Endpoint, make_balancer
from meshlib.call import FAILURE, IGNORED, SUCCESS, Call
from meshlib.policies.throttle.throttle import SreThrottle
from meshlib.runtime import Expired

SERVERS, WORKERS, CLIENTS, OFFERED, WORK = 10, 4, 40, 300.0, 0.1
TRIGGER, HEALED, END = 30.0, 45.0, 125.0
PATIENCE, SLOW = 1.0, 0.4

# --- time that jumps ------------------------------------------------------------------------------------------------


class Jumping(selectors.SelectSelector):
    """Where an event loop would sleep, its clock is put forward instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing is to come")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


class VirtualRuntime:
    """A `meshlib.runtime.Runtime` in that time, with seeded chance."""

    def __init__(self, loop: VirtualLoop, random: Random) -> None:
        self.now = loop.time
        self.random = random.random
        self.sleep_async = asyncio.sleep

    def sleep(self, seconds: float) -> None:
        raise RuntimeError("nothing here is sync")

    async def until(self, deadline: float, work: Any) -> Any:
        try:
            async with asyncio.timeout_at(None if deadline == inf else deadline):
                return await work
        except TimeoutError as error:
            raise Expired from error


# --- the world ------------------------------------------------------------------------------------------------------


class Server:
    """Workers that take the next request from an endless queue. Nobody can call a request back."""

    def __init__(self, loop: VirtualLoop, random: Random) -> None:
        self.loop, self.random = loop, random
        self.free = WORKERS
        self.speed = 1.0
        self.queue: deque[asyncio.Future[None]] = deque()

    def ask(self) -> asyncio.Future[None]:
        answer = self.loop.create_future()
        self.queue.append(answer)
        self.work()
        return answer

    def work(self) -> None:
        while self.free and self.queue:
            self.free -= 1
            took = self.random.expovariate(1 / WORK) / self.speed
            self.loop.call_later(took, self.done, self.queue.popleft())

    def done(self, answer: asyncio.Future[None]) -> None:
        self.free += 1
        if not answer.done():
            answer.set_result(None)
        self.work()


class Tally:
    """Per second of arrival: how many calls, attempts and answers there were."""

    def __init__(self) -> None:
        self.calls: dict[int, int] = defaultdict(int)
        self.good: dict[int, int] = defaultdict(int)
        self.sent: dict[int, int] = defaultdict(int)

    def share(self, since: float, until: float) -> float:
        seconds = range(int(since), int(until))
        return sum(self.good[s] for s in seconds) / max(1, sum(self.calls[s] for s in seconds))

    def recovered(self, healed: float, end: float, before: float, window: int = 5) -> float:
        """Seconds from the trigger's end until it is well for good; inf: not in this run."""
        start = inf
        for since in range(int(end) - window, int(healed) - 1, -1):
            if self.share(since, since + window) < 0.95 * before:
                break
            start = since - healed
        return start


def expire(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError("no answer within a second"))


# --- what is compared -----------------------------------------------------------------------------------------------

Policies = Callable[[VirtualRuntime], list[Any]]


def fixed(run: VirtualRuntime) -> list[Any]:
    return [Retry(4, on=Exception, budget=None, runtime=run)]


def with_budget(*more: Callable[[VirtualRuntime, RetryBudget], Any], reserve: float = 0.0) -> Policies:
    """`reserve`: retries per second that every client may make whatever its traffic is. By default 10, of 7.5 calls."""

    def make_them(run: VirtualRuntime) -> list[Any]:
        budget = RetryBudget(min_per_second=reserve)
        return [Retry(4, on=Exception, budget=budget, runtime=run), *(policy(run, budget) for policy in more)]

    return make_them


def throttle(window: float) -> Callable[[VirtualRuntime, RetryBudget], Any]:
    return lambda run, _: Throttle(SreThrottle(window=window), runtime=run)


def breaker(run: VirtualRuntime, _: RetryBudget) -> CircuitBreaker:
    """What a cluster of a mesh.yaml gets when it says nothing."""
    return CircuitBreaker(
        failure_rate=0.5, minimum_calls=20, cooldown=Cooldown(5.0, factor=1.5, max_cooldown=60.0), runtime=run
    )


def in_a_row(run: VirtualRuntime, _: RetryBudget) -> CircuitBreaker:
    return CircuitBreaker(
        consecutive_failures=10, cooldown=Cooldown(2.0, factor=2.0, max_cooldown=16.0, jitter=0.5), runtime=run
    )


def hedge(run: VirtualRuntime, budget: RetryBudget) -> Hedge:
    return Hedge(budget=budget, min_per_second=0.0, runtime=run)


WAYS: dict[str, tuple[Policies, str]] = {
    "no retries": (lambda run: [], "random"),
    "3 fixed retries": (fixed, "random"),
    "retry budget": (with_budget(), "random"),
    "budget, throttle over 10 s": (with_budget(throttle(10.0)), "random"),
    "budget, throttle over 120 s": (with_budget(throttle(120.0)), "random"),
    "budget, breaker": (with_budget(breaker), "random"),
    "budget, breaker: 10 in a row, 2–16 s": (with_budget(in_a_row), "random"),
    "budget, hedging": (with_budget(hedge), "random"),
    "budget, hedging, breaker": (with_budget(hedge, breaker), "random"),
    "budget with its reserve of 10/s": (with_budget(reserve=10.0), "random"),
    "the same, breaker, default balancer": (with_budget(breaker, reserve=10.0), "default"),
}
SHORT = ("no retries", "3 fixed retries", "budget, breaker")


class Storm:
    """One run of one way."""

    def __init__(self, policies: Policies, balancer: str, seed: int, times: tuple[float, float, float]) -> None:
        self.loop = VirtualLoop()
        self.random = Random(seed)
        self.servers = [Server(self.loop, Random(seed * 100 + n)) for n in range(SERVERS)]
        self.tally = Tally()
        self.trigger, self.healed, self.end = times
        self.policies, self.balancer = policies, balancer

    def client(self) -> Callable[[Call], Any]:
        run = VirtualRuntime(self.loop, self.random)
        # Only the default balancer takes endpoints out; the others shall show what the policies do by themselves.
        health = (
            ClusterHealth("storm")
            if self.balancer == "default"
            else ClusterHealth("storm", consecutive_failures=0, minimum_calls=1 << 30)
        )
        endpoints = [Endpoint("server", port, health=health) for port in range(1, SERVERS + 1)]
        for endpoint, server in zip(endpoints, self.servers, strict=True):
            endpoint.carrier = server
        balancer = make_balancer(self.balancer, "storm", endpoints, health=health)
        loop, sent = self.loop, self.tally.sent

        async def ask(call: Call) -> None:
            start = loop.time()
            endpoint = balancer.pick(run.random, start)
            permit = endpoint.enter(start)
            sent[int(start)] += 1
            answer = endpoint.carrier.ask()
            timer = loop.call_later(PATIENCE, expire, answer)
            verdict = IGNORED
            try:
                await answer
                verdict = SUCCESS
            except TimeoutError:
                verdict = FAILURE
                raise
            finally:
                timer.cancel()
                endpoint.leave(permit, verdict, loop.time(), loop.time() - start)

        return Pipeline(*self.policies(run), runtime=run).over_async(ask)

    async def one(self, send: Callable[[Call], Any]) -> None:
        second = int(self.loop.time())
        self.tally.calls[second] += 1
        try:
            await send(Call(None))
        except Exception:
            return
        self.tally.good[second] += 1

    async def go(self) -> Tally:
        clients = [self.client() for _ in range(CLIENTS)]
        self.loop.call_at(self.trigger, self.pace, SLOW)
        self.loop.call_at(self.healed, self.pace, 1.0)
        running = set()
        while self.loop.time() < self.end:
            task = asyncio.ensure_future(self.one(clients[int(self.random.random() * CLIENTS)]))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(self.random.expovariate(OFFERED))
        for task in running:
            task.cancel()
        return self.tally

    def pace(self, speed: float) -> None:
        for server in self.servers:
            server.speed = speed

    def run(self) -> Tally:
        asyncio.set_event_loop(self.loop)
        try:
            return self.loop.run_until_complete(self.go())
        finally:
            self.loop.close()
            asyncio.set_event_loop(None)


def summary(tallies: list[Tally], times: tuple[float, float, float]) -> dict[str, Any]:
    """Means over the seeds; recovery at its worst."""
    trigger, healed, end = times
    last = end - 5.0  # calls of the last seconds may not have ended
    warm = trigger / 3
    before = mean(tally.share(warm, trigger) for tally in tallies)
    recovered = [tally.recovered(healed, last, tally.share(warm, trigger)) for tally in tallies]
    peaks = [max(tally.sent[s] / max(1, tally.calls[s]) for s in range(int(last))) for tally in tallies]
    line = [round(mean(tally.share(s, s + 1) for tally in tallies), 3) for s in range(int(last))]
    return {
        "before": round(before, 3),
        "during": round(mean(tally.share(trigger, healed) for tally in tallies), 3),
        "after": round(mean(tally.share(healed, min(last, healed + 60)) for tally in tallies), 3),
        "recovered_s": None if max(recovered) == inf else max(recovered),
        "recovered_least_s": None if min(recovered) == inf else min(recovered),
        "peak_attempts_per_call": round(max(peaks), 2),
        "goodput_by_second": line,
    }


def main() -> None:
    opts = harness.options(
        __doc__,
        lambda p: p.add_argument("--seeds", type=int, default=None, help="default 2, with --fast 1"),
        lambda p: p.add_argument("--no-real", action="store_true", help="only in virtual time"),
    )
    seeds = opts.seeds or (1 if opts.fast else 2)
    times = (10.0, 20.0, 45.0) if opts.fast else (TRIGGER, HEALED, END)
    found: dict[str, Any] = {}
    print(f"{'virtual time':<40}{'before':>8}{'during':>8}{'after':>8}{'recovered':>14}{'attempts/call':>15}")
    for name in SHORT if opts.fast else WAYS:
        policies, balancer = WAYS[name]
        tallies = [Storm(policies, balancer, seed, times).run() for seed in range(1, seeds + 1)]
        row = found[name] = summary(tallies, times)
        show(name, row)
    result: dict[str, Any] = {"seeds": seeds, "times": times, "virtual": found}
    if not opts.no_real and not opts.fast:
        from _storm_real import real

        print("on loopback, for real")
        result["real"] = {}
        for name, row in real():
            result["real"][name] = row
            show(name, row)
    harness.finish(opts, result)


def show(name: str, row: dict[str, Any]) -> None:
    recovered = "never" if row["recovered_s"] is None else f"{row['recovered_s']:.0f} s"
    figures = f"{row['before']:>8.2f}{row['during']:>8.2f}{row['after']:>8.2f}"
    print(f"  {name:<38}{figures}{recovered:>14}{row['peak_attempts_per_call']:>15.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

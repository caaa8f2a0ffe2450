"""Draws the pictures of the policy pages, each from the real object under a manual clock: `python docs/pictures.py`.

Plain SVG, so that a picture is text that can be compared; tests/test_docs.py does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from canvas import BLUE, GREEN, GREY, ORANGE, RED, Canvas

from meshlib import Fallback, Hedge, Pipeline, Retry, RetryBudget, Timeout, backoff, collapse
from meshlib.call import Call
from meshlib.events import HedgeSent
from meshlib.testing import ManualClock


def retry() -> str:
    """Between what bounds each backoff draws its waits."""
    recipes: dict[str, tuple[backoff.Waits, str]] = {
        "exponential(0.025, max_delay=0.8)": (backoff.exponential(0.025, max_delay=0.8), GREY),
        "full_jitter(0.025, 0.8)": (backoff.full_jitter(0.025, 0.8), BLUE),
        "equal_jitter(0.025, 0.8)": (backoff.equal_jitter(0.025, 0.8), GREEN),
        "decorrelated_jitter(0.025, 0.8)": (backoff.decorrelated_jitter(0.025, 0.8), ORANGE),
    }
    canvas = Canvas((0.5, 7.5), (0.0, 0.85))
    for place, (name, (recipe, colour)) in enumerate(recipes.items()):
        runs = [recipe(Random(seed).random) for seed in range(400)]
        for number in range(1, 8):
            draws = [next(run) for run in runs]
            x = number - 0.36 + 0.19 * place
            canvas.bar(x, x + 0.14, min(draws), max(draws), colour, opacity=0.35)
            middle = sum(draws) / len(draws)
            canvas.bar(x, x + 0.14, middle, middle, colour)
        canvas.text(0.6, 0.8 - 0.06 * place, name, colour)
    title = "The waits of four backoffs: bounds and mean of 400 calls"
    return canvas.svg(title, "retry number", "seconds", ticks=range(1, 8), rows=(0, 0.2, 0.4, 0.6, 0.8))


def budget() -> str:
    """An outage of twenty seconds under 50 calls/s: what is retried, and what the balance does."""
    budget, balance, sent = RetryBudget(0.2, min_per_second=2.0, ttl=10.0), list[tuple[float, float]](), [0] * 60
    for n in range(60 * 50):
        now = n / 50
        budget.deposit(now)
        if 15 <= now < 35:
            sent[int(now)] += sum(budget.withdraw(now) for _ in range(2))
        if n % 10 == 0:
            balance.append((now, budget.balance(now)))
    canvas = Canvas((0, 60), (0, 130))
    canvas.bar(15, 35, 0, 130, RED, opacity=0.08)
    canvas.text(25, 122, "outage: each call wants two retries", RED, anchor="middle")
    for second, retries in enumerate(sent):
        if retries:
            canvas.bar(second + 0.1, second + 0.9, 0, retries, ORANGE, opacity=0.8)
    canvas.line(balance, BLUE)
    canvas.text(1, 105, "balance", BLUE)
    canvas.text(36, 20, "retries that went out (100 a second were wanted)", ORANGE)
    return canvas.svg("A retry budget in an outage", "seconds", "retries", ticks=range(0, 61, 10), rows=(0, 50, 100))


def timeout() -> str:
    """One call with a total and a limit per try, against a server that hangs."""
    clock, tries = ManualClock(), list[list[float]]()

    async def hang() -> None:
        tries.append([clock.now()])
        try:
            await clock.sleep_async(60.0)
        finally:
            tries[-1].append(clock.now())

    policies = Timeout(1.0, per_try=0.4), Retry(5, on=TimeoutError, backoff=[0.05, 0.1])
    asyncio.run(_ignore(Pipeline(Fallback(None), *policies, runtime=clock)(hang)()))
    canvas = Canvas((0, 1.2), (0, 4), height=200)
    canvas.bar(0, clock.now(), 3.0, 3.4, BLUE, opacity=0.8)
    canvas.text(clock.now() + 0.01, 3.08, f"DeadlineExceeded at {clock.now():g} s", BLUE)
    for number, (start, end) in enumerate(tries):
        canvas.bar(start, end, 1.6 - 0.6 * number, 2.0 - 0.6 * number, ORANGE, opacity=0.8)
        canvas.text(end + 0.01, 1.68 - 0.6 * number, f"try {number + 1}: cut after {end - start:.2g} s", ORANGE)
    canvas.line([(1.0, 0), (1.0, 4)], RED, dash="4 3")
    return canvas.svg("Timeout(1.0, per_try=0.4) over a server that hangs", "seconds", ticks=(0, 0.4, 0.8, 1.0))


def hedge() -> str:
    """Percentiles of 2000 calls to a server with a slow tail, with and without hedging."""

    async def measure(policies: list[Any]) -> list[float]:
        clock, dice, took = ManualClock(), Random(7), list[float]()

        async def server(call: Call) -> None:
            await clock.sleep_async(dice.uniform(0.4, 0.8) if dice.random() < 0.04 else dice.uniform(0.01, 0.05))

        step = Pipeline(*policies, runtime=clock).over_async(server)
        for _ in range(2000):
            start = clock.now()
            await step(Call(None))
            took.append(clock.now() - start)
        return sorted(took[200:])

    hedge, told = Hedge(max_extra_load=0.05), list[Any]()
    hedge.subscribe(told.append)
    canvas = Canvas((90, 100), (0, 0.85))
    for place, (name, policies, colour) in enumerate([("alone", [], GREY), ("hedged", [hedge], BLUE)]):
        took = asyncio.run(measure(policies))
        canvas.line([(p / 10, took[min(int(p / 1000 * len(took)), len(took) - 1)]) for p in range(900, 1001)], colour)
        canvas.text(90.2, 0.75 - 0.07 * place, name, colour)
    after = [event.delay for event in told if isinstance(event, HedgeSent)][-1]
    share = f"{hedge.sent / 20:.1f} % more calls, hedged after {after * 1000:.0f} ms"
    canvas.text(90.2, 0.6, share, BLUE)
    return canvas.svg(
        "Latency percentiles with and without hedging",
        "percentile",
        "seconds",
        ticks=range(90, 101),
        rows=(0, 0.4, 0.8),
    )


def fallback() -> str:
    """What a caller gets before, during and after an outage, with `Fallback("default", stale=10.0)`."""
    clock, down = ManualClock(), False

    def price() -> str:
        if down:
            raise OSError
        return "fresh"

    ask = Pipeline(Fallback(lambda error: "default", stale=10.0), runtime=clock)(price)
    canvas = Canvas((0, 40), (0, 3), height=160)
    last, colours = "", {"fresh": GREEN, "stale": ORANGE, "default": BLUE}
    for second in range(40):
        down = 10 <= second < 30
        got = ask()
        got = "stale" if down and got == "fresh" else got
        canvas.bar(second, second + 0.92, 0.6, 1.4, colours[got], opacity=0.8)
        if got != last:
            canvas.text(second + 0.1, 1.6, {"stale": "the last good answer"}.get(got, f"{got} answers"), colours[got])
        last = got
        clock.advance(1.0)
    canvas.bar(10, 30, 2.2, 2.5, RED, opacity=0.3)
    canvas.text(20, 2.26, "the server is down", RED, anchor="middle")
    return canvas.svg("A fallback through an outage", "seconds", ticks=(0, 10, 20, 30, 40))


def collapsed() -> str:
    """Sixty calls in 100 ms, and the batches that were made of them."""
    clock, dice, batches = ManualClock(), Random(3), list[tuple[float, int]]()

    @collapse(max_batch=8, within=0.01, runtime=clock)
    async def load(ids: list[int]) -> list[int]:
        batches.append((clock.now(), len(ids)))
        return ids

    arrivals = sorted(dice.uniform(0, 0.1) for _ in range(60))

    async def one(at: float, id: int) -> None:
        await clock.sleep_async(at)
        await load(id)

    async def main() -> None:
        await asyncio.gather(*(one(at, id) for id, at in enumerate(arrivals)))

    asyncio.run(main())
    canvas = Canvas((0, 115), (0, 10), height=200)
    for at in arrivals:
        canvas.dot(at * 1000, 9, BLUE)
    for at, size in batches:
        canvas.bar(at * 1000 - 0.4, at * 1000 + 0.4, 0, size, ORANGE, opacity=0.8)
    canvas.text(114, 8.7, "60 calls", BLUE, anchor="end")
    canvas.text(114, 5, f"{len(batches)} batches", ORANGE, anchor="end")
    return canvas.svg(
        "collapse(max_batch=8, within=0.01)", "milliseconds", "items", ticks=range(0, 111, 10), rows=(0, 4, 8)
    )


async def _ignore(work: Any) -> None:
    await work


PICTURES: dict[str, Callable[[], str]] = {
    "retry": retry,
    "budget": budget,
    "timeout": timeout,
    "hedge": hedge,
    "fallback": fallback,
    "collapse": collapsed,
}


def main() -> None:
    folder = Path(__file__).parent / "img"
    folder.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (folder / f"{name}.svg").write_text(draw())


if __name__ == "__main__":
    main()

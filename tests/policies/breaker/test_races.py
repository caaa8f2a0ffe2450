"""Every short history of a hedged call: three attempts, good, bad or final, early or late, against a plain model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from meshlib.call import FATAL, Call, raised
from meshlib.pipeline import Pipeline
from meshlib.policies.retry.hedge import Hedge
from meshlib.runtime import SYSTEM, Runtime
from meshlib.testing import ManualClock

DELAY = 1.0
TIMES = (0.3, 1.4, 2.6, 9.0)
OUTCOMES = ("good", "bad", "fatal")
RequestPlan = tuple[tuple[float, str], ...]


def model(plan: RequestPlan, at_once: bool) -> tuple[str, float, int]:
    """Whose outcome it is, when, and how many attempts were sent."""
    out: dict[int, float] = {0: plan[0][0]}  # attempt → when it ends
    sent, alarm = 1, DELAY
    while True:
        number, now = min(out.items(), key=lambda item: item[1])
        if alarm < now and sent < len(plan):
            out[sent], sent, alarm = alarm + plan[sent][0], sent + 1, alarm + DELAY
            continue
        del out[number]
        kind = plan[number][1]
        if kind != "bad":
            return f"{kind} {number}", now, sent
        if at_once and sent < len(plan):
            out[sent], sent, alarm = now + plan[sent][0], sent + 1, now + DELAY
        if not out:
            return "bad 0", now, sent


class Final(Exception):
    pass


def classify(call: Call, result: object, error: BaseException | None) -> Any:
    return FATAL if isinstance(error, Final) else raised(call, result, error)


async def play(plan: RequestPlan, at_once: bool, clock: Runtime, now: Callable[[], float]) -> tuple[str, float, int]:
    sent, running, start = 0, 0, now()

    async def server(call: Call) -> str:
        nonlocal sent, running
        number, (seconds, kind) = sent, plan[sent]
        sent += 1
        running += 1
        try:
            await clock.sleep_async(seconds)
        finally:
            running -= 1
        if kind == "good":
            return f"good {number}"
        raise (OSError if kind == "bad" else Final)(f"{kind} {number}")

    hedge = Hedge(DELAY, max_hedges=len(plan) - 1, on_failure=at_once, max_extra_load=1.0, min_per_second=100.0)
    try:
        said = await Pipeline(hedge, classify=classify, runtime=clock).over_async(server)(Call("x"))
    except (OSError, Final) as error:
        said = str(error)
    assert running == 0
    return said, round(now() - start, 6), sent


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that jumps to its next timer instead of waiting: for what asks the loop itself for the time."""

    virtual = 0.0

    def time(self) -> float:
        return self.virtual

    def _run_once(self) -> None:
        timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        if timers and not self._ready:  # type: ignore[attr-defined]
            self.virtual = max(self.virtual, min(timers))
        super()._run_once()  # type: ignore[misc]


def plans(first: tuple[float, str], times: tuple[float, ...]) -> Iterator[RequestPlan]:
    for rest in product(product(times, OUTCOMES), repeat=2):
        # A hundredth more for each, so that no two things happen at once.
        yield tuple((seconds + 0.013 * n, kind) for n, (seconds, kind) in enumerate((first, *rest)))


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("first", list(product(TIMES, OUTCOMES)), ids=str)
def test_every_history_ends_as_the_model_says(first: tuple[float, str], at_once: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for plan in plans(first, TIMES):
            said, took, sent = model(plan, at_once)
            assert await play(plan, at_once, SYSTEM, loop.time) == (said, round(took, 6), sent), plan

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


@pytest.mark.anyio
@pytest.mark.parametrize("at_once", [False, True])
async def test_the_two_ways_to_run_a_race_agree(at_once: bool) -> None:
    for first in product((0.3, 1.4, 9.0), OUTCOMES):
        for plan in plans(first, (0.3, 2.6)):
            said, took, sent = model(plan, at_once)
            clock = ManualClock()
            assert await play(plan, at_once, clock, clock.now) == (said, round(took, 6), sent), plan

"""Hedging: when a second attempt goes out, who wins, and that nobody is left running."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine
from math import inf, isnan
from typing import Any

import anyio
import pytest

from meshlib.call import FAILURE, FATAL, Call, Verdict, raised
from meshlib.errors import BulkheadFull
from meshlib.events import Event, HedgeSent, HedgeWon
from meshlib.pipeline import Pipeline
from meshlib.policies.retry.budget import ConcurrencyBudget, RetryBudget
from meshlib.policies.retry.hedge import Hedge
from meshlib.policies.retry.hedge_delay import Percentile
from meshlib.policies.statistics.histogram import Histogram
from meshlib.runtime import SYSTEM, Runtime
from meshlib.testing import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["system", "manual"])
def run(request: pytest.FixtureRequest) -> Runtime:
    """Both ways to run a race: asyncio's own (the system clock on asyncio) and anyio's (all the rest)."""
    return SYSTEM if request.param == "system" else ManualClock()


class Server:
    """Answers attempt n after so many seconds with its answer, an exception being raised.

    The seconds count from when `together` attempts are here, however slow the machine is in bringing them.
    """

    def __init__(self, run: Runtime, *answers: tuple[float, Any], together: int = 0) -> None:
        self.run = run
        self.together = together
        self.here = anyio.Event()
        self.answers = list(answers)
        self.asked = 0
        self.alive = 0
        self.cancelled = 0

    async def __call__(self) -> Any:
        after, answer = self.answers[self.asked]
        self.asked += 1
        self.alive += 1
        try:
            if self.asked == self.together:
                self.here.set()
            if self.together:
                await self.here.wait()
            await self.run.sleep_async(after)
        except BaseException:
            self.cancelled += 1
            raise
        finally:
            self.alive -= 1
        if isinstance(answer, BaseException):
            raise answer
        return answer


def guarded(server: Server, hedge: Hedge) -> Callable[[], Coroutine[Any, Any, Any]]:
    async def ask() -> Any:
        return await server()

    return Pipeline(hedge, runtime=server.run)(ask)


async def test_a_late_answer_is_hedged_and_the_first_good_one_wins(run: Runtime) -> None:
    server = Server(run, (60.0, "slow"), (0.0, "quick"))
    hedge = Hedge(0.01)
    heard: list[Event] = []
    hedge.subscribe(heard.append)
    assert await guarded(server, hedge)() == "quick"
    assert (server.asked, server.cancelled, server.alive) == (2, 1, 0)
    assert [type(event) for event in heard] == [HedgeSent, HedgeWon]
    assert (hedge.sent, hedge.won) == (1, 1)


async def test_an_answer_in_time_is_not_hedged(run: Runtime) -> None:
    server = Server(run, (0.0, "quick"))
    assert await guarded(server, Hedge(5.0))() == "quick"
    assert (server.asked, server.cancelled) == (1, 0)


async def test_the_first_attempt_may_still_win(run: Runtime) -> None:
    server = Server(run, (0.05, "first"), (60.0, "second"), together=2)
    assert await guarded(server, Hedge(0.01))() == "first"
    assert (server.asked, server.cancelled, server.alive) == (2, 1, 0)


async def test_a_failure_before_the_delay_is_not_hedged(run: Runtime) -> None:
    server = Server(run, (0.0, OSError("refused")))
    with pytest.raises(OSError, match="refused"):
        await guarded(server, Hedge(5.0))()
    assert server.asked == 1


async def test_a_failure_waits_for_the_attempt_that_is_still_out(run: Runtime) -> None:
    server = Server(run, (0.0, OSError("broken")), (0.05, "second"), together=2)
    assert await guarded(server, Hedge(0.01))() == "second"


async def test_if_all_fail_the_outcome_is_that_of_the_first(run: Runtime) -> None:
    server = Server(run, (0.05, OSError("first")), (0.0, OSError("second")), together=2)
    with pytest.raises(OSError, match="first"):
        await guarded(server, Hedge(0.01))()
    assert server.alive == 0


@pytest.mark.parametrize("last", [0, 1])
async def test_if_all_fail_the_outcome_may_be_that_of_the_last_to_end(run: Runtime, last: int) -> None:
    begun, gone = itertools.count(), [anyio.Event(), anyio.Event()]
    both = anyio.Event()

    async def work() -> None:
        number = next(begun)
        try:
            if number == 1:
                both.set()
            await both.wait()
            if number == last:
                await gone[1 - number].wait()
                for _ in range(9):
                    await anyio.sleep(0)
            raise OSError(f"attempt {number}")
        finally:
            gone[number].set()

    with pytest.raises(OSError, match=f"attempt {last}"):
        await Pipeline(Hedge(0.001, last_failure=True), runtime=run)(work)()


async def test_a_bad_last_answer_is_given_and_the_ones_before_are_discarded() -> None:
    clock, thrown = ManualClock(), list[Any]()
    server = Server(clock, (5.0, "one"), (1.0, "two"), (9.0, "three"))
    hedge = Hedge(1.0, max_hedges=2, last_failure=True, discard=thrown.append)
    call = Pipeline(hedge, runtime=clock, classify=lambda *_: FAILURE)(server.__call__)
    assert await call() == "three"
    assert thrown == ["two", "one"]


async def test_each_extra_attempt_has_its_own_delay() -> None:
    clock, begun = ManualClock(), list[float]()

    async def work() -> str:
        begun.append(clock.now())
        await clock.sleep_async(60.0)
        return "done"

    hedge = Hedge({1: 1.0, 2: 3.0, 3: inf}.__getitem__, max_hedges=4)
    assert await Pipeline(hedge, runtime=clock)(work)() == "done"
    assert begun == [0.0, 1.0, 4.0]
    assert hedge.hedge_after(0.0, 2) == 3.0


async def test_a_delay_without_sense_ends_the_race_with_its_error(run: Runtime) -> None:
    server = Server(run, (0.1, "slow"), (0.1, "slow"))
    with pytest.raises(ValueError, match=r"delay\(2\)=-1"):
        await guarded(server, Hedge(lambda extra: 0.0 if extra == 1 else -1, max_hedges=2))()
    assert server.alive == 0


async def test_a_refused_hedge_does_not_end_the_first_attempt(run: Runtime) -> None:
    server = Server(run, (0.05, "first"), (0.0, BulkheadFull("users")), together=2)
    assert await guarded(server, Hedge(0.01))() == "first"


async def test_a_failure_is_followed_at_once_in_fallback_mode(run: Runtime) -> None:
    server = Server(run, (0.0, OSError("first")), (0.0, "second"))
    assert await guarded(server, Hedge(inf, on_failure=True))() == "second"


async def test_no_more_than_the_extras_are_sent(run: Runtime) -> None:
    server = Server(run, (0.0, 0), *[(60.0, n) for n in range(1, 9)], together=4)
    assert await guarded(server, Hedge(0.01, max_hedges=3))() == 0
    assert (server.asked, server.cancelled, server.alive) == (4, 3, 0)


async def test_cancelling_the_caller_leaves_no_attempt_alive(run: Runtime) -> None:
    server = Server(run, (60.0, 1), (60.0, 2))
    budget = ConcurrencyBudget()
    ask = guarded(server, Hedge(0.01, budget=budget))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            while server.asked < 2:
                await anyio.sleep(0)
            scope.cancel()
    assert (server.alive, server.cancelled, budget.retries) == (0, 2, 0)


async def test_an_empty_budget_suppresses_the_hedge(run: Runtime) -> None:
    for hedge in (
        Hedge(0.01, max_extra_load=0.0, min_per_second=0.0),
        Hedge(0.01, budget=RetryBudget(0.0, min_per_second=0.0)),
    ):
        server = Server(run, (0.05, "first"))
        assert await guarded(server, hedge)() == "first"
        assert (server.asked, hedge.sent) == (1, 0)


async def test_a_hedge_pays_into_its_own_budget_and_from_both() -> None:
    clock = ManualClock()
    own = RetryBudget(0.2, min_per_second=10.0)
    hedge = Hedge(1.0, max_extra_load=0.5, min_per_second=0.0, budget=own)
    quick = guarded(Server(clock, *[(0.0, "quick")] * 4), hedge)
    for _ in range(4):
        await quick()
    assert (hedge.load.balance(clock.now()), own.balance(clock.now())) == (2, 100)
    await guarded(Server(clock, (9.0, "slow"), (0.0, "quick")), hedge)()
    assert (hedge.load.balance(clock.now()), own.balance(clock.now())) == (1, 99)


async def test_what_may_not_be_sent_twice_is_not_hedged() -> None:
    clock = ManualClock()
    server = Server(clock, (60.0, "only"))
    step = Pipeline(Hedge(0.01), runtime=clock).over_async(lambda call: server())
    assert await step(Call("POST", replayable=False)) == "only"
    assert server.asked == 1


async def test_a_final_failure_wins() -> None:
    clock = ManualClock()
    server = Server(clock, (60.0, "slow"), (0.0, LookupError("no such user")))

    async def ask() -> Any:
        return await server()

    pipeline = Pipeline(
        Hedge(0.01),
        runtime=clock,
        classify=lambda call, result, error: FATAL if isinstance(error, LookupError) else raised(call, result, error),
    )
    with pytest.raises(LookupError):
        await pipeline(ask)()
    assert server.alive == 0


class Stubborn(Server):
    """Answers all the same when it is cancelled."""

    async def __call__(self) -> Any:
        try:
            return await super().__call__()
        except anyio.get_cancelled_exc_class():
            return "late"


async def test_a_good_answer_that_comes_too_late_is_discarded(run: Runtime) -> None:
    thrown: list[Any] = []

    async def close(result: Any) -> None:
        thrown.append(result)

    server = Stubborn(run, (60.0, "late"), (0.0, "quick"))
    assert await guarded(server, Hedge(0.01, discard=close))() == "quick"
    assert thrown == ["late"]
    assert server.alive == 0


async def test_cancelled_while_the_late_are_discarded_the_winner_is_discarded_too(run: Runtime) -> None:
    begun: list[Any] = []

    async def close(result: Any) -> None:
        begun.append(result)
        if result == "late":
            scope.cancel()
            await anyio.sleep(0)

    server = Stubborn(run, (60.0, "late"), (60.0, "late"), (0.0, "quick"))
    with anyio.CancelScope() as scope:
        await guarded(server, Hedge(0.01, max_hedges=2, max_extra_load=1.0, discard=close))()
    assert scope.cancelled_caught
    assert begun == ["late", "late", "quick"]
    assert server.alive == 0


def test_a_sync_function_cannot_be_hedged() -> None:
    with pytest.raises(TypeError, match="sync call cannot be hedged"):
        Pipeline(Hedge())(lambda: 1)


def estimated(load: float, *latencies: float) -> float:
    hedge = Hedge(max_extra_load=load)
    assert hedge.hedge_after(0.0) == inf
    for seconds in latencies:
        hedge.record(seconds, 1.0)
    assert hedge.hedge_after(2.9) == inf
    return hedge.hedge_after(3.0)


def test_the_estimate_and_its_refresh_are_settings_of_the_percentile() -> None:
    hedge = Hedge(max_extra_load=0.5, percentile=Percentile(window=3.0, refresh=1.0, minimum_calls=1))
    assert hedge.hedge_after(0.0) == inf
    hedge.record(0.2, 0.0)
    assert hedge.hedge_after(1.0) == 0.2
    assert hedge.hedge_after(4.0) == inf, "the window has passed"


def test_the_delay_is_estimated_as_in_finagle() -> None:
    mostly_quick = [0.05] * 90 + [0.1] * 10
    assert estimated(0.01, *mostly_quick) == 0.1
    assert estimated(0.1, *mostly_quick) == 0.05
    assert estimated(0.1, *[0.001] * 8, *[0.01] * 2) == 0.01  # tower's test: p90 of eight 1 ms and two 10 ms
    assert estimated(0.05, *[0.0002] * 50) == 0.001, "at least the minimum"
    assert estimated(0.05, *[5.0] * 50) == inf, "too slow to be worth it"
    assert estimated(0.05, *[0.05] * 9) == inf, "too few calls"


async def test_a_failure_is_not_counted_into_the_latency() -> None:
    clock = ManualClock()
    hedge = Hedge(max_extra_load=0.5, percentile=Percentile(minimum_calls=1))
    answers = [(0.1, "good")] * 5 + [(0.001, "bad")] * 20
    ask = Server(clock, *answers)

    def classify(call: Call, result: object, error: BaseException | None) -> Verdict:
        return Verdict.FAILURE if result == "bad" else Verdict.SUCCESS

    call = Pipeline(hedge, runtime=clock, classify=classify)(ask.__call__)
    for _ in answers:
        await call()
    clock.advance(3.0)
    assert hedge.hedge_after(clock.now()) == pytest.approx(0.1)


def test_old_latencies_are_forgotten() -> None:
    histogram = Histogram()
    for second in range(60):
        histogram.record(1.0 if second < 30 else 0.1, float(second))
    assert histogram.quantile(1.0, 59.0) == 0.1
    assert isnan(histogram.quantile(1.0, 500.0))


@pytest.mark.parametrize(
    "options",
    [
        {"delay": -1.0},
        {"delay": float("nan")},
        {"percentile": 1.5},
        {"delay": 1.0, "percentile": 0.9},
        {"max_extra_load": 1.1},
        {"max_hedges": 0},
    ],
)
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Hedge(**options)


async def test_a_classifier_that_raises_ends_the_race_with_its_error(run: Runtime) -> None:
    def broken(call: Call, result: object, error: BaseException | None) -> Verdict:
        raise LookupError("the judge")

    server = Server(run, (60.0, OSError()), (0.0, "quick"))

    async def ask() -> Any:
        return await server()

    gone: list[Any] = []
    with anyio.fail_after(5.0), pytest.raises(LookupError, match="the judge"):
        await Pipeline(Hedge(0.01, discard=gone.append), classify=broken, runtime=run)(ask)()
    assert server.alive == 0
    assert gone == ["quick"], "an answer that nobody gets is thrown away"


async def test_a_budget_that_raises_ends_the_race_with_its_error(run: Runtime) -> None:
    class Broken(ConcurrencyBudget):
        def withdraw(self, now: float) -> bool:
            raise LookupError("the budget")

    server = Server(run, (60.0, OSError()))
    with anyio.fail_after(5.0), pytest.raises(LookupError, match="the budget"):
        await guarded(server, Hedge(0.01, budget=Broken()))()
    assert server.alive == 0


async def test_a_bad_answer_of_the_first_attempt_is_discarded_when_another_wins(run: Runtime) -> None:
    def make_classifier(call: Call, result: object, error: BaseException | None) -> Verdict:
        return FAILURE if result == "503" else raised(call, result, error)

    server = Server(run, (0.0, "503"), (0.05, "good"), together=2)

    async def ask() -> Any:
        return await server()

    gone: list[Any] = []
    assert await Pipeline(Hedge(0.01, discard=gone.append), classify=make_classifier, runtime=run)(ask)() == "good"
    assert gone == ["503"]

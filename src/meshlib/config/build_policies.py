"""Policy builder: from the models of policies to the policies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from ..pipeline import Pipeline
from ..policies.breaker.circuit_breaker import CircuitBreaker, Cooldown, Probes
from ..policies.breaker.trip_arguments import choose_trip
from ..policies.concurrency.adaptive_limit import AdaptiveLimit
from ..policies.concurrency.bulkhead import Bulkhead
from ..policies.concurrency.limit_algorithms import AIMD, Gradient2, Limit, Vegas
from ..policies.deadline.timeout import Timeout
from ..policies.rate.rate_limit import RateLimit
from ..policies.retry.backoff import decorrelated_jitter
from ..policies.retry.budget import RetryBudget
from ..policies.retry.hedge import Hedge
from ..policies.retry.retry import Retry
from ..policies.shell.gate import Gate
from ..policies.throttle.throttle import SreThrottle, Throttle
from ..runtime import Runtime
from .models import PipelineModel
from .policy_models import AdaptiveLimitModel, BreakerModel, ThrottleModel


def _plain(kind: Callable[..., Gate]) -> Callable[[Any, str, Runtime], Gate]:
    """A gate whose constructor takes the very fields of its model."""
    return lambda model, name, runtime: kind(name=name, runtime=runtime, **model.model_dump())


def _breaker(model: BreakerModel, name: str, runtime: Runtime) -> Gate:
    pause = model.cooldown.model_dump()
    return CircuitBreaker(
        name=name,
        trip=choose_trip(**model.model_dump(exclude={"cooldown", "probes"})),
        cooldown=Cooldown(**pause | {"max_cooldown": max(pause["seconds"], pause["max_cooldown"])}),
        probes=Probes(**model.probes.model_dump()),
        runtime=runtime,
    )


def _throttle(model: ThrottleModel, name: str, runtime: Runtime) -> Gate:
    shedding = SreThrottle(k=model.k, window=model.window, minimum_calls=model.minimum_calls)
    return Throttle(shedding, name=name, runtime=runtime)


def _adaptive(model: AdaptiveLimitModel, name: str, runtime: Runtime) -> Gate:
    limit: Limit
    most = model.max_limit
    initial, least = min(model.initial, most), min(model.min_limit, most)
    if model.by == "vegas":
        limit = Vegas(initial=initial, max_limit=most, random=runtime.random)
    elif model.by == "aimd":
        limit = AIMD(initial=initial, min_limit=least, max_limit=most)
    else:
        limit = Gradient2(initial=initial, min_limit=least, max_limit=most, short_window=30)
    return AdaptiveLimit(limit, max_queue=model.max_queue, max_wait=model.max_wait, name=name, runtime=runtime)


# In the order in which they stand, outermost first: what refuses for nothing comes before what takes a slot.
GATES: dict[str, Callable[[Any, str, Runtime], Gate]] = {
    "breaker": _breaker,
    "throttle": _throttle,
    "rate_limit": _plain(RateLimit),
    "adaptive_limit": _adaptive,
    "bulkhead": _plain(Bulkhead),
}


Made: TypeAlias = dict[str, tuple[Any, Gate]]
"""The gates of one name: by field, with the settings that each was made from."""


def gates(model: Any, name: str, runtime: Runtime, before: Made, wrong: Callable[[str, str], Exception]) -> Made:
    """The gates that `model` asks for; those of `before` whose settings stay are the same objects.

    `wrong(field, why)` makes the error for what only a constructor sees.
    """
    made: Made = {}
    for field, make in GATES.items():
        settings = getattr(model, field)
        if settings is None:
            continue
        kept = before.get(field)
        if kept is not None and kept[0] == settings:
            made[field] = kept
            continue
        try:
            made[field] = settings, make(settings, name, runtime)
        except ValueError as error:
            raise wrong(field, str(error)) from None
    return made


def function_pipeline(
    name: str, model: PipelineModel, guards: Iterable[Gate], budget: RetryBudget, runtime: Runtime
) -> Pipeline:
    """The pipeline of a function under `@resilient(name)`."""
    loops: list[Any] = []
    if model.timeout is not None or model.per_try_timeout is not None:
        loops.append(Timeout(model.timeout, per_try=model.per_try_timeout, name=name, runtime=runtime))
    retry = model.retry
    if retry is not None and retry.attempts > 1:
        waits = decorrelated_jitter(retry.backoff, max(retry.backoff, retry.max_backoff)) if retry.backoff else 0.0
        loops.append(
            Retry(
                retry.attempts,
                on=Exception,  # `retry:` in the file is the choice: a file cannot name the exceptions of a function
                backoff=waits,
                budget=budget,
                max_retry_after=retry.max_retry_after,
                name=name,
                runtime=runtime,
            )
        )
    if model.hedge is not None:
        loops.append(Hedge(**model.hedge.model_dump(), budget=budget, name=name, runtime=runtime))
    return Pipeline(*loops, *guards, runtime=runtime)

"""The policies of a service, as HTTP wants them: how long, how often, and what is thrown away between attempts."""

from __future__ import annotations

from typing import Any

from ...call import Call
from ...pipeline import Pipeline
from ...policies.concurrency.cluster_limits import ClusterLimits
from ...policies.deadline.timeout import Timeout
from ...policies.retry.backoff import decorrelated_jitter
from ...policies.retry.budget import RetryBudget
from ...policies.retry.hedge import Hedge
from ...policies.retry.retry import Retry
from ...policies.retry.retry_hooks import RetryHooks
from ...runtime import Runtime
from .classify import classifier
from .retry_after import response_retry_after
from .stream_lease import AsyncGuarded


def service_pipeline(
    name: str,
    runtime: Runtime,
    *,
    timeout: float | None = None,
    per_try_timeout: float | None = None,
    attempts: int = 3,
    budget: RetryBudget | None = None,
    backoff: float = 0.005,
    max_backoff: float = 0.2,
    max_retry_after: float = 10.0,
    rejections: bool = False,
    hedge: dict[str, Any] | None = None,
) -> Pipeline:
    """Total deadline, then retries under one budget, then the limit per try, then hedges; all times in seconds.

    `rejections`: try again at once when a cluster refuses, because routing may choose another.
    """
    policies: list[Any] = []
    if timeout is not None or per_try_timeout is not None:
        policies.append(Timeout(timeout, per_try=per_try_timeout, name=name, runtime=runtime))
    if attempts > 1:
        policies.append(
            Retry(
                attempts,
                on=Exception,  # for functions under `@resilient`; for requests, the classifier narrows it
                backoff=decorrelated_jitter(backoff, max(backoff, max_backoff)) if backoff else 0.0,
                budget=budget,
                max_retry_after=max_retry_after,
                rejections=rejections,
                hooks=RetryHooks(retry_after=response_retry_after, discard=_close, limits=_limits),
                name=name,
                runtime=runtime,
            )
        )
    if hedge is not None:
        policies.append(Hedge(**hedge, budget=budget, discard=_close, name=name, runtime=runtime))
    return Pipeline(*policies, classify=classifier(runtime.now), runtime=runtime)


def unhedged(pipeline: Pipeline) -> Pipeline:
    """The same for threads: a sync attempt that lost could not be cancelled, so there is only ever one."""
    kept = [policy for policy in pipeline.policies if not isinstance(policy, Hedge)]
    if len(kept) == len(pipeline.policies):
        return pipeline
    return Pipeline(*kept, classify=pipeline.classify, runtime=pipeline.runtime)


def _limits(call: Call) -> ClusterLimits | None:
    """The limits of the cluster that the newest attempt went to. A function under `@resilient` has none."""
    attempt = getattr(call.what, "newest", None)
    return None if attempt is None else attempt.cluster.limits


def _close(response: Any) -> Any:
    """The answer of an attempt that is repeated. A streamed one is still open; a plain one was read."""
    if response.is_closed:
        return None
    return response.aclose() if isinstance(response.stream, AsyncGuarded) else response.close()

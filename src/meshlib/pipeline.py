"""Pipeline: many policies around one callable, turned once into nested closures. The first argument is the outermost.

The recommended order, outermost first (four tiers, see the docs):

    RequestCache, SingleFlight, Fallback, Timeout, Retry, Hedge      service: once per logical call
    CircuitBreaker, throttle, rate limit, AdaptiveLimit, Bulkhead    cluster: once per attempt
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import inf
from typing import ParamSpec, Protocol, TypeVar

from .call import AsyncStep, Classifier, R, Step, raised
from .policies.deadline.deadline_timer import bounded, bounded_async, within, within_async
from .policies.deadline.timeout import Timeout
from .policies.shell.call_policy import CallPolicy, check_repeatable, pack
from .policies.shell.gate import Gate
from .policies.shell.gate_wrappers import wrap_function
from .policies.shell.policy_order import order_problem
from .runtime import SYSTEM, Runtime

P = ParamSpec("P")
T = TypeVar("T")
_TIERS = ("service", "binding", "cluster", "endpoint")


class PolicyOrderWarning(UserWarning):
    """An order of policies that is legal and defeats one of them."""


class Policy(Protocol):
    """What a policy of your own needs. `tier` is optional: service, binding, cluster or endpoint."""

    name: str

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]: ...
    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]: ...


class Pipeline:
    """Policies around a call, outermost first. Use it as a decorator, or over a step that takes a `Call`.

    `classify` is the classifier of outcomes for each policy that has none of its own. A pipeline has no state: its
    policies have it, and they may be part of other pipelines too. Raises ValueError for an order that cannot work, and
    warns with `PolicyOrderWarning` of one that works and defeats a policy.
    """

    def __init__(self, *policies: Policy, classify: Classifier = raised, runtime: Runtime = SYSTEM) -> None:
        for policy in policies:
            if isinstance(policy, type) or not (hasattr(policy, "wrap") and hasattr(policy, "wrap_async")):
                raise ValueError(f"{policy!r}: expected a policy, with `wrap` and `wrap_async`")
        _check_order(policies)
        self.policies = policies
        self.classify = classify
        self.runtime = runtime

    def over(self, step: Step[R]) -> Step[R]:
        """`step` behind all policies. Made once, called often."""
        run, limits = self.runtime, _per_try_limits(self.policies)
        for policy in reversed(self.policies):
            for limit in limits.get(id(policy), ()):
                step = within(step, run, limit.per_try or inf, limit.name)
            step = policy.wrap(step, run, self.classify)
        return step if self.policies and isinstance(self.policies[0], Timeout) else bounded(step, run)

    def over_async(self, step: AsyncStep[R], *, keeps_deadline: bool = False, timer: bool = True) -> AsyncStep[R]:
        """`step` behind all policies. Made once, called often.

        With `keeps_deadline` the step ends by `call.deadline` itself, so a limit per try needs no timer. The limit of
        the whole call has one all the same, unless `timer` is False: then the caller ensures that no policy in between
        waits longer.
        """
        run, limits = self.runtime, _per_try_limits(self.policies)
        for at, policy in reversed(list(enumerate(self.policies))):
            for limit in limits.get(id(policy), ()):
                step = within_async(
                    step, run, limit.per_try or inf, limit.name, outermost=False, cancels=not keeps_deadline
                )
            if isinstance(policy, Timeout):
                step = within_async(step, run, policy.seconds, policy.name, outermost=at == 0, cancels=timer)
            else:
                step = policy.wrap_async(step, run, self.classify)
        return (
            step if self.policies and isinstance(self.policies[0], Timeout) else bounded_async(step, run, timer=timer)
        )

    def __call__(self, fn: Callable[P, T]) -> Callable[P, T]:
        """Guard a function; async stays async. Gates alone can guard generators too; other policies raise TypeError."""
        at = next((at for at, policy in enumerate(self.policies) if isinstance(policy, Gate)), len(self.policies))
        outer, gates = self.policies[:at], self.policies[at:]
        plain = [gate for gate in gates if isinstance(gate, Gate) and not gate.asks_call]
        short = [policy for policy in outer if isinstance(policy, CallPolicy) and policy.short(self.classify)]
        if len(plain) < len(gates) or len(short) < len(outer):
            return pack(fn, self.over, self.over_async)
        # Each in the form that it has by itself, around the next: then no `Call` is made before a failure.
        if outer:
            check_repeatable(fn)
        for gate in reversed(plain):
            fn = wrap_function(fn, gate, self.runtime, gate.classify or self.classify)
        for policy in reversed(short):
            fn = policy.guard(fn, self.runtime, self.classify, inner=policy is not outer[0])
        return fn

    def __repr__(self) -> str:
        return f"Pipeline({', '.join(f'{type(policy).__name__}({policy.name!r})' for policy in self.policies)})"


def _per_try_limits(policies: tuple[Policy, ...]) -> dict[int, list[Timeout]]:
    """The limits per try inside each policy: of the innermost one that calls again, or of the Timeout itself."""
    limits: dict[int, list[Timeout]] = {}
    for at, policy in enumerate(policies):
        if isinstance(policy, Timeout) and policy.per_try is not None:
            inner = [other for other in policies[at:] if getattr(other, "repeats", False)]
            limits.setdefault(id(inner[-1] if inner else policy), []).append(policy)
    return limits


def _check_order(policies: tuple[Policy, ...]) -> None:
    tiers = [_TIERS.index(getattr(policy, "tier", "service")) for policy in policies]
    for at, policy in enumerate(policies):
        inner = policies[at + 1 :]
        if any(other is policy for other in inner):
            raise ValueError(f"{policy.name!r} is in the pipeline twice: it would count each call twice")
        for other, tier in zip(inner, tiers[at + 1 :], strict=True):
            # A cluster gate outside a retry counts logical calls: allowed. Binding and endpoint have one position each.
            if tier < tiers[at] and (tier, tiers[at]) != (0, 2):
                outside, inside = f"{policy.name!r} ({_TIERS[tiers[at]]})", f"{other.name!r} ({_TIERS[tier]})"
                raise ValueError(f"{outside} cannot be outside {inside}: expected the tiers in the order {_TIERS}")
            defeat = order_problem(policy, other)
            if defeat:
                warnings.warn(f"{policy.name!r} outside {other.name!r}: {defeat}", PolicyOrderWarning, stacklevel=3)

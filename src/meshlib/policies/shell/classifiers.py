"""What counts as a failure: turns exception types and predicates into one `Classifier`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ...call import FAILURE, IGNORED, SUCCESS, Call, Classifier, Verdict, raised
from . import checks

Errors: TypeAlias = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


def make_classifier(
    classify: Classifier | None = None,
    *,
    failures: Errors | None = None,
    ignore: Errors | None = None,
    failure_result: Callable[[object], bool] | None = None,
) -> Classifier | None:
    """One classifier from the three usual questions, or `classify` itself, or None when nothing was given.

    `ignore` is asked first: what it claims is no evidence at all. An exception that `failures` does not claim is
    an answer like any other, hence a success. `failure_result` may turn a returned value into a failure.
    Refusals of our own and cancellations stay ignored, whatever is said here (see `meshlib.call.raised`).
    Raises ValueError for both kinds at once, and for what is neither.
    """
    asked = failures is not None or ignore is not None or failure_result is not None
    if classify is not None and (asked or not callable(classify)):
        raise ValueError(
            f"classify={classify!r}: expected a function, and no failures, ignore or failure_result beside"
        )
    checks.function("failure_result", failure_result, "the result")
    if classify is not None:
        return classify
    if not asked:
        return None
    is_failure = _predicate("failures", failures) if failures is not None else None
    is_ignored = _predicate("ignore", ignore) if ignore is not None else None

    def judged(call: Call, result: object, error: BaseException | None) -> Verdict:
        if error is None:
            return FAILURE if failure_result is not None and failure_result(result) else SUCCESS
        verdict = raised(call, result, error)
        if verdict is IGNORED or (is_ignored is not None and is_ignored(error)):
            return IGNORED
        return verdict if is_failure is None or is_failure(error) else SUCCESS

    if failure_result is None:
        judged.trusts_results = True  # type: ignore[attr-defined]  # so the shells need not ask it after a success
    return judged


def _predicate(field: str, errors: Errors) -> Callable[[BaseException], bool]:
    if isinstance(errors, type):
        errors = (errors,)
    if isinstance(errors, tuple):
        for kind in errors:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise ValueError(f"{field}={errors!r}: expected exception types, found {kind!r}")
        kinds = errors
        return lambda error: isinstance(error, kinds)
    return checks.function(field, errors, "the error, or exception types")

"""Classifiers: which outcomes count as failures, from exception types and predicates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ...call import FAILURE, IGNORED, SUCCESS, Call, Classifier, Verdict, raised
from . import checks

Errors: TypeAlias = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


def make_classifier(
    *,
    on: Errors | None = None,
    ignore: Errors | None = None,
    on_result: Callable[[object], bool] | None = None,
    classify: Classifier | None = None,
) -> Classifier | None:
    """One classifier from the three usual questions, or `classify` itself, or None when nothing was given.

    `ignore` is asked first: what it claims is no evidence. An exception that `on` does not claim is an answer like any
    other, hence a success. `on_result` turns the results that it claims into failures. Rejections by a policy and
    cancellations are always ignored (see `meshlib.call.raised`). Raises ValueError for `classify` beside the others,
    and for what is neither an exception type nor a function.
    """
    asked = on is not None or ignore is not None or on_result is not None
    if classify is not None and (asked or not callable(classify)):
        raise checks.refused("classify", classify, "a function, without on, ignore or on_result")
    checks.function("on_result", on_result, "the result")
    if classify is not None:
        return classify
    if not asked:
        return None
    is_failure = None if on is None else error_predicate("on", on)
    is_ignored = None if ignore is None else error_predicate("ignore", ignore)

    def classified(call: Call, result: object, error: BaseException | None) -> Verdict:
        if error is None:
            return FAILURE if on_result is not None and on_result(result) else SUCCESS
        verdict = raised(call, result, error)
        if verdict is IGNORED or (is_ignored is not None and is_ignored(error)):
            return IGNORED
        return verdict if is_failure is None or is_failure(error) else SUCCESS

    if on_result is None:
        classified.trusts_results = True  # type: ignore[attr-defined]  # so the shells skip it after a success
    return classified


def error_predicate(field: str, errors: Errors) -> Callable[[BaseException], bool]:
    """Whether `errors` (exception types, or a predicate) claims an exception. Raises ValueError."""
    if isinstance(errors, type):
        errors = (errors,)
    if isinstance(errors, tuple):
        for kind in errors:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise checks.refused(field, errors, f"exception types, found {kind!r}")
        kinds = errors
        return lambda error: isinstance(error, kinds)
    return checks.function(field, errors, "the error, or exception types")

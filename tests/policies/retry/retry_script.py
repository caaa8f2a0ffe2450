"""A scripted step, and a retry over it under a manual clock."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.call import Call
from meshlib.pipeline import Pipeline
from meshlib.policies.retry.retry import Retry
from meshlib.testing import ManualClock


class Script:
    """Answers in turn; exceptions are raised, the last one is repeated."""

    def __init__(self, *answers: Any) -> None:
        self.answers = answers
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        if isinstance(answer, BaseException):
            raise answer
        return answer


def notes(error: pytest.ExceptionInfo[BaseException]) -> list[str]:
    return getattr(error.value, "__notes__", [])


def run(policy: Retry, script: Script, clock: ManualClock, **pipeline: Any) -> Any:
    return Pipeline(policy, runtime=clock, **pipeline).over(script)(Call("request"))

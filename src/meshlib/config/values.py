"""Values: times ("250ms", "2s", "1m30s") and shares ("20%") as people write them; numbers are seconds and ratios."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Model(BaseModel):
    """Unknown keys are errors: a typing mistake must not switch a policy off."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True, strict=False)


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_part = re.compile(r" *(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)").match
DURATION = r"^( *[0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d))+ *$"  # what `read_duration` reads, for the JSON Schema
RATIO = r"^ *[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+) *%? *$"  # the same for `read_ratio`


def read_duration(value: Any) -> Any:
    """Seconds as a float, from a number of seconds or a text such as "1m30s"."""
    if isinstance(value, bool):
        raise ValueError("expected a time, such as 250ms, 2s or 1m30s")
    if not isinstance(value, str):
        return value
    text = value.strip()
    found: list[float] = []
    at = 0
    while at < len(text) or not found:
        part = _part(text, at)
        if part is None:
            raise ValueError("expected a time, such as 250ms, 2s or 1m30s")
        found.append(float(part[1]) * _UNITS[part[2]])
        at = part.end()
    return sum(found)


def read_ratio(value: Any) -> Any:
    """A share between 0 and 1, from a number or a text such as "20%"."""
    if isinstance(value, bool):
        raise ValueError("expected a share, such as 0.2 or 20%")
    if not isinstance(value, str):
        return value
    try:
        text = value.strip()
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError("expected a share, such as 0.2 or 20%") from None


Seconds: TypeAlias = Annotated[float, BeforeValidator(read_duration)]
Ratio: TypeAlias = Annotated[float, BeforeValidator(read_ratio)]

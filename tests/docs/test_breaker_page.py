"""The page about the breaker: its examples run and print what they say, and its picture is of the breaker as it is."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"


def test_the_examples_run_in_order_and_print_what_they_say() -> None:
    page = (DOCS / "policies" / "circuit-breaker.md").read_text()
    world: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(block, "circuit-breaker.md", "exec"), world)
        said = re.findall(r"# prints: (.*)", block)
        for line, twice in re.findall(r"print\(.*\)  # (.*?)(  \(twice\))?$", block, re.MULTILINE):
            said += [line] * (2 if twice else 1)
        assert out.getvalue().splitlines() == said


def test_the_picture_is_of_the_breaker_as_it_is() -> None:
    drawn = runpy.run_path(str(DOCS / "pictures_breaker.py"))
    assert drawn["draw"]() == drawn["FILE"].read_text(), "run docs/pictures_breaker.py"


def test_the_table_of_defaults_is_that_of_the_constructor() -> None:
    import inspect

    from meshlib import CircuitBreaker, Cooldown

    defaults = {name: p.default for name, p in inspect.signature(CircuitBreaker).parameters.items()}
    page = (DOCS / "policies" / "circuit-breaker.md").read_text()
    for name in defaults:
        if name not in ("name", "trip", "runtime"):
            assert f"`{name}" in page or f"{name}=" in page, f"{name} is not on the page"
    assert (defaults["minimum_calls"], defaults["cooldown"], Cooldown(1.0).max_cooldown) == (20, 30.0, 300.0)

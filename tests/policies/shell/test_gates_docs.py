"""The pages on gates: their examples run and print what they say, and their pictures are what the objects draw."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[3] / "docs"
PAGES = ["bulkhead", "adaptive-limit", "rate-limit", "quota", "throttle", "fail-fast", "cluster-limits", "accrual"]


def examples(page: str) -> str:
    """All examples of a page, as one program."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / "policies" / f"{page}.md").read_text(), re.DOTALL))


def run(page: str, capsys: pytest.CaptureFixture[str], port: int = 6379) -> None:
    program = examples(page).replace("port=6379", f"port={port}")
    promised = re.findall(r"\)  # (.+)$", "\n".join(re.findall(r"^ *print.*$", program, re.MULTILINE)), re.MULTILINE)
    exec(compile(program, f"{page}.md", "exec"), {"__name__": page})
    assert promised
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in promised if line not in printed] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != "quota"])
def test_the_examples_print_what_they_say(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(page, capsys)


@pytest.mark.needs("redis-server")
def test_the_example_of_the_quota_prints_what_it_says(redis_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    run("quota", capsys, redis_port)


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(DOCS))
    import pictures_gates  # type: ignore[import-not-found]

    yield pictures_gates.PICTURES
    for name in ("pictures_gates", "canvas"):
        sys.modules.pop(name, None)


def test_the_pictures_are_what_the_objects_draw(pictures: Any) -> None:
    for name, draw in pictures.items():
        assert (DOCS / "img" / f"{name}.svg").read_text() == draw(), f"run docs/pictures_gates.py: {name} has changed"


def test_each_picture_is_on_a_page(pictures: Any) -> None:
    pages = "".join((DOCS / "policies" / f"{page}.md").read_text() for page in PAGES)
    assert [name for name in pictures if f"img/{name}.svg" not in pages] == []

"""What is public is written down: in a snapshot that a change of the API changes, and in the reference."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).with_name("public_api.txt")
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("public_api", ROOT / "tools" / "public_api.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["public_api"] = module
    spec.loader.exec_module(module)
    return module


def test_the_api_is_that_of_the_snapshot(tool: ModuleType) -> None:
    known, found = SNAPSHOT.read_text(encoding="utf-8").splitlines(), tool.text().splitlines()
    gone = [f"- {line}" for line in known if line not in set(found)]
    new = [f"+ {line}" for line in found if line not in set(known)]
    assert not gone + new, "the public API changed; if that is meant: python tools/public_api.py --write\n" + "\n".join(
        gone + new
    )


def test_every_public_name_is_in_the_reference(tool: ModuleType) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    shown = set(re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE))
    whole = {name for name in tool.MODULES if name in shown}  # `::: meshlib.events` shows all of it
    missing = []
    for module in tool.MODULES:
        if module in whole:
            continue
        found = importlib.import_module(module)
        missing += [
            f"{module}.{name}"
            for name in tool.names(found)
            if f"{module}.{name}" not in shown and f"meshlib.{name}" not in shown
        ]
    assert missing == [], "docs/reference has no entry `::: <name>` for these"


def test_every_public_class_and_function_says_what_it_is_for(tool: ModuleType) -> None:
    silent = []
    for module in tool.MODULES:
        found = importlib.import_module(module)
        for name in tool.names(found):
            value = getattr(found, name)
            if (isinstance(value, type) or inspect.isfunction(value)) and not (value.__doc__ or "").strip():
                silent.append(f"{module}.{name}")
    assert silent == []

"""The documentation is true: examples run, links lead somewhere, pictures are drawn from the real objects."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import re
from pathlib import Path

import pytest
from test_layers import ROWS, SOURCE

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "llms.txt", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^(?P<mark><!-- no-run -->\n)?```python\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)(?P<target>[^)#\s]+)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other in one namespace; one after `<!-- no-run -->` is left out."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    space: dict[str, object] = {"__name__": "__docs__"}
    for block in BLOCK.finditer(text):
        if block["mark"]:
            continue
        line = text[: block.start("code")].count("\n")
        code = compile("\n" * line + block["code"], str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, space))
        else:
            exec(code, space)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_site_reads_every_fence(page: Path) -> None:
    """Behind ```` ```python no-run ```` the site took the rest of the page for code."""
    fences = re.findall(r"^```.*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    odd = [fence for fence in fences if not re.fullmatch(r"```[\w-]*", fence)]
    assert not odd, f"{odd}: only a language may stand there; `<!-- no-run -->` goes on the line before"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_pictures_show_what_the_policies_do_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    pictures = importlib.import_module("pictures")
    for name, draw in pictures.PICTURES.items():
        drawn = (ROOT / "docs" / "img" / f"{name}.svg").read_text(encoding="utf-8")
        assert draw() == drawn, f"docs/img/{name}.svg: run `python docs/pictures.py`"


def test_the_table_of_contents_has_every_page() -> None:
    listed = re.findall(r"^ +- (?:.*: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    there = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if ROOT / "docs" in page.parents]
    assert sorted(listed) == sorted(there)


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


THERE = [path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")]


def test_every_file_that_the_architecture_names_is_there() -> None:
    named = sorted(set(re.findall(r"`([\w/]+\.py)`", ARCHITECTURE)))
    assert len(named) > 40
    assert [path for path in named if path not in THERE and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / "adr").glob("*.md")], ids=name)
def test_files_that_are_named_by_the_end_of_their_path_are_there(page: Path) -> None:
    named = re.findall(r"`([\w/]+\.py)`", page.read_text(encoding="utf-8"))
    ends = [
        path
        for path in named
        if not (ROOT / path).exists() and not any(f"/{one}".endswith(f"/{path}") for one in THERE)
    ]
    assert ends == []


def test_the_table_of_rooms_is_that_of_the_layer_test() -> None:
    """One row a line, without the rooms that do not exist yet."""
    shown = re.findall(r"^\| \d+ \| (.*) \|$", ARCHITECTURE, re.MULTILINE)
    rows = [[room for room in row if (SOURCE / room).is_dir() or (SOURCE / f"{room}.py").exists()] for row in ROWS]
    wanted = [", ".join(f"`{room}`" for room in row) for row in rows if row]
    assert shown == wanted, "docs/architecture.md, `Who may import whom`: the rows are now\n" + "\n".join(
        f"| {number} | {row} |" for number, row in enumerate(wanted, 1)
    )

"""What was shown, as an SVG for a page: no terminal, no fonts from elsewhere, nothing of this machine."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType
from rich.terminal_theme import MONOKAI

from .view import WIDTH

_FONT_FACES = re.compile(r"@font-face \{\{[^{}]*\}\}\s*")


def draw(file: Path, pictures: Iterable[RenderableType | None]) -> None:
    """Write `file`: the pictures one below the other."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for picture in pictures:
        if picture is not None:
            console.print(picture)
    console.save_svg(
        str(file),
        title="meshlib demo",
        theme=MONOKAI,
        code_format=_FONT_FACES.sub("", CONSOLE_SVG_FORMAT),
        unique_id="meshlib-demo",
    )

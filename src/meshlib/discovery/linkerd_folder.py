"""Linkerd folder: Linkerd's `io.l5d.fs`, a folder with one file for each name and one endpoint a line.

# users.prod
10.0.0.1 8080
10.0.0.2 8080 * 2.5
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path

from ..balancing import Endpoint
from ..errors import ConfigError
from .file_watch import Stamp, stamp


def read_folder(folder: Path, seen: Callable[[Path, Stamp], object]) -> dict[str, list[Endpoint]]:
    """The endpoints of every name. `seen` is told each file, and the folder, from just before it is read.

    Raises `ConfigError` for a line that is none.
    """
    seen(folder, stamp(folder))
    if not folder.is_dir():
        raise ConfigError("rootDir", "no such folder", file=str(folder))
    found: dict[str, list[Endpoint]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            seen(path, stamp(path))
            found[path.name] = read_names(path)
    return found


def read_names(path: Path) -> list[Endpoint]:
    """The endpoints of one file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("(the whole file)", f"cannot be read: {error}", file=str(path)) from None
    found = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if words:
            one = _endpoint(words)
            if one is None:
                expected = f"expected `host port [* weight]`, found {line.strip()!r}"
                raise ConfigError("(the whole file)", expected, file=str(path), line=number)
            found.append(one)
    return found


def _endpoint(words: list[str]) -> Endpoint | None:
    if len(words) not in (2, 4) or words[2:3] not in ([], ["*"]):
        return None
    try:
        port, weight = int(words[1]), float(words[3]) if len(words) == 4 else 1.0
    except ValueError:
        return None
    if not 0 < port < 65536 or not isfinite(weight) or weight < 0:
        return None
    return Endpoint(words[0], port, weight=weight)

"""What do the running processes say of a store? Each keeps one small file beside the copy that they share.

`meshlib status --copy FILE` reads them. A file whose process is no more is taken away by whoever finds it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any


def _folder(copy: Path) -> Path:
    return copy.parent / f".{copy.name}.processes"


class ProcessStatus:
    """What this process says, as plain data: replaced whole with each `tell`."""

    def __init__(self, copy: Path, **facts: Any) -> None:
        self._folder = _folder(copy)
        self._facts = facts
        self._lock = Lock()

    def tell(self, **facts: Any) -> None:
        """Add to what was said, or say otherwise. Raises OSError if it cannot be written."""
        with self._lock:
            self._facts |= facts
            self._folder.mkdir(parents=True, exist_ok=True)
            pid = os.getpid()  # of a worker that was forked off, not of who began
            beside = self._folder / f".{pid}"
            beside.write_text(json.dumps({"pid": pid, **self._facts}), encoding="utf-8")
            beside.replace(self._folder / f"{pid}.json")

    def close(self) -> None:
        (self._folder / f"{os.getpid()}.json").unlink(missing_ok=True)


def said(copy: Path) -> Iterator[tuple[dict[str, Any], float]]:
    """What each living process of this machine says, and when it last had something to say (seconds since 1970)."""
    for path in sorted(_folder(copy).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            if _lives(int(path.stem)):
                facts = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(facts, dict):
                    yield facts, path.stat().st_mtime
            else:
                path.unlink()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True

"""Process status: one small file for each running process, beside the copy of the store that they share.

`meshlib status --copy FILE` reads them. A file whose process has ended is removed by the next reader.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

from .. import forked


def _folder(copy: Path) -> Path:
    return copy.parent / f".{copy.name}.processes"


class ProcessStatus:
    """The facts of this process, as plain data: replaced whole with each `update`."""

    def __init__(self, copy: Path, **facts: Any) -> None:
        self._folder = _folder(copy)
        self._facts = facts
        self._lock = Lock()
        forked.register(self)

    def _after_fork(self) -> None:
        self._lock = Lock()

    def update(self, **facts: Any) -> None:
        """Add or change facts. Raises OSError if it cannot be written."""
        with self._lock:
            self._facts |= facts
            self._folder.mkdir(parents=True, exist_ok=True)
            pid = os.getpid()  # of a forked worker, not of its parent
            beside = self._folder / f".{pid}"
            beside.write_text(json.dumps({"pid": pid, **self._facts}), encoding="utf-8")
            beside.replace(self._folder / f"{pid}.json")

    def close(self) -> None:
        (self._folder / f"{os.getpid()}.json").unlink(missing_ok=True)


def running_processes(copy: Path) -> Iterator[tuple[dict[str, Any], float]]:
    """The facts of each living process of this machine, and when they last changed (seconds since 1970)."""
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
    except OSError:  # another user's process
        return True
    return True

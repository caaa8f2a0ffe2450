"""A mesh that is kept in step with files by hand: tests edit, reload, and ask what was refused."""

from __future__ import annotations

from pathlib import Path

from meshlib import Mesh
from meshlib.config.reader import MeshReader
from meshlib.events import ConfigRefused, Event, SnapshotPublished

SAYS_NOTHING = [
    "",
    " ",
    "\n\n",
    "\r\n",
    "# nothing\n",
    "---\n",
    "--- # x\n",
    "---\n...\n",
    "null\n",
    "~",
    "\ufeff",
    "\ufeff\n",
]


class Watched:
    """A mesh on some files, without the thread: `edit` writes and reloads."""

    def __init__(self, folder: Path, name: str = "mesh.yaml", **files: str) -> None:
        self.folder = folder
        for file, text in files.items():
            (folder / file.replace("_", ".")).write_text(text)
        self.mesh = Mesh()
        self.reader = MeshReader(self.mesh, folder / name)
        self.reader.load()
        self.events: list[Event] = []
        self.mesh.subscribe(self.events.append)

    def edit(self, text: str, file: str = "mesh.yaml") -> Exception | None:
        """Why the edit was refused; None if it was published."""
        (self.folder / file).write_text(text, encoding="utf-8")
        return self.reload()

    def reload(self) -> Exception | None:
        before = self.mesh.current
        self.events.clear()
        self.reader.reload()
        [event] = self.events
        if isinstance(event, ConfigRefused):
            assert self.mesh.current is before
            return event.error
        assert isinstance(event, SnapshotPublished)
        return None

    def addresses(self, cluster: str = "users") -> list[str]:
        return [one.address for one in self.mesh.current.clusters[cluster].balancer.endpoints]

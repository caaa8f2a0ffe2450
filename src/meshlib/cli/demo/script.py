"""The play: what happens to the servers and to mesh.yaml, when, and in which words. Data, and nothing else.

Times are shares of one pass, so that the long and the short version are the same play.
"""

from __future__ import annotations

from dataclasses import dataclass

USUAL, SLOW = 0.02, 0.4
"""What an answer takes, in seconds, and what it takes while a server is slow."""


@dataclass(frozen=True, slots=True)
class Act:
    """One act: from `at` (a share of the pass) it is so. The steps are done in the order of the fields."""

    name: str
    at: float
    words: str
    slow: str = ""  # this server turns slow
    quick: str = ""  # this one is quick again
    kill: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    split: tuple[int, int] | None = None  # v1 and v2, by an edit of mesh.yaml


ACTS = (
    Act("steady", 0.00, "three endpoints of v1 share the traffic"),
    Act("slow", 0.05, "v1-b turns slow: 400 ms instead of 20", slow="v1-b"),
    Act("healed", 0.22, "v1-b is quick again", quick="v1-b"),
    Act("dead", 0.31, "v1-c is killed", kill=("v1-c",)),
    Act("back", 0.47, "v1-c is restarted", start=("v1-c",)),
    Act("tenth", 0.56, "mesh.yaml is edited: 10 % of the traffic to v2", split=(90, 10)),
    Act("half", 0.65, "mesh.yaml is edited: 50 % to v2", split=(50, 50)),
    Act("all", 0.74, "mesh.yaml is edited: 100 % to v2", split=(0, 100)),
    Act("outage", 0.82, "both servers of v2 are killed: nobody is left", kill=("v2-a", "v2-b")),
    Act("healing", 0.90, "both are restarted", start=("v2-a", "v2-b")),
)


def weights(at: float) -> tuple[int, int]:
    """The weights of v1 and v2 that the play wants at a share of the pass."""
    splits = [act.split for act in ACTS if act.split is not None and act.at <= at]
    return splits[-1] if splits else (100, 0)


@dataclass(frozen=True, slots=True)
class Tempo:
    """How long one pass takes (seconds), how many requests come per second, and how patient the mesh is."""

    length: float
    rate: float
    cooldown: str
    patience: str


LONG = Tempo(length=27.0, rate=100.0, cooldown="500ms", patience="1s")
SHORT = Tempo(length=7.0, rate=100.0, cooldown="250ms", patience="400ms")

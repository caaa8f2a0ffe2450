"""Emptied configurations: does a new text lose all that the last good one had, without saying so?

A file that was truncated, half written or replaced by an empty one must not take the mesh away. So what was full is
emptied by a text that says it (`services: {}`, `endpoints: []`), and by no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import ConfigError
from .document import Place
from .draft import MergedDocument
from .loaded import Loaded
from .models import EgressModel
from .plain_yaml import WHOLE

SECTIONS = ("services", "clusters", "pipelines")
ENTRIES = "entries: ''"
_NAMED = 3  # of what is lost, by name


def refuse_emptied(before: Loaded, now: Loaded) -> None:
    """Raise `ConfigError` if `now` has lost a whole section of `before`, or all endpoints of a cluster, unsaid."""
    for file, said in now.manifests.items():
        if not said and before.manifests.get(file):
            expected = "said something, and says nothing now; if that is meant, delete the file"
            raise ConfigError(WHOLE, expected, file=str(file))
    for place, lost in _lost(before, now):
        raise now.document.error(place, lost)


def _lost(before: Loaded, now: Loaded) -> Iterator[tuple[Place, str]]:
    """What is gone without a word, each with its place and what to do about it."""
    then, new = before.model, now.model
    # Manifests have no words for "none"; what is in their model was written by our own readers.
    written = frozenset() if isinstance(now.document, MergedDocument) else new.model_fields_set
    for section in SECTIONS:
        had = getattr(then, section)
        said = section in written or (section == "clusters" and "services" in written and not new.services)
        if had and not getattr(new, section) and not said:
            yield (section,), f"{_were(had)}, and now there are none{_say(now, f'{section}: {{}}')}"
    if then.dtab is not None and new.dtab is None and "dtab" not in written:
        yield ("dtab",), f"there was one, and now there is none{_say(now, 'dtab: null')}"
    elif then.dtab is not None and new.dtab is not None and then.dtab.entries.strip():
        said = not isinstance(now.document, MergedDocument) and "entries" in new.dtab.model_fields_set
        if not new.dtab.entries.strip() and not said:
            yield ("dtab", "entries"), f"there were some, and now there are none{_say(now, ENTRIES)}"
    if _limits(then.egress) and not _limits(new.egress) and "egress" not in written:
        yield ("egress",), f"unknown hosts were refused or ruled, and now they go out{_say(now, 'egress: allow')}"
    for name in new.clusters:
        had = before.endpoints.get(name)
        if had and not now.endpoints[name] and not _says_endpoints(now, name):
            place = ("clusters", name, "endpoints")
            yield place, f"{_were(one.address for one in had)}, and now there are none{_say(now, 'endpoints: []')}"


def _limits(egress: EgressModel | str) -> bool:
    return egress.otherwise != "allow" if isinstance(egress, EgressModel) else egress != "allow"


def _says_endpoints(now: Loaded, name: str) -> bool:
    if isinstance(now.document, MergedDocument):
        return "/" in name and not name.startswith("/")  # a subset (`reviews/v1`) is those that have its labels
    cluster = now.model.clusters[name]
    return "endpoints" in cluster.model_fields_set or cluster.endpoints_from is not None


def _were(names: Iterable[str]) -> str:
    found = list(names)
    more = ", …" if len(found) > _NAMED else ""
    return f"there were {len(found)} ({', '.join(found[:_NAMED])}{more})"


def _say(now: Loaded, words: str) -> str:
    if isinstance(now.document, MergedDocument):
        return "; if that is meant, restart the process"
    return f"; if that is meant, write `{words}`"

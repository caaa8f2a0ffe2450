"""Whatever is reloaded after whatever: nothing is emptied unsaid, and no former service goes out as an unknown host."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from watching import SAYS_NOTHING

from meshlib import Mesh
from meshlib.discovery.store import MemoryStore
from meshlib.routing.request import RouteRequest

NAMES = ("a", "b", "c")
HOSTS = ("a", "b:81", "c.example.com", "*.example.com", "d.*", "*", "e")
ASKED = ("a", "b:81", "b", "c.example.com", "x.example.com", "d.eu", "e", "elsewhere")
EGRESS: tuple[Any, ...] = (
    None,
    "allow",
    "refuse",
    {"hosts": ["e"], "otherwise": "allow"},
    {"hosts": ["*.example.com"]},
    {"routes": [{"outside": True}]},
    {"routes": [{"match": {"host": {"exact": "a"}}, "outside": True}, {"match": {"path": "/x"}, "outside": True}]},
)


@st.composite
def meshes(draw: st.DrawFn) -> dict[str, Any]:
    """A valid mesh file as data, with at least one service; hosts are shared out among its services."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    hosts = draw(st.permutations(HOSTS))
    services: dict[str, Any] = {}
    for number, name in enumerate(names):
        own = [host for host in hosts[number :: len(names)] if draw(st.booleans())]
        services[name] = {"hosts": own or [f"{name}.internal"]}
        if draw(st.integers(0, 4)) == 0:
            services[name]["routes"] = [{"outside": True}]
    found: dict[str, Any] = {
        "services": services,
        "clusters": {name: {"endpoints": [f"10.0.0.{number + 1}:80"]} for number, name in enumerate(names)},
    }
    egress = draw(st.sampled_from(EGRESS))
    if egress is not None:
        found["egress"] = egress
    if draw(st.booleans()):
        found["pipelines"] = {"p": {"timeout": 1}}
    if draw(st.integers(0, 5)) == 0:
        found["dtab"] = {"entries": "/svc/e => /$/inet/e/80"}
    return found


def text(data: Any) -> str:
    return str(yaml.safe_dump(data, sort_keys=False))


def without(mesh: dict[str, Any], lost: str) -> dict[str, Any]:
    """The mesh after the loss of a section, of all of them, or of a cluster's endpoints."""
    if lost == "endpoints":
        first, *_ = mesh["clusters"]
        return {**mesh, "clusters": {**mesh["clusters"], first: {}}}
    return {key: value for key, value in mesh.items() if key != lost and (lost != "all" or key == "labels")}


class Followed:
    """A mesh that follows a store in memory."""

    def __init__(self, first: str) -> None:
        self.store = MemoryStore(first)
        self.mesh = Mesh.from_store(self.store)

    def accepts(self, new: str) -> bool:
        before = self.mesh.version
        self.store.put(new)
        return self.mesh.version > before

    def served(self) -> set[str]:
        """The hosts that do not go straight out now, although they are not refused as strangers either."""
        return {host for host in ASKED if self.fate(host) == "served"}

    def fate(self, host: str, path: str = "/") -> str:
        decision = self.mesh.current.routes.resolve(RouteRequest(host, path=path), lambda: 0.5)
        if decision is None or (decision.cluster is None and decision.route.outside):
            return "out"
        return "served" if decision.cluster in NAMES else "refused"


@given(mesh=meshes(), lost=st.sampled_from([*SAYS_NOTHING, "services", "clusters", "endpoints", "all"]))
def test_what_loses_everything_unsaid_is_refused_after_whatever(mesh: dict[str, Any], lost: str) -> None:
    new = lost if lost in SAYS_NOTHING else text(without({**mesh, "labels": {"x": "y"}}, lost))
    followed = Followed(text(mesh))
    with followed.mesh:
        assert not followed.accepts(new)
        assert set(followed.mesh.current.clusters) == set(mesh["clusters"])


@given(mesh=meshes(), length=st.floats(0, 1))
def test_a_text_that_is_cut_anywhere_lets_no_service_out(mesh: dict[str, Any], length: float) -> None:
    whole = text(mesh)
    followed = Followed(whole)
    with followed.mesh:
        served = followed.served()
        followed.accepts(whole[: int(length * len(whole))])
        assert not [host for host in served if followed.fate(host) == "out"]


def takes(pattern: str, host: str) -> bool:
    if "*" not in pattern:
        return pattern in (host, host.partition(":")[0])
    return host.startswith(pattern[:-1]) if pattern[-1] == "*" and pattern != "*" else host.endswith(pattern[1:])


def may_go_out(mesh: dict[str, Any], host: str, served: set[str]) -> bool:
    """Whether a mesh file names a host as one that goes out: under egress, or as a service that leads there. A wildcard
    of such a service does not name what was `served` by a name or wildcard that none of the others has any more."""
    egress = mesh.get("egress")
    named = list(egress.get("hosts", [])) if isinstance(egress, dict) else []
    named += ["a"] if egress == EGRESS[-1] and not mesh.get("dtab") else []
    straight = [host for one in mesh["services"].values() if "routes" in one for host in one["hosts"]]
    gone = served - {host for one in mesh["services"].values() if "routes" not in one for host in one["hosts"]}
    named += [one for one in straight if "*" not in one or not any(takes(lost, host) for lost in gone)]
    return any(takes(one, host) for one in named)


@given(series=st.lists(meshes(), min_size=2, max_size=6))
def test_no_name_that_was_a_service_goes_out_unless_the_file_names_it(series: list[dict[str, Any]]) -> None:
    said = {"egress": "allow", "pipelines": {}, "dtab": None}  # so that nothing vanishes unsaid
    followed = Followed(text(series[0]))
    with followed.mesh:
        was: set[str] = set()
        served: set[str] = set()
        for mesh in series:
            assert mesh is series[0] or followed.accepts(text({**said, **mesh}))
            out = [host for host in was if "out" in (followed.fate(host), followed.fate(host, "/x"))]
            assert not [host for host in out if not may_go_out(mesh, host, served)]
            was |= followed.served()
            served |= {host for one in mesh["services"].values() if "routes" not in one for host in one["hosts"]}

"""Whatever stands in a manifest, reading it ends in a mesh or in a `ConfigError` that says where."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifest_seeds import ISTIO, LINKERD

from meshlib import ConfigError
from meshlib.config.manifests import read_manifests

SCALARS = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1e400,
        float("nan"),
        70000,
        "",
        "x",
        "*",
        "/",
        "(",
        "a b",
        "-1s",
        [],
        [None],
        [1],
        {},
        {"a": {}},
    ]
)


def places(data: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [here, *[place for key, value in items for place in places(value, (*here, key))]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz")
    (path / "disco").mkdir()
    (path / "disco" / "users").write_text("127.0.0.1 80\n")
    return path


@pytest.mark.parametrize("text", [ISTIO, LINKERD], ids=["istio", "linkerd"])
def test_the_manifests_of_this_test_are_good(folder: Path, text: str) -> None:
    (folder / "good.yaml").write_text(text)
    read_manifests([folder / "good.yaml"], gateways=["gw"]).mesh()


@pytest.mark.parametrize("text", [ISTIO, LINKERD], ids=["istio", "linkerd"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_one_wrong_thing_is_an_error_with_a_place_or_none(folder: Path, text: str, draw: st.DataObject) -> None:
    documents = list(yaml.safe_load_all(text))
    for _ in range(draw.draw(st.integers(1, 2))):
        place = draw.draw(st.sampled_from(places(documents)[1:]))
        here: Any = documents
        try:
            for step in place[:-1]:
                here = here[step]
            here[place[-1]] = copy.deepcopy(draw.draw(SCALARS))
        except (KeyError, IndexError, TypeError):
            pass  # what stood there is gone already
    path = folder / "one.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    try:
        read_manifests([path], gateways=["gw"]).mesh()
    except ConfigError as error:
        assert error.file is not None

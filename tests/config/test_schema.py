"""The JSON Schema of mesh.yaml takes what the models take, with a sentence for each key, and refuses nonsense."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from config.test_words import every_model

from meshlib import ConfigError, Mesh
from meshlib.cli import main
from meshlib.config.descriptions import DESCRIPTIONS
from meshlib.config.document import parse_document
from meshlib.config.schema import description, mesh_schema
from meshlib.config.values import read_duration, read_ratio

ROOT = Path(__file__).parents[2]
SCHEMA = mesh_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
YAML = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
SECTIONS = {"services", "clusters", "pipelines", "egress", "dtab", "labels"}


def examples() -> list[Any]:
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for number, block in enumerate(YAML.findall(page.read_text(encoding="utf-8"))):
            data = parse_document(block, str(page)).data
            if isinstance(data, dict) and data.keys() & SECTIONS:
                found.append(pytest.param(data, id=f"{page.relative_to(ROOT)}-{number}"))
    return found


def in_cluster(settings: dict[str, Any]) -> dict[str, Any]:
    return {"services": {"a": {}}, "clusters": {"a": {"endpoints": ["h:1"], **settings}}}


def in_service(settings: dict[str, Any]) -> dict[str, Any]:
    return {"services": {"a": settings}, "clusters": {"a": {"endpoints": ["h:1"]}}}


GOOD = [
    {"services": {}},
    in_cluster({"balancer": "ring_hash"}),
    in_cluster({"balancer": {"kind": "ring_hash", "bound": 1.25}}),
    *(in_cluster({"breaker": none}) for none in (False, "off", None)),
    *(in_cluster({"outlier": some}) for some in (True, "on", False, "off", {})),
    in_cluster({"endpoints": ["h:1", {"address": "h:2", "weight": 2}]}),
    in_cluster({"health_check": {"http": "/healthz", "interval": "10s"}}),
    in_cluster({"panic": "50%", "max_connection_duration": "1m30s"}),
    in_cluster({"sticky": {"header": "x-user"}}),
    in_cluster({"sticky": {"by": [{"header": "x-user"}, {"cookie": "c"}]}}),
    in_service({"retry": "off", "timeout": 2}),
    in_service({"split": "a"}),
    in_service({"routes": [{"match": {"method": "GET", "headers": {"x": 1}}, "split": {"a": 1}}]}),
    in_service({"routes": [{"match": [{"path": {"prefix": "/a"}}], "retry": False, "split": "a"}]}),
    *({"services": {}, "egress": hosts} for hosts in ("refuse", ["a.example"], {"hosts": ["a.example"]})),
]
NONSENSE = [
    [],
    {"servicess": {}},
    in_cluster({"balancer": "ringhash"}),
    in_cluster({"breaker": True}),
    in_cluster({"breaker": {"failure_rate": 3}}),
    in_cluster({"breaker": {"cooldownn": 3}}),
    in_cluster({"outlier": "yes"}),
    in_cluster({"endpoints": "h:1"}),
    in_cluster({"endpoints": [{"weight": 1}]}),
    in_cluster({"panic": "half"}),
    in_cluster({"max_connection_duration": "10 minutes"}),
    in_cluster({"max_connection_duration": 0}),
    in_service({"timeout": "soon"}),
    in_service({"timeout": -1}),
    in_service({"retry": {"attempts": 0}}),
    in_service({"routes": [{"match": {"port": "http"}, "split": "a"}]}),
    {"services": {}, "egress": "forbid"},
]


@pytest.mark.parametrize("document", [*examples(), *GOOD])
def test_what_a_mesh_file_may_say_is_in_the_schema(document: Any) -> None:
    VALIDATOR.validate(document)


def test_there_are_examples() -> None:
    assert len(examples()) >= 8


@pytest.mark.parametrize("document", GOOD)
def test_the_good_documents_are_good(document: Any) -> None:
    Mesh.from_dict(document, watch=False).close()


@pytest.mark.parametrize("document", NONSENSE, ids=json.dumps)
def test_nonsense_is_refused_by_the_schema_and_by_the_mesh(document: Any) -> None:
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(ConfigError):
        Mesh.from_dict(document)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("model", every_model(), ids=lambda model: model.__name__)
def test_each_key_is_described(model: Any) -> None:
    missing = [name for name in model.model_fields if description(model, name) is None]
    assert missing == [], "write a sentence for each in config/descriptions.py or config/route_descriptions.py"


def test_each_description_has_its_key() -> None:
    keys = {(model.__name__, name) for model in every_model() for name in model.model_fields}
    assert [key for key in DESCRIPTIONS if key not in keys] == []


@pytest.mark.parametrize(
    "text", ["250ms", "2s", "1m30s", " 1.5h ", "1 s", "s", "", "-1s", "1", "1s,", "10 minutes", "1µs"]
)
def test_the_schema_reads_times_as_the_models_do(text: str) -> None:
    assert VALIDATOR.is_valid(in_service({"timeout": text})) is reads(read_duration, text)


@pytest.mark.parametrize("text", ["20%", "0.2", ".5", "1.", "%", "", "20 %", "half"])
def test_the_schema_reads_shares_as_the_models_do(text: str) -> None:
    assert VALIDATOR.is_valid(in_cluster({"panic": text})) is reads(read_ratio, text)


def reads(read: Any, text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def test_the_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
    assert SCHEMA["$defs"]["ServiceModel"]["properties"]["timeout"]["description"].startswith("Time for the whole call")


def test_the_types_of_a_document_are_those_of_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("mesh_document")
    assert tool.FILE.read_text(encoding="utf-8") == tool.document_types(), "run `python tools/mesh_document.py`"

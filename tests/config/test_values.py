"""How times and shares are read, and that no text of any length makes reading them slow or the error unreadable."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlib import ConfigError, Mesh
from meshlib.config.document import parse_document
from meshlib.config.endpoint_files import split_address
from meshlib.config.errors import LONGEST_SHOWN
from meshlib.config.manifests import read_manifests
from meshlib.config.node import ConfigReport, FileFinding
from meshlib.config.values import read_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("2s", 2.0),
        ("1m30s", 90.0),
        ("1m 30s", 90.0),
        (" 1h\t", 3600.0),
        ("1.5d", 129_600.0),
        ("7us", 7e-6),
        ("7µs", 7e-6),
        ("7ns", 7e-9),
        ("1s1s", 2.0),
        ("9s" * 40_000, 360_000.0),
    ],
)
def test_a_duration_is_the_sum_of_its_parts(text: str, seconds: float) -> None:
    assert read_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "1", "1 s", "1 0s", "1m\t30s", "1m30", "1s x", "x1s", "1.s", ".5s", "1.5.5s", "-1s", "1e3s", "1S"],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time, such as 250ms, 2s or 1m30s"):
        read_duration(text)


LONG = {
    "digits": "9" * 80_000,
    "another unit": "9" * 80_000 + "x",
    "points": "9." * 40_000,
    "blanks": " " * 80_000 + "1" + " " * 80_000 + "s",
}


def mesh_file(folder: Path, users: str) -> Path:
    file = folder / "mesh.yaml"
    file.write_text(f"clusters: {{users: {{endpoints: ['127.0.0.1:1']}}}}\nservices:\n  users: {{{users}}}\n")
    return file


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_long_text_that_is_no_duration_is_refused_in_a_short_sentence(tmp_path: Path, text: str) -> None:
    """80,000 digits kept the process busy for three minutes, and no other thread ran meanwhile."""
    said = r"expected a time, such as 250ms, 2s or 1m30s, found .*… \(\d+ characters\)"
    with pytest.raises(ConfigError, match=said) as caught:
        Mesh.from_file(mesh_file(tmp_path, f"timeout: '{text}'"), watch=False)
    assert len(str(caught.value)) < LONGEST_SHOWN + 300


NUMBERS = {
    "digits": "9" * 20_000,
    "hexadecimal": "0x" + "f" * 20_000,
    "octal": "0" + "7" * 20_000,
    "binary": "0b" + "1" * 20_000,
    "underscores": "1" + "_1" * 10_000,
    "base 60": "1" + ":1" * 10_000,
    "a long fraction": "0." + "9" * 20_000,
}


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("place", ["timeout: {}", "retry: {{attempts: {}}}", "split: {{users: {}}}", "a: {}"])
def test_a_number_of_too_many_digits_is_refused_where_it_stands(tmp_path: Path, place: str, number: str) -> None:
    said = r"mesh.yaml:3: services.users.*: not YAML: no (int|float) of \d+ characters"
    with pytest.raises(ConfigError, match=said):
        Mesh.from_file(mesh_file(tmp_path, place.format(number)), watch=False)


@pytest.mark.parametrize("port", ["9" * 5_000, "0" * 5_000 + "80", "²"])
def test_a_port_of_odd_digits_is_refused_like_any_other(port: str) -> None:
    with pytest.raises(ValueError, match="expected host:port or unix:/path, found 'h:"):
        split_address(f"h:{port}")


@pytest.mark.parametrize("code", ["9" * 5_000, "²"])
def test_odd_digits_in_manifests_do_nothing(tmp_path: Path, code: str) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n"
        f"  http:\n  - retries: {{attempts: 2, retryOn: '{code}'}}\n"
        "    route: [{destination: {host: a, port: {number: 80}}}]\n"
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: b}\nspec:\n  hostnames: [b]\n"
        f"  rules:\n  - retry: {{codes: ['{code}'], attempts: 1}}\n    backendRefs: [{{name: b, port: 80}}]\n"
    )
    model = read_manifests([file]).model
    assert all(service.retry is not None and not service.retry.statuses for service in model.services.values())


def test_a_report_of_many_findings_compares_none_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """8,000 unknown keys took 22 seconds."""
    compared: list[object] = []
    monkeypatch.setattr(
        FileFinding, "__eq__", lambda self, other: compared.append(other) or self.message == other.message
    )
    report, document = ConfigReport(), parse_document("a: 1", "a.yaml")
    for _ in range(2):
        for number in range(500):
            report.add(document, ("a",), f"finding {number}")
    assert len(report) == 500
    assert len(compared) <= 1000

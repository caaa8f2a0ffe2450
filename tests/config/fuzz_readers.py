"""Feeds made-up and damaged texts to every reader: dtabs, YAML, mesh files, endpoints, manifests, regular expressions.

`python tests/config/fuzz_readers.py 300 manifests` runs one for five minutes, guided by coverage where atheris is
installed; the suite runs all for a moment. Whatever stands in a text, reading it ends in a result or in a `ConfigError`
that says where.
"""

from __future__ import annotations

import importlib.util
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from manifest_seeds import ISTIO, LINKERD, LINKERD_BY_PREFIX

from meshlib import ConfigError, Mesh
from meshlib.config.build import Builder
from meshlib.config.document import parse_document, parse_documents
from meshlib.config.endpoint_files import endpoints_of
from meshlib.config.load import load_document
from meshlib.config.manifests import read_manifests
from meshlib.routing.binding import Interpreter
from meshlib.routing.delegation import delegate
from meshlib.routing.dtab_reader import read_dtab, read_path, read_prefix, read_tree
from meshlib.routing.namer import NamingError
from meshlib.routing.nametree import show_tree
from meshlib.routing.regex import Regex

LONGEST = 5.0  # seconds of processor time for one text: more is a hang
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
(FOLDER / "disco").mkdir()
(FOLDER / "disco" / "users").write_text("127.0.0.1 80 * 2\n")

DTAB = r"/svc => /#/io.l5d.fs; /svc/* => 9 * /a/\x41 & 0.5 * (/b | ~) | !; # all\n/a => /$/inet/127.1/80 & $;/b=>/c;"
YAML = """
%YAML 1.1
---
base: &base {a: 1, b: [0x1F, 1_000, 1:30, .inf, 2020-01-01, ~, on, 'it''s', "\\u263A"]}
more: {<<: [*base, {c: d}], ? key : value}
text: |-
  two
  lines
folded: !!str >
  12
...
---
- &c [x]
- *c
"""
MESH = """
services:
  users:
    hosts: [users, "*.users.internal"]
    routes:
    - {name: a, match: {path: {regex: "/v[0-9]+/.*"}, headers: {x: {present: true}}, method: GET}, split: v2}
    - {match: [{path: "/a/{id}"}, {host: {suffix: .b}}], redirect: {prefix: /b, status: 308}}
    - {match: {query: {q: {contains: "1"}}, env: dev}, respond: {status: 503, body: sorry}, fault: {delay: 1ms}}
    split: {v1: 90, v2: 10}
    sticky: {cookie: session}
    timeout: 2s
    retry: {attempts: 3, backoff: 25ms}
    budget: {ratio: 20%}
clusters:
  v1: &v1 {endpoints: [127.0.0.1:1, {address: "[::1]:2", weight: 2, labels: {a: b}}], balancer: round_robin}
  v2: {<<: *v1, breaker: {failure_rate: 50%, window: 10s}, accrual: {consecutive_failures: 3}, outlier: {interval: 1s}}
egress: refuse
dtab: {entries: "/svc => /#/clusters", namers: [{prefix: "/#/clusters"}], override: true}
labels: {app: shop}
"""
ENDPOINTS = """
- 10.0.0.1:80
- {address: "unix:/x", weight: 2, zone: a, labels: {version: v2}, priority: 1}
- {targets: [10.0.0.2:80, "[::1]:80"], labels: {zone: b}}
"""
REGEX = r"^/api/(?:v\d+|[a-z-]{2,5})/(?P<id>\w+?)(?i:X)*\x41[[:alpha:]]\Q.*\E.$"

TOKENS = [
    *'[]{}:,&*#!|>%@`"\'\\-?=~$()./+^<\n\t \x00\x85\ufeff\u2028\ud800é𝄞',
    "<<: ", "*a", "&a ", "!!binary ", "!!python/object:os.system ", "!!set ", "---\n", "...\n", "- ", ": ", "? ",
    "1e999", "-1", "9" * 400, "0x" + "f" * 40, ".nan", ".inf", "-.inf", "null", "true", "2020-01-01", "0b_", "1:2:3",
    "[[[[[[[[", "{a: {a: {a: ", "](", "{0,1000}", "(a*)*", "(?:", "[^", r"\x", r"\Q", "a{99999}", "=>", " & ", " | ",
    "/$/inet/1/2", "/$/io.buoyant.rinet", "/#/", "name", "kind", "spec", "10.0.0.1:80", "500ms", "20%",
    "x" * 200,
]  # fmt: skip


def dtab(text: str) -> None:
    for read in (read_path, read_prefix):
        try:
            assert read(str(read(text))) == read(text)
        except ConfigError:
            pass
    try:
        tree = read_tree(text)
    except ConfigError:
        pass
    else:
        assert read_tree(show_tree(tree)) == tree, text
    table = read_dtab(text)
    assert read_dtab(str(table)) == table, text
    interpreter = Interpreter(table)
    for name in ("/svc/users", "/a", "/"):
        str(delegate(interpreter, read_path(name)).to_json())
        try:
            interpreter.bind(read_path(name))
        except NamingError:
            pass


def yaml(text: str) -> None:
    for document in parse_documents(text, "a.yaml"):
        assert all(line > 0 for line in document.lines.values())
        assert document.error(("services", 1, "x"), "").line


def mesh(text: str) -> None:
    loaded = load_document(parse_document(text, "mesh.yaml"), FOLDER, {})
    builder = Builder(Mesh())
    builder.snapshot(loaded)
    builder.snapshot(load_document(parse_document(text, "mesh.yaml"), FOLDER, {}, loaded))


def endpoints(text: str) -> None:
    found = endpoints_of(parse_document(text, "endpoints.yaml"))
    again = endpoints_of(parse_document(text, "endpoints.yaml"), {one.address: one for one in found})
    assert [one.address for one in found] == [one.address for one in again]


def manifests(text: str) -> None:
    path = FOLDER / "one.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    read_manifests([path], gateways=["gw"]).mesh()


def regex(text: str) -> None:
    try:
        pattern = Regex(text)
    except ValueError:  # a constructor's; the reader says where the pattern stands
        return
    for subject in ("a" * 2_000, "/api/v1/" + "aX" * 500, "\n\ud800\x00é"):
        pattern.matches(subject)


TARGETS: dict[str, tuple[Callable[[str], None], list[str]]] = {
    "dtab": (dtab, [DTAB]),
    "yaml": (yaml, [YAML]),
    "mesh": (mesh, [MESH]),
    "endpoints": (endpoints, [ENDPOINTS]),
    "manifests": (manifests, [ISTIO, LINKERD, LINKERD_BY_PREFIX]),
    "regex": (regex, [REGEX]),
}


def check(name: str, text: str) -> None:
    """Read one text. Raises AssertionError if it takes too long, and whatever else the reader should not raise."""
    began = time.process_time()
    try:
        TARGETS[name][0](text)
    except ConfigError as error:
        if name not in ("dtab", "regex"):
            assert error.file is not None and error.line is not None, error
    took = time.process_time() - began
    assert took < LONGEST, f"{took:.1f} s for {text!r}"


def damaged(text: str, chance: random.Random) -> str:
    """The text with a few things put in, taken out, doubled or moved."""
    for _ in range(chance.randint(1, 4)):
        at, to = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
        to = min(to, at + 60)
        kind = chance.randint(0, 4)
        if kind == 0:
            text = text[:at] + text[to:]
        elif kind == 1:
            text = text[:to] + text[at:to] + text[to:]
        elif kind == 2:
            text = text[:at] + chance.choice(TOKENS) + text[to:]
        else:
            text = text[:at] + chance.choice(TOKENS) + text[at:]
    return text


def main(seconds: float, name: str) -> None:
    seeds = TARGETS[name][1]
    if importlib.util.find_spec("atheris") is not None:
        import atheris  # type: ignore[import-not-found]

        corpus, words = FOLDER / "corpus", FOLDER / "words"
        corpus.mkdir()
        for number, seed in enumerate(seeds):
            (corpus / str(number)).write_text(seed)
        quoted = ["".join(f"\\x{byte:02x}" for byte in one.encode(errors="surrogatepass")) for one in TOKENS]
        words.write_text("".join(f'"{one}"\n' for one in quoted))
        options = [f"-max_total_time={seconds:g}", f"-timeout={LONGEST * 4:g}", f"-dict={words}", "-max_len=4000"]
        chance = random.Random(1)

        def damage(data: bytes, most: int, seed: int) -> bytes:
            chance.seed(seed)
            if chance.randint(0, 2):
                return bytes(atheris.Mutate(data, most))
            return damaged(data.decode(errors="replace"), chance).encode(errors="replace")[:most]

        atheris.instrument_all()
        arguments = [sys.argv[0], *options, str(corpus)]
        atheris.Setup(arguments, lambda data: check(name, data.decode(errors="replace")), custom_mutator=damage)
        atheris.Fuzz()
        return
    chance, count, began = random.Random(), 0, time.monotonic()
    while time.monotonic() - began < seconds:
        check(name, damaged(chance.choice(seeds), chance))
        count += 1
    print(f"{name}: {count:,} texts, nothing found")


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])

"""Route models: what a routing rule in mesh.yaml may say. Rules are tried from top to bottom; the first match wins.

services:
  users:
    routes:
      - name: testers
        match: {headers: {x-group: testers}, path: /v1/*}
        split: v2
      - match: {path: {regex: "/old/[0-9]+"}}
        redirect: {prefix: /v1, status: 308}
      - match: {cookies: {session: {present: true}}}
        split: {v1: 90, v2: 10}
        sticky: {cookie: session}
        fault: {delay: 100ms, delay_ratio: 5%}
        mirror: {v3: 10%}
    split: v1
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from .policy_models import RetryModel
from .values import Model, Ratio, Seconds


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


class TextModel(Model):
    exact: str | None = None
    prefix: str | None = None
    suffix: str | None = None
    contains: str | None = None
    regex: str | None = None
    present: bool | None = None
    ignore_case: bool = False
    invert: bool = False


def _text(value: Any) -> Any:
    """A plain text is an exact one."""
    return value if isinstance(value, dict | TextModel) else {"exact": str(value)}


Text = Annotated[TextModel, BeforeValidator(_text)]


class PathModel(Model):
    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None
    template: str | None = None
    ignore_case: bool = False
    segments: bool = True  # a prefix takes whole segments only

    @model_validator(mode="after")
    def _one(self) -> PathModel:
        given = [name for name in ("exact", "prefix", "regex", "template") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected one of exact, prefix, regex and template, found {' and '.join(given) or 'none'}"
            )
        return self


class MatchModel(Model):
    path: str | PathModel | None = None
    method: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    host: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ()
    scheme: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    port: Annotated[tuple[int, ...], BeforeValidator(_listed)] = ()
    headers: dict[str, Text] = Field(default_factory=dict)
    query: dict[str, Text] = Field(default_factory=dict)
    cookies: dict[str, Text] = Field(default_factory=dict)
    labels: dict[str, Text] = Field(default_factory=dict)
    env: str | None = None


class KeyModel(Model):
    """What is hashed: one of the four, or `key: true` for the key that the caller gives. See `StickyKey`."""

    header: str | None = None
    cookie: str | None = None
    query: str | None = None
    label: str | None = None
    key: Literal[True] | None = None
    terminal: bool = False
    ttl: Seconds | None = Field(None, ge=0)  # of a cookie
    path: str = "/"  # of a cookie

    @model_validator(mode="after")
    def _one(self) -> KeyModel:
        if sum(value is not None for value in (self.header, self.cookie, self.query, self.label, self.key)) != 1:
            raise ValueError("expected one of header, cookie, query, label and key")
        if self.ttl is not None and self.cookie is None:
            raise ValueError("ttl: expected with a cookie only")
        return self


class StickyModel(Model):
    by: Annotated[tuple[KeyModel, ...], BeforeValidator(_listed)]
    method: Literal["stable", "modulo"] = "stable"


def _sticky(value: Any) -> Any:
    """`sticky: {cookie: session}` is short for `sticky: {by: [{cookie: session}]}`."""
    return value if not isinstance(value, dict) or "by" in value else {"by": [value]}


Sticky = Annotated[StickyModel, BeforeValidator(_sticky)]


def _split(value: Any) -> Any:
    """`split: v1` is short for `split: {v1: 1}`."""
    return {value: 1} if isinstance(value, str) else value


Split = Annotated[dict[str, float], BeforeValidator(_split)]


class RewriteModel(Model):
    host: str | None = None
    path: str | None = None
    prefix: str | None = None
    regex: str | None = None


class RedirectModel(Model):
    status: int = 302
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    prefix: str | None = None
    strip_query: bool = False


class RespondModel(Model):
    status: int = 200
    body: str = ""
    headers: dict[str, str] = Field(default_factory=dict)


class FaultModel(Model):
    delay: Seconds | None = None
    delay_ratio: Ratio = 1.0
    delay_header: str | None = None
    abort_status: int | None = None
    abort_grpc: int | None = None
    abort_ratio: Ratio = 1.0
    abort_header: str | None = None


class HeaderEditModel(Model):
    set: dict[str, str] = Field(default_factory=dict)
    add: dict[str, str] = Field(default_factory=dict)
    remove: tuple[str, ...] = ()


def _off_by_name(value: Any) -> Any:
    """`retry: false` is one attempt; what is left out is the service's own."""
    return {"attempts": 1} if value is False or value == "off" else value


class ArmModel(Model):
    """What is done to the requests that go to one cluster of the split, and to their answers."""

    request_headers: HeaderEditModel | None = None
    response_headers: HeaderEditModel | None = None


class RouteModel(Model):
    name: str = ""
    match: Annotated[tuple[MatchModel, ...], BeforeValidator(_listed)] = ()
    split: Split = Field(default_factory=dict)
    sticky: Sticky | None = None
    arms: dict[str, ArmModel] = Field(default_factory=dict)
    redirect: RedirectModel | None = None
    respond: RespondModel | None = None
    outside: bool = False
    rewrite: RewriteModel | None = None
    request_headers: HeaderEditModel | None = None
    response_headers: HeaderEditModel | None = None
    mirror: dict[str, Ratio] = Field(default_factory=dict)
    fault: FaultModel | None = None
    timeout: Seconds | None = Field(None, gt=0)
    per_try_timeout: Seconds | None = Field(None, gt=0)
    retry: Annotated[RetryModel | None, BeforeValidator(_off_by_name)] = None
    policies: str | None = None  # the service whose policies this rule has

    @model_validator(mode="after")
    def _one_target(self) -> RouteModel:
        given = [name for name in ("split", "redirect", "respond", "outside") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"expected one of split, redirect, respond and outside, found {' and '.join(given) or 'none'}"
            )
        own = [name for name in ("timeout", "per_try_timeout", "retry") if getattr(self, name) is not None]
        if self.policies is not None and own:
            raise ValueError(f"policies: {self.policies!r} found together with {own[0]}, expected one of them")
        return self

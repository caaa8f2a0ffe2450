"""What else does a rule do to a request besides choosing a cluster, and when?

    before the service's policies   the fault (first the delay, then the abort), then a redirect or a direct answer
    beside them                     mirrors, see `mirror.py`
    on the wire                     rewrites and header edits, on the clone for each attempt (`wire_form`)
    after them                      edits of the answer's headers

So an injected fault is seen by the caller alone: no retry cures it, no breaker hears of it, and a delay does not count
towards the service's time-out (only towards the caller's own deadline). That is how Envoy and Istio inject faults too.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...call import Call
from ...errors import DeadlineExceeded
from ...mesh import Service
from ...pipeline import Pipeline
from ...policies.deadline import deadline
from ...policies.deadline.timeout import Timeout
from ...routing.actions import HeaderEdit, Injected, Rewrite
from ...routing.route import Decision, Route
from ...runtime import Runtime
from .exchange import Attempt, Exchange

if TYPE_CHECKING:
    from .async_engine import AsyncEngine, Engine
    from .sync_engine import SyncEngine

DECISION = "_meshlib_decision"  # the attribute in which an answer carries it on its way through the policies
ABORTED = b"fault filter abort"  # Envoy's own words, so that a drill looks the same on both


async def act(engine: AsyncEngine, exchange: Exchange) -> Any:
    """Answer an exchange whose decision is not plain."""
    fault = _fault(engine, exchange)
    if fault is not None and fault.delay:
        await engine.run.sleep_async(_in_time(engine, exchange, fault.delay))
        _check_time(engine, exchange)
    response = _answer(engine, exchange, fault)
    if response is None:
        engine.mirrors.start_async(engine, exchange)
        return await engine.call(exchange)
    return edited(exchange, response)


def act_sync(engine: SyncEngine, exchange: Exchange) -> Any:
    """The same for a thread."""
    fault = _fault(engine, exchange)
    if fault is not None and fault.delay:
        engine.run.sleep(_in_time(engine, exchange, fault.delay))
        _check_time(engine, exchange)
    response = _answer(engine, exchange, fault)
    if response is None:
        engine.mirrors.start(engine, exchange)
        return engine.call(exchange)
    return edited(exchange, response)


def policies_for(service: Service, route: Route, runtime: Runtime) -> Service:
    """The service's policies, as this rule has them: those it names, or the service's with the rule's time limit."""
    if route.policies is not None:
        return route.policies  # type: ignore[no-any-return]
    if route.timeout is None:
        return service
    key = "timeout", route.timeout
    found: Service | None = service.steps.get(key)
    if found is None:
        per_try = service.per_try_timeout
        per_try = per_try if per_try is None else min(per_try, route.timeout)
        kept = [policy for policy in service.pipeline.policies if not isinstance(policy, Timeout)]
        limit = Timeout(route.timeout, per_try=per_try, name=service.name, runtime=runtime)
        found = service.steps[key] = Service(
            service.name,
            Pipeline(limit, *kept, classify=service.pipeline.classify, runtime=runtime),
            budget=service.budget,
            per_try_timeout=per_try,
            statuses=service.statuses,
        )
    return found


def wire_form(attempt: Attempt, url: Any, headers: Any) -> tuple[Any, Any]:
    """The URL and the headers as the decision for this attempt wants them on the wire."""
    exchange: Exchange = attempt.what
    decision: Decision = attempt.decision
    rewrite = decision.route.rewrite
    host = None
    if rewrite is not None:
        host = rewrite.host
        path = _path(exchange, decision, rewrite)
        if path is not None:
            url = url.copy_with(raw_path=path)
    arm = decision.destination
    edits = [edit for edit in (decision.route.headers, arm and arm.headers) if edit]
    if host is not None:
        edits.append(HeaderEdit(set={"host": host}))
    if exchange.shadow:
        edits.append(HeaderEdit(set={"host": shadow_host(host or headers["host"])}))
    return url, edited_headers(exchange, headers, edits)


def shadow_host(host: str) -> str:
    """How a mirrored request is named, as Envoy does it: `users-shadow:8080`."""
    name, colon, port = host.rpartition(":")
    return f"{name}-shadow:{port}" if colon and port.isdigit() else f"{host}-shadow"


def edited_headers(exchange: Exchange, headers: Any, edits: Iterable[HeaderEdit]) -> Any:
    """A copy of `headers` after the edits. `Host` may be set, and neither added to nor removed."""
    raw: list[tuple[bytes, bytes]] = list(headers.raw)
    for edit in edits:
        gone = {name.encode() for name in edit.remove if name != "host"}
        gone |= {name.lower().encode() for name, _ in edit.set}
        host = [(name, value) for name, value in edit.set if name.lower() == "host"]
        more = [pair for pair in (*edit.set, *edit.add) if pair[0].lower() != "host"]
        raw = [
            *[(b"Host", value.encode()) for _, value in host],  # first, as it should be
            *[pair for pair in raw if pair[0].lower() not in gone],
            *[(name.encode(), value.encode()) for name, value in more],
        ]
    return exchange.family.lib.Headers(raw)


def _path(exchange: Exchange, decision: Decision, rewrite: Rewrite) -> bytes | None:
    """The new path and query as they stand on the wire; None: as they were.

    Rules match the decoded path. Where the rule holds for the encoded one as well, that is rewritten, so that an
    escaped slash in the part that stays remains one.
    """
    on_wire: bytes = exchange.request.url.raw_path
    raw, mark, query = on_wire.partition(b"?")
    encoded, path = raw.decode("ascii"), exchange.route.path
    matcher = getattr(decision.matched, "path", None)
    if encoded != path and (matcher is None or matcher.test(encoded)):
        path = encoded
    new = rewrite.rewritten(path, decision.matched)
    if new == path:
        return None
    safe = "/%:@!$&'()*+,;=-._~" if path is encoded else "/:@!$&'()*+,;=-._~"
    return quote(new if new.startswith("/") else f"/{new}", safe=safe).encode("ascii") + mark + query


def _fault(engine: Engine, exchange: Exchange) -> Injected | None:
    fault = exchange.decision.route.fault
    exchange.deadline = deadline.current()
    return None if fault is None else fault.draw(exchange.route, engine.run.random)


def _in_time(engine: Engine, exchange: Exchange, delay: float) -> float:
    return max(0.0, min(delay, exchange.deadline - engine.now()))


def _check_time(engine: Engine, exchange: Exchange) -> None:
    if engine.now() >= exchange.deadline:
        raise DeadlineExceeded(exchange.service, sent=False)


def _answer(engine: Engine, exchange: Exchange, fault: Injected | None) -> Any:
    """The answer that needs no endpoint, if there is one."""
    route: Route = exchange.decision.route
    headers: dict[str, str] = {}
    if fault is not None and fault.grpc_status is not None:
        status, body = 200, b""
        headers = {"content-type": "application/grpc", "grpc-status": str(fault.grpc_status)}
    elif fault is not None and fault.status is not None:
        status, body, headers = fault.status, ABORTED, {"content-type": "text/plain"}
    elif route.redirect is not None:
        location = route.redirect.location(exchange.route, exchange.decision.matched)
        status, body, headers = route.redirect.status, b"", {"location": location}
    elif route.direct is not None:
        direct = route.direct
        status, body, headers = direct.status, direct.body, {"content-type": "text/plain", **_lower(direct.headers)}
        if not body:
            del headers["content-type"]
    else:
        return None
    response = _response(exchange, status, body, headers)
    response.elapsed = datetime.timedelta(seconds=engine.now() - exchange.start)
    if engine.mesh.port.listeners:
        engine.finished(Call(exchange, exchange.deadline), response, None)
    return response


def _response(exchange: Exchange, status: int, body: bytes, headers: dict[str, str]) -> Any:
    lib = exchange.family.lib
    if exchange.request.method == "HEAD":
        body = b""
    if not exchange.stream:
        return lib.Response(status, headers=headers, content=body, request=exchange.request)
    headers = {**headers, "content-length": str(len(body))}
    return lib.Response(status, headers=headers, stream=lib.ByteStream(body), request=exchange.request)


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def decided(attempt: Attempt, response: Any) -> None:
    """Have the answer know the decision of its attempt: it may win a race against an attempt that went elsewhere."""
    response.__dict__[DECISION] = attempt.decision


def edited(exchange: Exchange, response: Any) -> Any:
    """The answer with the header edits that its rule, and its arm of the split, want for the caller."""
    decision: Decision = response.__dict__.pop(DECISION, exchange.decision)
    arm = decision.destination
    edits = [edit for edit in (decision.route.response_headers, arm and arm.response_headers) if edit]
    if edits:
        response.headers = edited_headers(exchange, response.headers, edits)
    return response

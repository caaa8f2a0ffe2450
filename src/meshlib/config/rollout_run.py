"""Rollout run: writes each step of a rollout into the shared mesh file; only one rollout of a service runs.

Who runs one writes its claim into the file (`rollouts`), compared and swapped like everything else: of two that begin
together one is refused. The claim has an end and is prolonged while the rollout runs, so that a process that died does
not block the next for ever. The decisions are in `meshlib.routing.rollout`, the figures come from outside.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

from ..discovery.store import Conflict, Entry, RouteStore, StoreAway
from ..errors import MeshError
from ..routing.rollout import Move, Phase, Rollout, shifted
from ..routing.split import Split
from ..runtime import SYSTEM, Runtime
from .document import parse_document
from .edit import with_value
from .load import check_text
from .models import MeshModel

Look: TypeAlias = "tuple[Rollout, Move | None, Mapping[str, float]]"
CLAIM = 120.0  # seconds for which a claim holds without being prolonged


class RolloutRefused(MeshError):
    """Another rollout of the service is running, or somebody took the service out of this one's hands."""


class RolloutRun:
    """One rollout of one service: `begin`, then `tick` until it is over.

    `figures(now)` gives the new version's figures since the step began (see `meshlib.telemetry.figures.between`); it is
    told of each new step through `step_began(now)`. `wall` is the time of day in seconds, for the claim alone.
    """

    def __init__(
        self,
        store: RouteStore,
        service: str,
        to: str,
        rollout: Rollout,
        *,
        wall: Callable[[], float],
        owner: str | None = None,
    ) -> None:
        self.store = store
        self.service = service
        self.to = to
        self.rollout = rollout
        self.owner: str = owner or f"{socket.gethostname()}:{os.getpid()}"
        self._wall = wall
        self._before: Split | None = None
        self._claimed = 0.0

    def begin(self) -> None:
        """Claim the service. Raises `RolloutRefused`, `StoreAway`, `ConfigError`."""

        def claim(model: MeshModel, text: str) -> str:
            other = model.rollouts.get(self.service)
            if other is not None and other.by != self.owner and other.until > self._wall():
                left = other.until - self._wall()
                raise RolloutRefused(
                    f"{self.service}: a rollout to {other.to} by {other.by} is running; its claim ends in {left:.0f} s"
                )
            service = model.services.get(self.service)
            if service is None or not service.split:
                names = ", ".join(model.services) or "none"
                raise RolloutRefused(f"{self.service}: expected a service with a split; there are: {names}")
            if self.to not in model.clusters:
                raise RolloutRefused(f"{self.to}: no such cluster; there are: {', '.join(model.clusters)}")
            self._before = Split(service.split)
            return self._with_claim(text, model)

        self._change(claim)

    def tick(self, figures: Mapping[str, float], now: float) -> Move | None:
        """Decide, and write what was decided. Raises `RolloutRefused` if the claim was lost."""
        move = self.rollout.decide(figures, now)
        if move is not None:
            self._write(move)
        elif self.rollout.phase is Phase.DONE:
            self.end()
        elif self._wall() - self._claimed > CLAIM / 3:
            self._change(lambda model, text: self._with_claim(text, model))
        if self.rollout.phase is Phase.ABORTED:
            self.end()
        return move

    def abort(self, reason: str) -> None:
        """Go back to where it began, and give the claim back."""
        move = self.rollout.abort(reason)
        if move is not None:
            self._write(move)
        self.end()

    def end(self) -> None:
        """Give the claim back; the share stays what it is."""
        self._change(lambda model, text: self._without_claim(text, model))

    def _write(self, move: Move) -> None:
        before = self._before
        if before is None:
            raise RolloutRefused(f"{self.service}: the rollout was not begun")
        back = self.rollout.phase is Phase.ABORTED
        split = before if back else shifted(before, self.to, move.share)
        weights = {arm.cluster: arm.weight for arm in split.destinations}
        place = ("services", self.service, "split")
        self._change(lambda model, text: self._with_claim(with_value(text, place, weights), model))

    def _with_claim(self, text: str, model: MeshModel) -> str:
        self._claimed = self._wall()
        mine = {"to": self.to, "by": self.owner, "until": round(self._claimed + CLAIM, 3)}
        return with_value(text, ("rollouts",), {**_claims(model), self.service: mine})

    def _without_claim(self, text: str, model: MeshModel) -> str:
        others = {name: claim for name, claim in _claims(model).items() if name != self.service}
        return with_value(text, ("rollouts",), others or None)

    def _change(self, change: Callable[[MeshModel, str], str]) -> Entry:
        """Compare and swap, again after each conflict: somebody else may be editing another part of the file."""
        for _ in range(20):
            entry = self.store.get()
            if entry is None:
                raise StoreAway(f"{self.store.name}: there is no text in it")
            model = check_text(parse_document(entry.text, self.store.name))
            claim = model.rollouts.get(self.service)
            if self._claimed and (claim is None or claim.by != self.owner):
                raise RolloutRefused(f"{self.service}: the claim is gone; another rollout has taken over")
            text = change(model, entry.text)
            if text == entry.text:
                return entry
            try:
                return self.store.put(text, expected=entry.revision)
            except Conflict:
                continue
        raise RolloutRefused(f"{self.store.name}: changes too fast to be written to")


def _claims(model: MeshModel) -> dict[str, Any]:
    return {name: claim.model_dump() for name, claim in model.rollouts.items()}


def rollout(
    store: RouteStore,
    service: str,
    *,
    to: str,
    steps: Sequence[float],
    every: float,
    abort_if: str | None = None,
    least: int = 1,
    figures: Callable[[float], Mapping[str, float]],
    step_began: Callable[[float], object] = lambda now: None,
    poll: float = 1.0,
    wall: Callable[[], float],
    runtime: Runtime = SYSTEM,
) -> Generator[Look, None, None]:
    """Roll `service` out to the cluster `to` in `steps` (shares of 0 to 1), each held `every` seconds.

    A generator: it yields after every look (`poll` seconds apart) what was decided and on which figures, so that
    whoever drives it can tell, pause or stop. Closing it before the end leaves the share and gives the claim back.
    """
    plan = Rollout(steps=steps, every=every, abort_if=abort_if, least=least)
    run = RolloutRun(store, service, to, plan, wall=wall)
    run.begin()
    try:
        while plan.phase in (Phase.RUNNING, Phase.PAUSED):
            now = runtime.now()
            seen = figures(now)
            move = run.tick(seen, now)
            if move is not None:
                step_began(now)
            yield plan, move, seen
            if plan.phase in (Phase.RUNNING, Phase.PAUSED):
                runtime.sleep(poll)
    except GeneratorExit:
        run.end()
        raise

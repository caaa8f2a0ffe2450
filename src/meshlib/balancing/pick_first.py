"""Pick first: stays with one endpoint until it is ejected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base_picker import BasePicker, EndpointSet, Random
from .endpoint import Endpoint


class PickFirst(BasePicker):
    """The first healthy endpoint of the list, and the same again as long as it is (after gRPC's pick_first).

    With `shuffle`, each client starts somewhere else: the first pick after an update that lost the present endpoint
    draws one by weight.
    """

    name = "pick_first"

    def __init__(self, *args: Any, shuffle: bool = False, **settings: Any) -> None:
        self.shuffle = shuffle
        self._present: Endpoint | None = None
        super().__init__(*args, **settings)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        super().update(endpoints)
        if self._present not in self._endpoint_set.endpoints:
            self._present = None

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        present = self._present
        if present is not None and present.healthy and attempt == 0:
            return present
        if self.shuffle:
            chosen = endpoint_set.draw(random)
        else:
            at = endpoint_set.endpoints.index(present) + attempt if present in endpoint_set.endpoints else attempt
            chosen = next((one for one in endpoint_set.endpoints if one.healthy), endpoint_set.endpoints[0])
            if attempt:  # the caller avoids the first: the next ones in order
                chosen = endpoint_set.endpoints[at % endpoint_set.size]
        if chosen.healthy and attempt == 0:
            self._present = chosen
        return chosen

"""Ejection state: one endpoint's state while it is ejected, and its memory of it. ejection.py decides over it."""

from __future__ import annotations

from math import inf


class EjectionState:
    """One endpoint's state while it is ejected, and what it remembers of that afterwards."""

    __slots__ = (
        "again",
        "claimed",
        "due",
        "held",
        "level",
        "probe",
        "reason",
        "recovered_at",
        "relapses",
        "since",
        "state",
    )

    def __init__(self) -> None:
        self.state: str = ""
        self.reason: str = ""
        self.since: int = 0  # permits above this one were given after the ejection
        self.level: int = 0  # backoffs used so far
        self.due: float = inf  # when the next probe may go
        self.again: float = 0.0  # while a probe is in flight: when the next may go if this one fails
        self.probe: int = 0  # the permit of the probe in flight
        self.claimed: bool = False  # picked for a probe whose call has not entered yet
        self.recovered_at: float = -inf  # when it was last readmitted
        self.relapses: int = 0  # ejections soon after a readmission
        self.held: tuple[str, ...] = ()  # what else keeps it out of rotation: outlier, health check, discovery

    def bound(self, permit: int, patience: float, typical: float) -> float:
        """The longest time in seconds that an answer may take and still readmit the endpoint.

        A probe may be three times slower than what is typical in the cluster: a slow endpoint gets fewer calls, but
        no ejection. An answer to a call from before the ejection counts if it was only a little late.
        """
        if permit > self.since:
            return max(patience, 3.0 * typical) or inf
        return 2.0 * patience if self.state == "slow" else -1.0

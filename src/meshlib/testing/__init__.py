"""What tests of guarded code need: a manual clock, scripted steps, a recorder of events."""

from .clock import ManualClock as ManualClock

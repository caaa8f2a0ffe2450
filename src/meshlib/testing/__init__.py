"""What tests of guarded code need: a manual clock, scripted steps, a recorder of events."""

from .clock import ManualClock as ManualClock
from .recorder import Recorder as Recorder
from .steps import After as After
from .steps import ScriptedStep as ScriptedStep

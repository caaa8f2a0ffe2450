"""Telemetry: what a mesh emits, in the forms that other systems read."""

"""Deadlines: how long a call may take. Timeouts, inherited deadlines, admission by deadline."""

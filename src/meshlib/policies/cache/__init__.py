"""Shared runs: one run for many callers. Request cache, single flight, collapse."""

"""Trying again: retries and their backoff, shared budgets, and hedging with its race."""

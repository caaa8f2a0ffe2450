"""Transports: our own connections, and httpx's for what the caller brings."""

"""Request plans: what httpx would make of a request of this shape, asked once."""

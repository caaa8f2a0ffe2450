"""HTTP/1.1 on our own connections: parsing, writing, and the pool. Imports no httpx."""

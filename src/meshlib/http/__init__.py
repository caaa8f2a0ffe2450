"""The only room that knows httpx and httpx2: client, engine, fast lane, wire, classification, errors."""

"""Hashing: keys for the hash balancers, mixed bit for bit as in Envoy."""

from __future__ import annotations

from collections.abc import Iterable

from xxhash import xxh64_intdigest

_64 = (1 << 64) - 1


def hash64(value: str | bytes, seed: int = 0) -> int:
    """XXH64, the hash of ring, Maglev and Envoy's hash policies."""
    return xxh64_intdigest(value.encode() if isinstance(value, str) else value, seed)


def mix(hashes: Iterable[int | None]) -> int | None:
    """Several policies' hashes in one: h = rotl64(h, 1) xor next. `None` where a policy has no value is left out."""
    mixed: int | None = None
    for value in hashes:
        if value is not None:
            mixed = value if mixed is None else (((mixed << 1) | (mixed >> 63)) & _64) ^ value
    return mixed

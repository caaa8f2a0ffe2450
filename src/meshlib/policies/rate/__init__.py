"""How many calls per second: token buckets, windows, limits by key, and quotas shared by a fleet."""

"""Who gets the next call: one file per algorithm, all over the same `Endpoint`."""

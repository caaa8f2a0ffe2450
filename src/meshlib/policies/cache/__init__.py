"""One run for many callers: request cache, single flight, batches."""

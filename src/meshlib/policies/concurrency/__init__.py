"""How many calls at once: bulkheads, adaptive limits, and the queue of those that wait."""

"""The engine: one exchange through service, binding, cluster and endpoint."""

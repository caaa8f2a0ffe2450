"""The circuit breaker and its relatives: accrual and fail fast. When to stop calling, and when to try again."""

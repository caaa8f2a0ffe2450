"""Active health checks and the thread that runs them."""

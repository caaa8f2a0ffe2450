"""Real servers for the tests that are marked `@pytest.mark.needs("redis-server")`; see `plugin` and `server`."""

"""Configuration: models, loading and building. The only room that knows pydantic and YAML."""

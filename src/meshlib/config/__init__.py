"""The only room that knows pydantic and YAML: models, loading, building."""

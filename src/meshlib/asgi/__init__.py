"""The server's half: what an ASGI application tells the meshes that call it."""

from .load import LoadReports

__all__ = ["LoadReports"]

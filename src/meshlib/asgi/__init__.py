"""The server's half: what an ASGI application tells the meshes that call it, and hears from them."""

from .deadlines import Deadlines
from .load import LoadReports

__all__ = ["Deadlines", "LoadReports"]

"""ASGI middleware: load reports to calling meshes, and deadlines from them."""

from .deadlines import Deadlines
from .load import LoadReports

__all__ = ["Deadlines", "LoadReports"]

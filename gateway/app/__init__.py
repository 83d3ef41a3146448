"""The composition root: the only room that sees every other, and therefore loads every other.

Its modules are loaded when they are used: ``slipway --help``, and commands for a server elsewhere, need none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["commands", "service"]

if TYPE_CHECKING:
    from types import ModuleType

    from gateway.app import commands, service
else:

    def __getattr__(name: str) -> ModuleType:
        """Load a module (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return import_module(f"{__name__}.{name}")

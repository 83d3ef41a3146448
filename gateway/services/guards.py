"""Asking everybody who may object before something is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.ports.collection import Guard
    from gateway.ports.metadata import Registry


async def objection(guards: Iterable[Guard], registry: Registry) -> str | None:
    """Return the first reason why nothing of a registry may be removed now."""
    for guard in guards:
        reason = await guard.objection(registry)
        if reason is not None:
            return reason
    return None

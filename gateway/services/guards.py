"""Asking everybody who may object before something is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import BackendError, ValueRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from gateway.model.collection import Event
    from gateway.ports.collection import Guard, Tally
    from gateway.ports.metadata import Registry


async def objection(guards: Iterable[Guard], registry: Registry) -> str | None:
    """Return the first reason why nothing of a registry may be removed now."""
    for guard in guards:
        reason = await guard.objection(registry)
        if reason is not None:
            return reason
    return None


async def divided(
    guards: Sequence[Guard], registries: Iterable[Registry], tally: Tally, failed: Event
) -> tuple[list[Registry], dict[Registry, str]]:
    """Divide registries into those that nobody objects to, and the others with the reasons; see ``told``."""
    free, reasons = [], {}
    for registry in registries:
        reason = await told(objection(guards, registry), tally, failed)
        if reason is None:
            free.append(registry)
        else:
            reasons[registry] = reason
    return free, reasons


async def told(asking: Awaitable[str | None], tally: Tally, failed: Event) -> str | None:
    """Return what is objected; that nobody can tell, as by a marker that is none, is one too, counted as ``failed``."""
    try:
        return await asking
    except (BackendError, ValueRefused) as error:
        tally(failed)
        return str(error)

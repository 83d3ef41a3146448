"""Pages of the audit log: of the installation, and of one registry."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.admin import audit as api
from gateway.admin import registries as registries_api
from gateway.console.visits import day_of

if TYPE_CHECKING:
    from gateway.console.visits import Reply, Visit

_FILTERS = ("registry", "account", "action", "result")


async def show_audit(visit: Visit) -> Reply:
    """Show who did what."""
    return await _show(visit, {})


async def show_audit_of_registry(visit: Visit) -> Reply:
    """Show who did what in one registry."""
    registry = await visit.ask(registries_api.get_registry)
    return await _show(visit, {"registry": registry.name})


async def _show(visit: Visit, fixed: dict[str, str]) -> Reply:
    days = {name: moment for name in ("since", "until") if (moment := _day(visit, name))}
    query = visit.page_query(api.AuditQuery, *_FILTERS, **days, **fixed)
    lines = await visit.ask(api.list_audit, query=query)
    return visit.page("audit.html", page=lines, query=query, nav_registry=fixed.get("registry"), tab="audit")


def _day(visit: Visit, name: str) -> str:
    """Return the begin of the day that a filter names, or the end of the last one; nothing where it is empty."""
    day = day_of(visit.asked(name), name)
    return (day + timedelta(days=name == "until")).isoformat() if day else ""

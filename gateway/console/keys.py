"""Pages of access keys. A secret is shown once, on the answer to the form that has made it."""

from __future__ import annotations

from datetime import UTC, datetime, time
from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.admin import accounts as accounts_api
from gateway.admin import keys as api
from gateway.admin.forms import PageQuery
from gateway.console.registries import sent_version
from gateway.console.visits import address, all_of, day_of
from gateway.errors import ValueRefused
from gateway.model.access import Action

if TYPE_CHECKING:
    from gateway.console.visits import Reply, Visit

_HOURS = {str(hours) for hours in range(30 * 24 + 1)}
"""How long an old secret may go on working, as it is typed."""


async def show_keys(visit: Visit) -> Reply:
    """List the keys that the visitor may see, with the form for a new one."""
    page = await visit.ask(api.list_keys, query=visit.page_query(api.KeyQuery, "account"))
    accounts = await visit.ask(accounts_api.list_accounts, query=all_of(PageQuery))
    key = visit.caller.key
    return visit.page(
        "keys.html",
        page=page,
        accounts=[each.name for each in accounts.items],
        own_account=key.account.name if key else "",
        actions=[each.value for each in Action],
    )


async def create(visit: Visit) -> Reply:
    """Make a key and show its secret."""
    wanted = visit.body(
        api.NewKey,
        account=visit.sent("account"),
        note=visit.sent("note"),
        actions=visit.all_sent("actions") or None,
        repositories=visit.lines_sent("repositories") or None,
        expires_at=_end_of_day(visit.sent("expires_on")),
    )
    made = await visit.ask(api.create_key, body=wanted)
    return visit.page("secret.html", HTTPStatus.CREATED, key=made)


async def show_key(visit: Visit) -> Reply:
    """Show a key."""
    found = await visit.ask(api.get_key)
    return visit.page("key.html", key=found, actions=[each.value for each in Action])


async def change(visit: Visit) -> Reply:
    """Describe, disable, narrow or end a key."""
    patch = visit.body(
        api.KeyPatch,
        note=visit.sent("note"),
        disabled=bool(visit.sent("disabled")),
        actions=visit.all_sent("actions") or None,
        repositories=visit.lines_sent("repositories") or None,
        expires_at=_end_of_day(visit.sent("expires_on")),
    )
    changed = await visit.ask(api.update_key, body=patch, version=sent_version(visit))
    return visit.go(address("keys", changed.access_key_id), "saved")


async def rotate(visit: Visit) -> Reply:
    """Give a key a new secret and show it."""
    hours = visit.sent("keep_old_hours", "0")
    if hours not in _HOURS:
        raise ValueRefused(visit.texts("key.hours_wrong"), "keep_old_seconds")
    rotation = visit.body(api.KeyRotation, keep_old_seconds=int(hours) * 3600)
    return visit.page("secret.html", key=await visit.ask(api.rotate_key, body=rotation))


async def delete(visit: Visit) -> Reply:
    """Delete a key."""
    await visit.ask(api.delete_key)
    return visit.go("/console/keys", "key_deleted", name=visit.variables["access_key_id"])


def _end_of_day(text: str) -> str | None:
    """Return when a day that was typed is over, in UTC; raises ValueRefused."""
    day = day_of(text, "expires_at")
    return None if day is None else datetime.combine(day, time.max, UTC).isoformat(timespec="seconds")

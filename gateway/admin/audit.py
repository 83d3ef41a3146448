"""The audit log."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import AwareDatetime, Field

from gateway.admin.forms import Nothing, Page, PageQuery, View
from gateway.admin.operations import AnyOperation, Call, Operation
from gateway.admin.places import decode_number, encode_number
from gateway.admin.registries import find_registry
from gateway.errors import Forbidden, NothingKnown
from gateway.ports.audit import AuditFilter

if TYPE_CHECKING:
    from gateway.ports.audit import AuditRecord


class AuditQuery(PageQuery):
    """Which lines are wanted."""

    registry: str | None = Field(None, description="Those of one registry.")
    account: str | None = Field(None, description="What one account did.")
    action: str | None = Field(None, description="One kind of action, for instance `registry.create` or `login`.")
    result: Literal["done", "refused"] | None = None
    since: AwareDatetime | None = Field(None, description="Not earlier than this.")
    until: AwareDatetime | None = Field(None, description="Earlier than this.")


class AuditLine(View):
    """Who did what."""

    happened_at: datetime
    account: str
    access_key_id: str | None
    address: str | None
    action: str
    registry: str | None
    object: str
    before: Any = Field(description="What it was; null where there was nothing.")
    after: Any = Field(description="What it became.")
    result: str
    count: int = Field(description="How often within the minute; refused logins are counted together.")


class AuditPage(Page[AuditLine]):
    """Lines of the audit log, the newest first."""


async def list_audit(call: Call[AuditQuery, Nothing]) -> AuditPage:
    """List what was done, the newest first."""
    query = call.query
    wanted = AuditFilter(
        registry_ids=await _registries(call),
        account=query.account,
        action=query.action,
        result=query.result,
        since=query.since,
        until=query.until,
    )
    lines = await call.services.audit.list(wanted, decode_number(query.cursor), query.limit + 1)
    page = lines[: query.limit]
    after = encode_number(page[-1].id) if len(lines) > len(page) else None
    return AuditPage(items=[_line(each) for each in page], next=after)


async def _registries(call: Call[AuditQuery, Nothing]) -> tuple[int, ...] | None:
    """Return which registries' lines the caller gets; None is everything. Raises NothingKnown or Forbidden."""
    caller, name = call.caller, call.query.registry
    if name is not None:
        found = await find_registry(call.services, caller, name)
        caller.require_management(found.registry.id, found.name)
        return (found.registry.id,)
    if caller.may_administer():
        return None
    managed = [
        each.registry.id for each in await call.services.registries.list() if caller.may_manage(each.registry.id)
    ]
    if not managed:
        raise Forbidden("the audit log is for managers")
    return tuple(managed)


def _line(record: AuditRecord) -> AuditLine:
    return AuditLine(
        happened_at=record.happened_at,
        account=record.account,
        access_key_id=record.access_key_id,
        address=record.address,
        action=record.action,
        registry=record.registry,
        object=record.object,
        before=None if record.before is None else json.loads(record.before),
        after=None if record.after is None else json.loads(record.after),
        result=record.result,
        count=record.count,
    )


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        name="listAudit",
        method="GET",
        path="/api/audit",
        summary="List who did what, the newest first",
        handle=list_audit,
        query=AuditQuery,
        body=Nothing,
        answer=AuditPage,
        errors=(Forbidden, NothingKnown),
    ),
)

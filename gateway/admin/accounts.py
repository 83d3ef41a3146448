"""Accounts and their policies."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from gateway.admin.forms import Form, Note, Nothing, Page, PageQuery, Query, View
from gateway.admin.operations import AnyOperation, Call, Operation
from gateway.admin.paging import cut_page
from gateway.admin.registries import find_registry
from gateway.errors import AlreadyTaken, Forbidden, NothingKnown, ValueRefused
from gateway.model.access import Role, check_account_name

if TYPE_CHECKING:
    from gateway.ports.accounts import AccountRecord, PolicyRecord


class NewAccount(Form):
    """An account to be made."""

    name: Annotated[str, AfterValidator(check_account_name)] = Field(
        json_schema_extra={"pattern": "^[a-z][a-z0-9-]{0,61}[a-z0-9]$"},
        description="2 to 63 lower-case letters, digits and hyphens; it begins with a letter.",
    )
    note: Note = ""


class AccountView(View):
    """An account."""

    name: str
    is_root: bool
    note: str
    created_at: datetime
    version: int = Field(description="Counts changes; the ETag.")


class AccountPage(Page[AccountView]):
    """Accounts, by name."""


class PolicyView(View):
    """A role that an account has."""

    account: str
    role: Role
    registry: str | None = Field(description="null is all registries.")
    created_at: datetime


class PolicyPage(Page[PolicyView]):
    """Policies, by account, role and registry."""


class PolicyQuery(PageQuery):
    """Which policies are wanted."""

    account: str | None = Field(None, description="Those of one account.")
    registry: str | None = Field(None, description="Those for one registry alone.")


class ScopeQuery(Query):
    """Where a role holds."""

    registry: str | None = Field(None, description="In this registry; left out, in all.")


async def list_accounts(call: Call[PageQuery, Nothing]) -> AccountPage:
    """List the accounts that the caller may see."""
    accounts = await call.services.accounts.list_accounts(call.caller.key)
    page, after = cut_page(accounts, lambda each: each.name, call.query)
    return AccountPage(items=[_account(each) for each in page], next=after)


async def create_account(call: Call[Nothing, NewAccount]) -> AccountView:
    """Make an account, without policies and keys."""
    caller, wanted = call.caller, call.body
    return _account(await call.services.accounts.create_account(caller.actor, caller.key, wanted.name, wanted.note))


async def get_account(call: Call[Nothing, Nothing]) -> AccountView:
    """Show an account."""
    return _account(await call.services.accounts.get_account(call.caller.key, call.variables["account"]))


async def delete_account(call: Call[Nothing, Nothing]) -> None:
    """Delete an account with its policies and keys."""
    await call.services.accounts.delete_account(call.caller.actor, call.caller.key, call.variables["account"])


async def list_policies(call: Call[PolicyQuery, Nothing]) -> PolicyPage:
    """List the policies that the caller may see."""
    if call.query.registry is not None:
        await find_registry(call.services, call.caller, call.query.registry)
    found = await call.services.accounts.list_policies(call.caller.key, call.query.account, call.query.registry)
    page, after = cut_page(found, lambda each: f"{each.account} {each.role} {each.registry or ''}", call.query)
    return PolicyPage(items=[_policy(each) for each in page], next=after)


async def grant_policy(call: Call[ScopeQuery, Nothing]) -> PolicyView:
    """Give an account a role; it may have it already."""
    caller = call.caller
    granted = await call.services.accounts.grant(
        caller.actor, caller.key, call.variables["account"], _role(call.variables["role"]), call.query.registry
    )
    return _policy(granted)


async def revoke_policy(call: Call[ScopeQuery, Nothing]) -> None:
    """Take a role from an account."""
    caller = call.caller
    await call.services.accounts.revoke(
        caller.actor, caller.key, call.variables["account"], _role(call.variables["role"]), call.query.registry
    )


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise ValueRefused(f"{text!r} is no role: manager and viewer are", "role") from None


def _account(record: AccountRecord) -> AccountView:
    return AccountView(
        name=record.name,
        is_root=record.is_root,
        note=record.note,
        created_at=record.created_at,
        version=record.version,
    )


def _policy(record: PolicyRecord) -> PolicyView:
    return PolicyView(account=record.account, role=record.role, registry=record.registry, created_at=record.created_at)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        name="listAccounts",
        method="GET",
        path="/api/accounts",
        summary="List the accounts that the caller may see",
        handle=list_accounts,
        query=PageQuery,
        body=Nothing,
        answer=AccountPage,
    ),
    Operation(
        name="createAccount",
        method="POST",
        path="/api/accounts",
        summary="Make an account, without policies and keys",
        handle=create_account,
        query=Nothing,
        body=NewAccount,
        answer=AccountView,
        status=HTTPStatus.CREATED,
        errors=(Forbidden, AlreadyTaken),
        location="/api/accounts/{name}",
    ),
    Operation(
        name="getAccount",
        method="GET",
        path="/api/accounts/{account}",
        summary="Show an account",
        handle=get_account,
        query=Nothing,
        body=Nothing,
        answer=AccountView,
        errors=(Forbidden, NothingKnown),
    ),
    Operation(
        name="deleteAccount",
        method="DELETE",
        path="/api/accounts/{account}",
        summary="Delete an account with its policies and keys",
        handle=delete_account,
        query=Nothing,
        body=Nothing,
        answer=None,
        status=HTTPStatus.NO_CONTENT,
        errors=(Forbidden, NothingKnown),
    ),
    Operation(
        name="listPolicies",
        method="GET",
        path="/api/policies",
        summary="List the policies that the caller may see",
        handle=list_policies,
        query=PolicyQuery,
        body=Nothing,
        answer=PolicyPage,
        errors=(Forbidden, NothingKnown),
    ),
    Operation(
        name="grantPolicy",
        method="PUT",
        path="/api/accounts/{account}/policies/{role}",
        summary="Give an account a role, in one registry or in all",
        handle=grant_policy,
        query=ScopeQuery,
        body=Nothing,
        answer=PolicyView,
        errors=(Forbidden, NothingKnown),
    ),
    Operation(
        name="revokePolicy",
        method="DELETE",
        path="/api/accounts/{account}/policies/{role}",
        summary="Take a role from an account, in one registry or in all",
        handle=revoke_policy,
        query=ScopeQuery,
        body=Nothing,
        answer=None,
        status=HTTPStatus.NO_CONTENT,
        errors=(Forbidden, NothingKnown),
    ),
)

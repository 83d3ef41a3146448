"""Pages of accounts and their policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.admin import accounts as api
from gateway.admin import keys as keys_api
from gateway.admin import registries as registries_api
from gateway.admin.forms import PageQuery
from gateway.console.visits import address, all_of
from gateway.model.access import Role

if TYPE_CHECKING:
    from gateway.console.visits import Reply, Visit


async def show_accounts(visit: Visit) -> Reply:
    """List the accounts that the visitor may see."""
    page = await visit.ask(api.list_accounts, query=visit.page_query(PageQuery))
    return visit.page("accounts.html", page=page, may_create=visit.caller.may_administer())


async def create(visit: Visit) -> Reply:
    """Make an account."""
    made = await visit.ask(
        api.create_account, body=visit.body(api.NewAccount, name=visit.sent("name"), note=visit.sent("note"))
    )
    return visit.go(address("accounts", made.name), "account_created", name=made.name)


async def show_account(visit: Visit) -> Reply:
    """Show an account with its policies and keys."""
    account = await visit.ask(api.get_account)
    policies = await visit.ask(api.list_policies, query=all_of(api.PolicyQuery, account=account.name))
    found = await visit.ask(keys_api.list_keys, query=all_of(keys_api.KeyQuery, account=account.name))
    known = await visit.ask(registries_api.list_registries, query=all_of(PageQuery))
    return visit.page(
        "account.html",
        account=account,
        policies=policies.items,
        keys=found.items,
        registries=[each.name for each in known.items],
        roles=[each.value for each in Role],
        may_change=visit.caller.may_administer() and not account.is_root,
    )


async def change_policies(visit: Visit) -> Reply:
    """Grant or revoke a role."""
    operation = api.revoke_policy if visit.sent("change") == "revoke" else api.grant_policy
    scope = api.ScopeQuery(registry=visit.sent("registry") or None)
    await visit.ask(operation, query=scope, role=visit.sent("role"))
    return visit.go(address("accounts", visit.variables["account"]), "saved")


async def delete(visit: Visit) -> Reply:
    """Delete an account whose name was typed once more."""
    name = visit.variables["account"]
    visit.require_typed(name)
    await visit.ask(api.delete_account)
    return visit.go("/console/accounts", "account_deleted", name=name)

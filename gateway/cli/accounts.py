"""``slipway account`` and ``slipway policy``: accounts, and what they may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateway.cli.clients import address
from gateway.cli.commands import managing, sure
from gateway.cli.output import local_time, print_facts, print_json, print_table

if TYPE_CHECKING:
    from gateway.cli.commands import Session

_ROLES = click.Choice(["manager", "viewer"])
_IN = click.option("--registry", help="In this registry only; without it, in all.")


@click.group()
def account() -> None:
    """Accounts: make, list, delete."""


@account.command()
@click.argument("name")
@click.option("--note", default="", help="For people; anything.")
@managing
def create(session: Session, name: str, note: str) -> None:
    """Make an account; it may do nothing before it gets a policy."""
    made = session.api.post(address("accounts"), {"name": name, "note": note})
    if session.is_json:
        print_json(made)
        return
    click.echo(
        f"The account {name} is made. Let it do something with `slipway policy grant {name} viewer`, and make it a "
        f"key with `slipway key create {name}`."
    )


@account.command(name="list")
@managing
def list_(session: Session) -> None:
    """List accounts."""
    found = session.read_list(address("accounts"))
    if session.is_json:
        print_json(found)
        return
    rows = ([each["name"], each["is_root"], each["note"], local_time(each["created_at"])] for each in found)
    print_table(("name", "root", "note", "made"), rows, "No accounts.")


@account.command()
@click.argument("name")
@sure
@managing
def delete(session: Session, name: str, is_sure: bool) -> None:  # noqa: FBT001
    """Delete an account with its policies and keys."""
    question = f"This ends all keys of the account {name} at once. Go on?"
    session.delete({name: address("accounts", name)}, question, "The account {name} is deleted.", is_sure=is_sure)


@click.group()
def policy() -> None:
    """Policies: what accounts may do."""


@policy.command()
@click.argument("account")
@click.argument("role", type=_ROLES)
@_IN
@managing
def grant(session: Session, account: str, role: str, registry: str | None) -> None:
    """Make an account a manager or a viewer, of one registry or of all."""
    granted = session.api.put(address("accounts", account, "policies", role), registry=registry)
    if session.is_json:
        print_json(granted)
    else:
        print_facts(_facts(granted))


@policy.command()
@click.argument("account")
@click.argument("role", type=_ROLES)
@_IN
@managing
def revoke(session: Session, account: str, role: str, registry: str | None) -> None:
    """Take a role from an account again."""
    session.api.delete(address("accounts", account, "policies", role), registry=registry)
    if session.is_json:
        print_json({"revoked": {"account": account, "role": role, "registry": registry}})
    else:
        click.echo(f"{account} is no longer {role} of {registry or 'all registries'}.")


@policy.command(name="list")
@click.option("--account", help="Of this account.")
@click.option("--registry", help="For this registry alone.")
@managing
def list_policies(session: Session, account: str | None, registry: str | None) -> None:
    """List who may do what."""
    found = session.read_list(address("policies"), account=account, registry=registry)
    if session.is_json:
        print_json(found)
        return
    columns = ("account", "role", "registry", "granted")
    print_table(columns, ([value for _, value in _facts(each)] for each in found), "No policies.")


def _facts(policy: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("account", policy["account"]),
        ("role", policy["role"]),
        ("registry", policy["registry"] or "all"),
        ("granted", local_time(policy["created_at"])),
    ]

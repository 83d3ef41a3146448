"""``slipway key``: access keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateway.cli.clients import address
from gateway.cli.commands import managing, sure, switches
from gateway.cli.output import field, heading, print_facts, print_json
from gateway.cli.times import Moment

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.cli.commands import Session

_ACTIONS = click.option(
    "--action", "actions", multiple=True, type=click.Choice(["pull", "push", "delete"]), help="Narrow it to this."
)
_PATTERNS = click.option(
    "--repository",
    "repositories",
    multiple=True,
    help="Narrow it to these: * is anything within a component, ** also slashes.",
)
_EXPIRY = click.option("--expires", type=Moment(ahead=True), help="When it ends: a date, or a span such as 90d.")
_COLUMNS = (
    *("access_key_id", "account", "note", "actions", "repositories", "disabled", "expires_at", "last_used_at"),
    "last_used_from",
)


@click.group()
def key() -> None:
    """Access keys: make, list, change, rotate, delete."""


@key.command()
@click.argument("account")
@click.option("--note", help="For people; anything.")
@_ACTIONS
@_PATTERNS
@_EXPIRY
@managing
def create(
    session: Session,
    account: str,
    note: str | None,
    actions: tuple[str, ...],
    repositories: tuple[str, ...],
    expires: datetime | None,
) -> None:
    """Make an access key for an account; its secret is shown this once."""
    wanted = switches(note=note, actions=list(actions) or None, repositories=list(repositories) or None)
    if expires is not None:
        wanted["expires_at"] = expires.isoformat()
    _print_secret(session, session.api.post(address("keys"), {"account": account, **wanted}))


@key.command(name="list")
@click.argument("account", required=False)
@managing
def list_(session: Session, account: str | None) -> None:
    """List access keys, of one account or all."""
    found = session.read_list(address("keys"), account=account)
    session.print_list(found, _COLUMNS, "No keys yet: make one with `slipway key create ACCOUNT`.")


@key.command()
@click.argument("access_key_id")
@click.option("--note", help="For people; anything.")
@click.option("--disable/--enable", "disabled", default=None, help="Whether it can be used.")
@_ACTIONS
@_PATTERNS
@click.option("--whole", is_flag=True, help="No longer narrow it to actions or repositories.")
@_EXPIRY
@click.option("--never-expires", is_flag=True, help="Let it live until it is deleted.")
@managing
def update(
    session: Session,
    access_key_id: str,
    note: str | None,
    disabled: bool | None,  # noqa: FBT001
    actions: tuple[str, ...],
    repositories: tuple[str, ...],
    whole: bool,  # noqa: FBT001
    expires: datetime | None,
    never_expires: bool,  # noqa: FBT001
) -> None:
    """Change an access key; what is not named stays as it is."""
    if whole and (actions or repositories):
        raise click.UsageError("--whole and --action or --repository exclude each other")
    if never_expires and expires is not None:
        raise click.UsageError("--expires and --never-expires exclude each other")
    change = switches(note=note, disabled=disabled, actions=list(actions) or None)
    change |= switches(repositories=list(repositories) or None)
    change |= {"actions": None, "repositories": None} if whole else {}
    if expires is not None or never_expires:
        change["expires_at"] = None if expires is None else expires.isoformat()
    if not change:
        raise click.UsageError("say what is to change, for instance --disable")
    _print(session, session.api.patch(address("keys", access_key_id), change))


@key.command()
@click.argument("access_key_id")
@click.option(
    "--keep-old",
    type=click.IntRange(min=0),
    default=0,
    metavar="SECONDS",
    help="How long the old secret goes on working beside the new one.  [default: 0]",
)
@managing
def rotate(session: Session, access_key_id: str, keep_old: int) -> None:
    """Give an access key a new secret, which is shown this once."""
    rotated = session.api.post(address("keys", access_key_id, "rotate"), {"keep_old_seconds": keep_old})
    _print_secret(session, rotated)


@key.command()
@click.argument("access_key_id")
@sure
@managing
def delete(session: Session, access_key_id: str, is_sure: bool) -> None:  # noqa: FBT001
    """Delete an access key."""
    question = f"Whoever uses the key {access_key_id} is locked out at once. Go on?"
    things = {access_key_id: address("keys", access_key_id)}
    session.delete(things, question, "The key {name} is deleted.", is_sure=is_sure)


def _print(session: Session, found: dict[str, Any]) -> None:
    if session.is_json:
        print_json(found)
    else:
        print_facts((heading(name), field(found, name)) for name in found)


def _print_secret(session: Session, made: dict[str, Any]) -> None:
    if session.is_json:
        print_json(made)
        return
    # Under the very names that other programs' files use.
    print_facts([(name, made[name]) for name in ("access_key_id", "secret_key")])
    click.echo("\nThe secret key is shown this once: keep it now.")

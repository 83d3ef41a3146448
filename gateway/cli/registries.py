"""``slipway registry``: registries."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.clients import address
from gateway.cli.commands import managing, sure, switches
from gateway.cli.output import heading, print_facts, print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.cli.commands import Session

_SWITCH = click.Choice(["on", "off"])
_DELIVERY = click.Choice(["proxy", "redirect", "default"])
_VALUES = {"on": True, "off": False, "default": None}
_LOSES = (
    "This removes the registry {name} with its images. Every object stays in its bucket, with what is needed to bring "
    "the images back by taking the bucket over: to free that space, delete the images first. Go on?"
)


def _listed(_context: click.Context, _parameter: click.Parameter, text: str | None) -> list[str] | None:
    """Read texts that are separated by commas; an empty one is an empty list."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _takes_over(options: Mapping[str, Any]) -> bool:
    """Whether a bucket is taken over: whoever does that may have nothing else left."""
    return bool(options["adopt"] or options["adopt_from"])


@click.group()
def registry() -> None:
    """Registries: make, show, set, delete."""


@registry.command(short_help="Make a registry on a bucket, or take one over.")
@click.argument("name")
@click.option("--bucket", required=True, help="An existing bucket that no other registry has.")
@click.option("--adopt", is_flag=True, help="Take over what a deleted registry has left in the bucket.")
@click.option(
    "--from-lost-installation",
    "adopt_from",
    metavar="ID",
    help="Take over the registry of an installation that is gone for good; its id is in the bucket's marker.",
)
@partial(managing, begins=_takes_over)
def create(session: Session, name: str, bucket: str, adopt: bool, adopt_from: str | None) -> None:  # noqa: FBT001
    """Make a registry on a bucket; taking one over, also the installation, if there is none here."""
    body = {"name": name, "bucket": bucket, "adopt": adopt or adopt_from is not None, "lost_installation": adopt_from}
    _print(session, session.api.post(address("registries"), body))


@registry.command(name="list")
@managing
def list_(session: Session) -> None:
    """List registries."""
    found = session.read_list(address("registries"))
    columns = ("name", "bucket", "public_endpoint", "public_pull", "public_host", "private_host")
    session.print_list(
        found, columns, "No registries yet: make one with `slipway registry create NAME --bucket BUCKET`."
    )


@registry.command()
@click.argument("name")
@managing
def show(session: Session, name: str) -> None:
    """Show a registry with all its settings."""
    _print(session, session.api.get(address("registries", name)))


@registry.command(short_help="Change settings of a registry.")
@click.argument("name")
@click.option("--public-endpoint", type=_SWITCH, help="Whether the public host answers.")
@click.option("--public-pull", type=_SWITCH, help="Whether anybody may pull without credentials.")
@click.option(
    "--public-networks", callback=_listed, help="Networks whose clients the public host accepts, by commas; '' is all."
)
@click.option("--private-networks", callback=_listed, help="The same for the private host.")
@click.option("--public-delivery", type=_DELIVERY, help="How the public host delivers blobs.")
@click.option("--private-delivery", type=_DELIVERY, help="The same for the private host.")
@click.option(
    "--delivery-rules",
    callback=_listed,
    help="Exceptions, by commas: NETWORK=proxy, NETWORK=redirect-public or NETWORK=redirect-private.",
)
@managing
def update(session: Session, name: str, delivery_rules: list[str] | None, **options: Any) -> None:
    """Change settings of a registry; what is not named stays as it is."""
    given = switches(**options)
    change = {key: _VALUES.get(value, value) if isinstance(value, str) else value for key, value in given.items()}
    if delivery_rules is not None:
        change["delivery_rules"] = [_rule(text) for text in delivery_rules]
    if not change:
        raise click.UsageError("say what is to change, for instance --public-pull on")
    _print(session, session.api.patch(address("registries", name), change))


@registry.command(short_help="Delete a registry, and leave its bucket as it is.")
@click.argument("name")
@click.option(
    "--without-catalogue",
    is_flag=True,
    help="Also when what is known of its images cannot be written to the bucket any more.",
)
@sure
@managing
def delete(session: Session, name: str, without_catalogue: bool, is_sure: bool) -> None:  # noqa: FBT001
    """Delete a registry; its objects, and what is known of its images, stay in the bucket."""
    said = (
        "The registry {name} is deleted; its objects are still in the bucket. "
        "To bring its images back: slipway registry create NAME --bucket BUCKET --adopt"
    )
    query = {"without_catalogue": "true"} if without_catalogue else {}
    session.delete({name: address("registries", name)}, _LOSES.format(name=name), said, is_sure=is_sure, **query)


@registry.command()
@click.argument("name")
@managing
def reconcile(session: Session, name: str) -> None:
    """Bring a database from a backup up to what the bucket knows."""
    found = session.api.post(address("registries", name, "reconcile"), {})
    if session.is_json:
        print_json(found)
    else:
        counts = ", ".join(f"{what}: {count}" for what, count in found.items())
        click.echo(f"The registry {name} is up to its bucket again. It has brought back {counts}.")


def _rule(text: str) -> dict[str, str]:
    network, _, way = text.partition("=")
    if way == "proxy":
        return {"network": network, "delivery": "proxy"}
    if way in {"redirect-public", "redirect-private"}:
        return {"network": network, "delivery": "redirect", "storage": way.removeprefix("redirect-")}
    raise click.UsageError(f"{text!r} is no rule: write NETWORK=proxy, NETWORK=redirect-public or -private")


def _print(session: Session, found: dict[str, Any]) -> None:
    if session.is_json:
        print_json(found)
        return
    rules = [_written(rule) for rule in found["delivery_rules"]]
    facts = {**found, "delivery_rules": rules}
    print_facts((heading(name), value) for name, value in facts.items())


def _written(rule: dict[str, str]) -> str:
    way = "proxy" if rule["delivery"] == "proxy" else f"redirect-{rule['storage']}"
    return f"{rule['network']}={way}"

"""``slipway image``: images of a registry, and what was deleted of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import click

from gateway.cli.clients import Refused, address
from gateway.cli.commands import managing, sure, switches
from gateway.cli.output import field, heading, print_facts, print_fields, print_json, print_text
from gateway.model.images import ImageOrder

if TYPE_CHECKING:
    from gateway.cli.commands import Session

_DELETED = ("id", "kind", "name", "deleted_at", "deleted_by", "restorable_until")
_LISTS = {"layers", "children", "referrers"}
_SEARCH = click.option("--search", help="Only those whose name contains this.")
_LIMIT = click.option("--limit", type=click.IntRange(min=1), help="How many at most.  [default: all]")


@click.group()
def image() -> None:
    """Images: list, show, describe, delete, restore."""


@image.command(name="list")
@click.argument("registry")
@_SEARCH
@click.option(
    "--sort",
    type=click.Choice([order.value for order in ImageOrder]),
    help="By what; what changed or was pulled most comes first.",
)
@_LIMIT
@managing
def list_(session: Session, registry: str, limit: int | None, **query: str | None) -> None:
    """List the images of a registry."""
    found = session.read_list(address("registries", registry, "images"), limit, **query)
    columns = ("name", "short_description", "tags", "changed_at", "pulls", "last_pulled")
    session.print_list(found, columns, "No such images." if query["search"] else "No images yet: push one.")


@image.command(short_help="Show an image, or one of its manifests.")
@click.argument("registry")
@click.argument("name", metavar="IMAGE[@DIGEST]")
@managing
def show(session: Session, registry: str, name: str) -> None:
    """Show an image, or one of its manifests with layers, platforms and referrers."""
    found = session.api.get(_address(registry, name))
    if session.is_json:
        print_json(found)
    elif "@" in name:
        _print_manifest(found)
    else:
        _print_image(found)


@image.command()
@click.argument("registry")
@click.argument("name", metavar="IMAGE")
@click.option("--untagged", is_flag=True, help="Only those without a tag that no index lists.")
@_LIMIT
@managing
def manifests(session: Session, registry: str, name: str, untagged: bool, limit: int | None) -> None:  # noqa: FBT001
    """List the manifests of an image, the last pushed first."""
    wanted = "true" if untagged else None
    found = session.read_list(f"{_address(registry, name)}/manifests", limit, untagged=wanted)
    columns = ("digest", "kind", "platforms", "size", "tags", "pushed_at", "pushed_by")
    session.print_list(found, columns, "No such manifests.")


@image.command(short_help="Change descriptions and settings of an image.")
@click.argument("registry")
@click.argument("name", metavar="IMAGE")
@click.option("--short", help="What it is, in at most 100 characters.")
@click.option("--file", type=click.File("rb"), help="File with the description, in Markdown; - reads standard input.")
@click.option(
    "--tags-mutable/--no-tags-mutable", default=None, help="Whether a tag that exists may be pointed elsewhere."
)
@click.option(
    "--untagged-days",
    type=click.IntRange(min=0),
    metavar="DAYS",
    help="Delete manifests that have had no tag for so many days; 0 keeps them for ever.",
)
@managing
def describe(
    session: Session,
    registry: str,
    name: str,
    short: str | None,
    file: BinaryIO | None,
    tags_mutable: bool | None,  # noqa: FBT001
    untagged_days: int | None,
) -> None:
    """Change descriptions and settings of an image; what is not named stays as it is."""
    description = None if file is None else _text(file)
    change = switches(short_description=short, description=description, tags_mutable=tags_mutable)
    if untagged_days is not None:
        change["untagged_days"] = untagged_days or None
    if not change:
        raise click.UsageError(
            "say what is to change: --short TEXT, --file README.md, --no-tags-mutable or --untagged-days DAYS"
        )
    changed = session.api.patch(_address(registry, name), change)
    if session.is_json:
        print_json(changed)
    else:
        _print_image(changed)


@image.command(short_help="Delete images, or single manifests.")
@click.argument("registry")
@click.argument("names", metavar="IMAGE[@DIGEST]...", nargs=-1, required=True)
@sure
@managing
def delete(session: Session, registry: str, names: tuple[str, ...], is_sure: bool) -> None:  # noqa: FBT001
    """Delete images with all their tags, or single manifests; for a while this can be undone."""
    question = f"This deletes {', '.join(names)} from {registry}, with all tags; it can be undone for a while. Go on?"
    delete_restorable(session, registry, {name: _address(registry, name) for name in names}, question, is_sure=is_sure)


@image.command(short_help="Restore what was deleted, or list it.")
@click.argument("registry")
@click.argument("name", metavar="[IMAGE|IMAGE:TAG|IMAGE@DIGEST]", required=False)
@click.option("--id", "deletion", type=int, help="An earlier deletion, by its number in the list.")
@managing
def restore(session: Session, registry: str, name: str | None, deletion: int | None) -> None:
    """Restore what was deleted, as it was deleted last; without a name, list what can be restored."""
    if name is not None and deletion is not None:
        raise click.UsageError("a name and --id exclude each other")
    if name is None and deletion is None:
        _print_deleted(session, _deleted(session, registry))
        return
    if deletion is None:
        of_name = (each["id"] for each in _deleted(session, registry) if _name(each) == name)
        deletion = next(of_name, None)
    if deletion is None:
        raise Refused(f"nothing of the name {name} can be restored: `slipway image restore {registry}` lists what can")
    restored = session.api.post(address("registries", registry, "deleted", str(deletion), "restore"), {})
    if session.is_json:
        print_json(restored)
    else:
        click.echo(restored["message"])


def delete_restorable(session: Session, registry: str, things: dict[str, str], question: str, *, is_sure: bool) -> None:
    """Delete things by their names and addresses, and say how each is brought back."""
    said = f"{{name}} is deleted. To undo it: slipway image restore {registry} {{name}}"
    session.delete(things, question, said, is_sure=is_sure)


def _address(registry: str, name: str) -> str:
    """Return the address of an image, or of one of its manifests."""
    repository, _, digest = name.partition("@")
    return address("registries", registry, "images", repository, *(["manifests", digest] if digest else []))


def _text(file: BinaryIO) -> str:
    try:
        return file.read().decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file.name} is no text in UTF-8") from error


def _deleted(session: Session, registry: str) -> list[dict[str, Any]]:
    return session.read_list(address("registries", registry, "deleted"))


def _name(deleted: dict[str, Any]) -> str:
    """Return what was deleted as it is written in commands."""
    if deleted["kind"] == "tag":
        return f"{deleted['image']}:{deleted['tag']}"
    return f"{deleted['image']}@{deleted['digest']}" if deleted["kind"] == "manifest" else str(deleted["image"])


def _print_deleted(session: Session, found: list[dict[str, Any]]) -> None:
    if session.is_json:
        print_json(found)
    else:
        print_fields([{**each, "name": _name(each)} for each in found], _DELETED, "Nothing can be restored.")


def _print_image(found: dict[str, Any]) -> None:
    print_facts((heading(name), field(found, name)) for name in found if name != "description")
    if found["description"]:
        click.echo()
        print_text(found["description"])


def _print_manifest(found: dict[str, Any]) -> None:
    configuration = found["configuration"] or {}
    facts = [(heading(name), field(found, name)) for name in found if name not in {*_LISTS, "config", "configuration"}]
    of_config = ("created_at", "author", "user", "working_dir", "entrypoint", "command", "environment", "exposed_ports")
    facts += [(f"config: {heading(name)}", configuration[name]) for name in of_config if configuration.get(name)]
    print_facts(facts)
    for title, columns in (
        ("layers", ("digest", "media_type", "size")),
        ("children", ("digest", "platform", "size")),
        ("referrers", ("digest", "artifact_type", "size")),
    ):
        if found[title]:
            click.echo(f"\n{title}")
            print_fields(found[title], columns, "")

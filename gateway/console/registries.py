"""Pages of registries: which there are, a new one, and the settings of one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.admin import registries as api
from gateway.admin.forms import PageQuery
from gateway.console.visits import address, all_of
from gateway.errors import ClientError, StorageUnavailable, ValueRefused
from gateway.model.endpoints import Delivery

if TYPE_CHECKING:
    from gateway.admin.registries import BucketView, RegistryView
    from gateway.console.visits import Reply, Visit


async def show_registries(visit: Visit) -> Reply:
    """List the registries that the visitor may see."""
    page = await visit.ask(api.list_registries, query=visit.page_query(PageQuery))
    hosts = {each.name: hosts_of(visit, each) for each in page.items}
    return visit.page("registries.html", page=page, hosts=hosts, may_create=visit.caller.may_administer())


async def show_new_registry(visit: Visit) -> Reply:
    """Show the form for a new registry, with the buckets that can be chosen."""
    buckets: list[BucketView] | None = None
    visit.caller.require_administration()
    with suppress(StorageUnavailable, ClientError):
        # Where they may not be listed, the name is typed.
        buckets = (await visit.ask(api.list_buckets, query=all_of(PageQuery))).items
    return visit.page("new_registry.html", buckets=buckets, domains=visit.services.domains)


async def create(visit: Visit) -> Reply:
    """Make a registry."""
    bucket = visit.sent("typed_bucket") or visit.sent("bucket")
    if not bucket:
        raise ValueRefused(visit.texts("registry.bucket_needed"), "bucket")
    wanted = visit.body(
        api.NewRegistry,
        name=visit.sent("name"),
        bucket=bucket,
        adopt=bool(visit.sent("adopt")),
    )
    made = await visit.ask(api.create_registry, body=wanted)
    return visit.go(address("registries", made.name, "images"), "registry_created", name=made.name)


async def show_settings(visit: Visit) -> Reply:
    """Show a registry's endpoints, switches and networks."""
    found, registry_id = await find_registry(visit)
    return visit.page(
        "registry_settings.html",
        registry=found,
        nav_registry=found.name,
        tab="settings",
        hosts=hosts_of(visit, found),
        deliveries=[each.value for each in Delivery],
        may_manage=visit.caller.may_manage(registry_id),
        may_delete=visit.caller.may_administer(),
    )


async def change(visit: Visit) -> Reply:
    """Change a registry's switches, networks and delivery."""
    values: dict[str, Any] = {
        "public_endpoint": bool(visit.sent("public_endpoint")),
        "public_pull": bool(visit.sent("public_pull")),
        "public_networks": visit.lines_sent("public_networks"),
        "private_networks": visit.lines_sent("private_networks"),
        "public_delivery": visit.sent("public_delivery") or None,
        "private_delivery": visit.sent("private_delivery") or None,
    }
    patch = visit.body(api.RegistryPatch, **values)
    changed = await visit.ask(api.update_registry, body=patch, version=sent_version(visit))
    return visit.go(address("registries", changed.name, "settings"), "saved")


async def delete(visit: Visit) -> Reply:
    """Delete a registry whose name was typed once more."""
    name = visit.variables["registry"]
    visit.require_typed(name)
    await visit.ask(api.delete_registry, query=api.DeleteQuery(without_catalogue=False))
    return visit.go("/console/", "registry_deleted", name=name)


async def find_registry(visit: Visit) -> tuple[RegistryView, int]:
    """Return the registry of an address, and its row's id; raises NothingKnown."""
    found = await api.find_registry(visit.services, visit.caller, visit.variables["registry"])
    return api.registry_view(found, visit.services.domains), found.registry.id


def hosts_of(visit: Visit, registry: RegistryView) -> list[tuple[str, str]]:
    """Return a registry's hosts with the port that clients need, and which endpoint each is."""
    port = urlsplit(visit.origin).port
    behind = f":{port}" if port is not None else ""
    named = [("public", registry.public_host), ("private", registry.private_host)]
    found = [(kind, f"{host}{behind}") for kind, host in named if host is not None]
    if registry.is_default and not found:
        found.append(("default", visit.host))
    return found


def host_of(visit: Visit, registry: RegistryView) -> str | None:
    """Return the host that commands for this registry name; None where no host leads to it."""
    hosts = hosts_of(visit, registry)
    usable = [host for kind, host in hosts if kind != "public" or registry.public_endpoint]
    return next(iter(usable), None)


def sent_version(visit: Visit) -> int | None:
    """Return the version that a form was filled in for; raises ValueRefused."""
    text = visit.sent("version")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:  # noqa: PLR2004  (digits that fit into a bigint)
        raise ValueRefused("the version of a form is a number", "version")
    return int(text)

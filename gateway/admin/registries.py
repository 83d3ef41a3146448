"""Registries and buckets."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from gateway.admin.forms import Form, Nothing, Page, PageQuery, Patch, Query, View
from gateway.admin.operations import AnyOperation, Call, Operation
from gateway.admin.paging import cut_page
from gateway.errors import AlreadyTaken, CatalogueUnwritten, Forbidden, NothingKnown, StorageUnavailable, ValueRefused
from gateway.model.endpoints import Delivery, DeliveryRule, Endpoint, check_registry_name
from gateway.model.networks import Networks
from gateway.ports.directory import RegistryChange, RegistrySettings

if TYPE_CHECKING:
    from gateway.admin.callers import Caller
    from gateway.admin.needs import Domains, Services
    from gateway.model.findings import Finding

_MOST_NETWORKS = 100


def _check_network(text: str) -> str:
    (written,) = Networks.parse([text]).texts()
    return written


_Name = Annotated[
    str,
    AfterValidator(check_registry_name),
    Field(description="3 to 30 lower-case letters, digits and hyphens.", examples=["team"]),
]
_Bucket = Annotated[str, Field(min_length=1, max_length=255, description="An existing bucket that no registry has.")]
_Network = Annotated[str, Field(max_length=50, examples=["10.0.0.0/8"]), AfterValidator(_check_network)]
_NetworkList = Annotated[list[_Network], Field(max_length=_MOST_NETWORKS)]
_Delivery = Annotated[Delivery | None, Field(strict=False, description="null is what the configuration says.")]


class DeliveryRuleForm(Form):
    """An exception for clients of one network; the first that fits counts."""

    network: _Network
    delivery: Delivery = Field(strict=False)
    storage: Endpoint = Field(
        Endpoint.PUBLIC, strict=False, description="Which address of the storage a redirect is signed for."
    )


class NewRegistry(Form):
    """A registry to be made."""

    name: _Name
    bucket: _Bucket
    adopt: bool = Field(False, description="Take over what a deleted registry has left in the bucket.")
    lost_installation: str | None = Field(
        None,
        max_length=100,
        description="With `adopt`: the installation in the bucket's marker, which is gone for good, so that its "
        "registry is taken over although nobody has deleted it.",
    )


class RegistryPatch(Patch):
    """New settings of a registry."""

    public_endpoint: bool = Field(True, description="Whether the public host answers.")
    public_pull: bool = Field(False, description="Whether anybody may pull without credentials.")
    public_networks: _NetworkList = Field([], description="Clients that the public host accepts; none is everybody.")
    private_networks: _NetworkList = Field([], description="The same for the private host.")
    public_delivery: _Delivery = None
    private_delivery: _Delivery = None
    delivery_rules: list[DeliveryRuleForm] = Field([], max_length=_MOST_NETWORKS)


class RegistryView(View):
    """A registry."""

    name: str
    id: str = Field(description="Stands in the keys of its objects, and in tokens.")
    bucket: str
    public_host: str | None = Field(description="null where no public domain is configured.")
    private_host: str | None = Field(description="null where no private domain is configured.")
    is_default: bool = Field(description="Whether it answers at hosts that name no registry.")
    public_endpoint: bool
    public_pull: bool
    public_networks: list[str]
    private_networks: list[str]
    public_delivery: Delivery | None
    private_delivery: Delivery | None
    delivery_rules: list[DeliveryRuleForm]
    version: int = Field(description="Counts changes; the ETag.")


class ReconciliationView(View):
    """How much a database from a backup did not know."""

    images: int
    tags: int
    manifests: int
    blobs: int


class DeleteQuery(Query):
    """How a registry is deleted."""

    without_catalogue: bool = Field(
        False,
        description="Delete it even though what is known of its images cannot be written to its bucket any more.",
    )


class RegistryPage(Page[RegistryView]):
    """Registries that the caller may see, by name."""


class BucketView(View):
    """A bucket."""

    bucket: str
    registry: str | None = Field(description="Which registry has it; null is none.")


class BucketPage(Page[BucketView]):
    """Buckets, by name."""


class FindingView(View):
    """One thing that a check has found."""

    severity: str
    what: str
    reason: str
    mend: str


class BucketCheck(Form):
    """A bucket to be checked."""

    bucket: _Bucket


class BucketReport(View):
    """What a check has found; nothing is good news."""

    bucket: str
    findings: list[FindingView]


async def list_registries(call: Call[PageQuery, Nothing]) -> RegistryPage:
    """List the registries that the caller may see."""
    visible = [each for each in await call.services.registries.list() if call.caller.may_view(each.registry.id)]
    page, after = cut_page(visible, lambda each: each.name, call.query)
    return RegistryPage(items=[registry_view(each, call.services.domains) for each in page], next=after)


async def create_registry(call: Call[Nothing, NewRegistry]) -> RegistryView:
    """Make a registry on a bucket."""
    call.caller.require_administration()
    wanted = call.body
    made = await call.services.registries.create(
        call.caller.actor, wanted.name, wanted.bucket, adopt=wanted.adopt, lost=wanted.lost_installation
    )
    return registry_view(made, call.services.domains)


async def get_registry(call: Call[Nothing, Nothing]) -> RegistryView:
    """Show a registry."""
    return registry_view(await visible_registry(call), call.services.domains)


async def update_registry(call: Call[Nothing, RegistryPatch]) -> RegistryView:
    """Change a registry's settings."""
    found = await visible_registry(call)
    call.caller.require_management(found.registry.id, found.name)
    changed = await call.services.registries.update(
        call.caller.actor, found.name, _change(call.body), call.expected_version
    )
    return registry_view(changed, call.services.domains)


async def delete_registry(call: Call[DeleteQuery, Nothing]) -> None:
    """Delete a registry, not its objects."""
    found = await visible_registry(call)
    call.caller.require_administration()
    without = call.query.without_catalogue
    await call.services.registries.delete(call.caller.actor, found.name, without_catalogue=without)


async def reconcile_registry(call: Call[Nothing, Nothing]) -> ReconciliationView:
    """Bring back what a registry's bucket knows and the database does not."""
    found = await visible_registry(call)
    call.caller.require_administration()
    brought = await call.services.registries.reconcile(call.caller.actor, found.name)
    return ReconciliationView(
        images=brought.repositories, tags=brought.tags, manifests=brought.manifests, blobs=brought.blobs
    )


async def list_buckets(call: Call[PageQuery, Nothing]) -> BucketPage:
    """List the buckets that can be chosen, and which are taken."""
    call.caller.require_administration()
    page, after = cut_page(await call.services.registries.buckets(), lambda each: each.bucket, call.query)
    return BucketPage(items=[BucketView(bucket=each.bucket, registry=each.registry) for each in page], next=after)


async def check_bucket(call: Call[Nothing, BucketCheck]) -> BucketReport:
    """Try whether a bucket is fit for a registry."""
    call.caller.require_administration()
    findings = await call.services.registries.check_bucket(call.body.bucket)
    return BucketReport(bucket=call.body.bucket, findings=[_finding(each) for each in findings])


async def visible_registry(call: Call[Any, Any]) -> RegistrySettings:
    """Return the registry that an address names; raises NothingKnown, also for one that the caller may not see."""
    name = call.variables["registry"]
    return await find_registry(call.services, call.caller, name)


async def find_registry(services: Services, caller: Caller, name: str) -> RegistrySettings:
    """Return a registry; raises the same NothingKnown whether there is none or the caller may not see it."""
    with suppress(NothingKnown):
        found = await services.registries.get(name)
        if caller.may_view(found.registry.id):
            return found
    raise NothingKnown(f"there is no registry {name}")


def _change(patch: RegistryPatch) -> RegistryChange:
    change = RegistryChange()
    if patch.has("public_endpoint"):
        change["public_endpoint"] = patch.public_endpoint
    if patch.has("public_pull"):
        change["public_pull"] = patch.public_pull
    if patch.has("public_networks"):
        change["public_networks"] = Networks.parse(patch.public_networks)
    if patch.has("private_networks"):
        change["private_networks"] = Networks.parse(patch.private_networks)
    if patch.has("public_delivery"):
        change["public_delivery"] = patch.public_delivery
    if patch.has("private_delivery"):
        change["private_delivery"] = patch.private_delivery
    if patch.has("delivery_rules"):
        change["delivery_rules"] = tuple(
            DeliveryRule(Networks.parse([rule.network]), rule.delivery, rule.storage) for rule in patch.delivery_rules
        )
    return change


def registry_view(settings: RegistrySettings, domains: Domains) -> RegistryView:
    """Show a registry."""
    return RegistryView(
        name=settings.name,
        id=settings.registry.public_id,
        bucket=settings.registry.bucket,
        public_host=f"{settings.name}.{domains.public}" if domains.public else None,
        private_host=f"{settings.private_label}.{domains.private}" if domains.private else None,
        is_default=settings.is_default,
        public_endpoint=settings.public_endpoint,
        public_pull=settings.public_pull,
        public_networks=settings.public_networks.texts(),
        private_networks=settings.private_networks.texts(),
        public_delivery=settings.public_delivery,
        private_delivery=settings.private_delivery,
        delivery_rules=[
            DeliveryRuleForm(network=",".join(rule.network.texts()), delivery=rule.delivery, storage=rule.storage)
            for rule in settings.delivery_rules
        ],
        version=settings.version,
    )


def _finding(found: Finding) -> FindingView:
    return FindingView(severity=found.severity, what=found.what, reason=found.reason, mend=found.mend)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        name="listRegistries",
        method="GET",
        path="/api/registries",
        summary="List the registries that the caller may see",
        handle=list_registries,
        query=PageQuery,
        body=Nothing,
        answer=RegistryPage,
    ),
    Operation(
        name="createRegistry",
        method="POST",
        path="/api/registries",
        summary="Make a registry on a bucket",
        handle=create_registry,
        query=Nothing,
        body=NewRegistry,
        answer=RegistryView,
        status=HTTPStatus.CREATED,
        errors=(Forbidden, AlreadyTaken, StorageUnavailable),
        location="/api/registries/{name}",
    ),
    Operation(
        name="getRegistry",
        method="GET",
        path="/api/registries/{registry}",
        summary="Show a registry",
        handle=get_registry,
        query=Nothing,
        body=Nothing,
        answer=RegistryView,
        errors=(NothingKnown,),
    ),
    Operation(
        name="updateRegistry",
        method="PATCH",
        path="/api/registries/{registry}",
        summary="Change a registry's settings; what is left out stays as it is",
        handle=update_registry,
        query=Nothing,
        body=RegistryPatch,
        answer=RegistryView,
        errors=(Forbidden, NothingKnown),
        is_conditional=True,
    ),
    Operation(
        name="deleteRegistry",
        method="DELETE",
        path="/api/registries/{registry}",
        summary="Delete a registry and what is known of its images; its objects stay in the bucket",
        handle=delete_registry,
        query=DeleteQuery,
        body=Nothing,
        answer=None,
        status=HTTPStatus.NO_CONTENT,
        errors=(Forbidden, NothingKnown, CatalogueUnwritten),
    ),
    Operation(
        name="reconcileRegistry",
        method="POST",
        path="/api/registries/{registry}/reconcile",
        summary="Bring a database from a backup up to what the registry's bucket knows of its images",
        handle=reconcile_registry,
        query=Nothing,
        body=Nothing,
        answer=ReconciliationView,
        errors=(Forbidden, NothingKnown, ValueRefused, StorageUnavailable),
    ),
    Operation(
        name="listBuckets",
        method="GET",
        path="/api/buckets",
        summary="List the buckets that can be seen, and which registry has which",
        handle=list_buckets,
        query=PageQuery,
        body=Nothing,
        answer=BucketPage,
        errors=(Forbidden, StorageUnavailable),
    ),
    Operation(
        name="checkBucket",
        method="POST",
        path="/api/buckets/check",
        summary="Try whether a bucket is fit for a registry; writes and deletes small objects in it",
        handle=check_bucket,
        query=Nothing,
        body=BucketCheck,
        answer=BucketReport,
        errors=(Forbidden, StorageUnavailable),
    ),
)

"""Registries: made on a bucket that was checked, set, deleted without their objects, taken over again.

Who may do what is the caller's to settle.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from gateway.errors import AlreadyTaken, BackendError, CatalogueUnwritten, NothingKnown, ValueRefused
from gateway.model.endpoints import Delivery, DeliveryPolicy, check_registry_name
from gateway.model.findings import Severity
from gateway.ports.buckets import BucketUse
from gateway.ports.directory import NewRegistry
from gateway.services.markers import taken_by_another

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.model.access import Actor
    from gateway.model.findings import Finding
    from gateway.ports.buckets import BucketKeeper
    from gateway.ports.catalogue import Brought
    from gateway.ports.directory import RegistryChange, RegistryIndex, RegistrySettings
    from gateway.services.adoption import Adoption
    from gateway.services.catalogue import CatalogueWriter
    from gateway.services.markers import Marker, Markers
    from gateway.services.reconciliation import Reconciliation

_log = logging.getLogger(__name__)


class Registries:
    """Makes, sets and deletes registries."""

    def __init__(
        self,
        index: RegistryIndex,
        keeper: BucketKeeper,
        markers: Markers,
        catalogue: CatalogueWriter,
        adoption: Adoption,
        reconciliation: Reconciliation,
        *,
        delivery: Delivery,
        reserved: Collection[str],
    ) -> None:
        """Manage the registries of one storage.

        ``delivery`` is what the configuration says, ``reserved`` are names that no registry may have.
        """
        self._index = index
        self._keeper = keeper
        self._markers = markers
        self._catalogue = catalogue
        self._adoption = adoption
        self._reconciliation = reconciliation
        self._delivery = delivery
        self._reserved = frozenset(reserved)

    async def create(
        self, actor: Actor, name: str, bucket: str, *, adopt: bool = False, lost: str | None = None
    ) -> RegistrySettings:
        """Make a registry on a bucket that exists and is fit for one.

        With ``adopt`` it takes over the registry that has left its marker there, with its id, objects, images and
        settings: a deleted one, or one of the installation ``lost``, which is gone for good; or it ends what a try
        before it has left undone. Raises AlreadyTaken for the name or the bucket, also for one that a deleted registry
        has left and that is not adopted, ValueRefused for what cannot be used, NothingKnown when there is nothing to
        take over.
        """
        lost = lost if adopt else None
        self._check_name(name)
        if adopt and (taken := await self._taken_and_unmarked(name, bucket)):
            await self._markers.claim(taken.registry, lost=lost)
            await self._adoption.finish(taken.registry)
            return taken
        await self._check_free(name, bucket)
        refuse_unfit(bucket, await self.check_bucket(bucket))
        marker = await check_unclaimed(self._markers, bucket, lost=lost)
        if adopt and marker is None:
            raise NothingKnown(f"no registry has left anything in the bucket {bucket}: make one without adopting")
        new = await self._new(name, bucket, marker if adopt else None)
        if adopt and marker is not None:
            is_ours = self._markers.is_ours(marker)
            made = await self._adoption.take_over(actor, new, marker, is_ours=is_ours)
        else:
            await self._adoption.check_nothing_left(bucket, marker)
            made = await self._index.insert_registry(actor, new)
        try:
            await self._markers.claim(made.registry, lost=lost)
        except BaseException:
            # The row came first, because it settles races within the installation; without a marker it must not stay.
            await self._index.delete_registry(actor, name)
            raise
        if adopt:
            await self._adoption.finish(made.registry)
        return made

    async def list(self) -> Sequence[RegistrySettings]:
        """Return all living registries, by name."""
        return await self._index.list_registries()

    async def get(self, name: str) -> RegistrySettings:
        """Return a registry; raises NothingKnown."""
        found = await self._index.fetch_by_name(name)
        if found is None:
            raise NothingKnown(f"there is no registry {name}")
        return found

    async def update(
        self, actor: Actor, name: str, change: RegistryChange, expected_version: int | None
    ) -> RegistrySettings:
        """Change a registry's settings; raises NothingKnown, ChangedMeanwhile and ValueRefused."""
        await self._check_delivery(name, change)
        return await self._index.update_registry(actor, name, change, expected_version)

    async def delete(self, actor: Actor, name: str, *, without_catalogue: bool = False) -> None:
        """Delete a registry with its uploads, but not its objects; its name and bucket are free then.

        What is not in the bucket's catalogue yet is written there first. Where that is impossible CatalogueUnwritten
        is raised, unless ``without_catalogue`` accepts that whoever takes the bucket over misses it.
        Raises NothingKnown, and ValueRefused for the default registry, which the next start would make anew.
        """
        found = await self.get(name)
        if found.is_default:
            raise ValueRefused(
                f"{name} is the default registry, which the next start would make anew: "
                "set default_registry to another one first"
            )
        if not without_catalogue:
            await self._write_down(found)
        gone = await self._index.delete_registry(actor, name)
        try:
            if not without_catalogue:
                # What was pushed in between.
                await self._catalogue.flush(gone.registry)
            await self._markers.release(gone.registry)
        except (BackendError, ValueRefused) as error:
            # A living marker of ours without a registry does not keep us from using the bucket again.
            _log.warning(
                "the bucket %s of the deleted registry %s is not marked: %s", gone.registry.bucket, name, error
            )

    async def reconcile(self, actor: Actor, name: str) -> Brought:
        """Bring back what the bucket's catalogue knows and the database does not; see Reconciliation."""
        return await self._reconciliation.reconcile(actor, await self.get(name))

    async def check_bucket(self, bucket: str) -> Sequence[Finding]:
        """Return what is wrong with a bucket; this stores and removes objects in it."""
        return await self._keeper.inspect(bucket)

    async def buckets(self) -> Sequence[BucketUse]:
        """Return the buckets that can be seen, and who has them, by name."""
        taken = {each.registry.bucket: each.name for each in await self.list()}
        return [BucketUse(each, taken.get(each)) for each in sorted({*await self._keeper.list_buckets(), *taken})]

    async def _write_down(self, settings: RegistrySettings) -> None:
        """Bring the catalogue in the bucket up to date, unless somebody else has taken the registry over."""
        try:
            if await self._markers.may_remove(settings.registry):
                await self._catalogue.flush(settings.registry)
        except (BackendError, ValueRefused) as error:
            _log.warning("the catalogue in the bucket %s could not be written: %s", settings.registry.bucket, error)
            raise CatalogueUnwritten(
                f"what is known of the images of {settings.name} cannot be written to its bucket: the log says why. "
                "Delete it later, or without its catalogue (--without-catalogue), and whoever takes the bucket over "
                "may miss the last changes"
            ) from error

    def _check_name(self, name: str) -> None:
        try:
            check_registry_name(name)
        except ValueError as error:
            raise ValueRefused(str(error), "name") from error
        if name in self._reserved:
            raise ValueRefused(f"{name} is the name of another host here: take another one", "name")

    async def _check_free(self, name: str, bucket: str) -> None:
        """Say early what the database would say in the end, before a bucket is tried out."""
        for each in await self._index.list_registries():
            if each.name == name:
                raise AlreadyTaken(f"there is a registry {name} already")
            if each.registry.bucket == bucket:
                raise AlreadyTaken(f"the bucket {bucket} belongs to another registry; each has one of its own")

    async def _taken_and_unmarked(self, name: str, bucket: str) -> RegistrySettings | None:
        """Return a registry that was taken over by somebody who died before the marker could say so."""
        found = await self._index.fetch_by_name(name)
        if found is None or found.registry.bucket != bucket:
            return None
        marker = await self._markers.look(bucket)
        if marker is None or marker.registry != found.registry.public_id:
            return None
        return found if marker.generation < found.registry.generation else None

    async def _new(self, name: str, bucket: str, marker: Marker | None) -> NewRegistry:
        """Describe what is to be made, with the id of ``marker`` if one is taken over."""
        return NewRegistry(
            public_id=marker.registry if marker else secrets.token_hex(16),
            generation=1,
            name=name,
            storage=self._keeper.name,
            bucket=bucket,
            delivery=Delivery.PROXY if await self._keeper.is_restricted(bucket) else None,
        )

    async def _check_delivery(self, name: str, change: RegistryChange) -> None:
        """Refuse to send clients to where they get no answer."""
        if not change.keys() & {"public_delivery", "private_delivery", "delivery_rules"}:
            return
        before = await self.get(name)
        if not self._keeper.can_redirect:
            _refuse_redirects(change)
        policy = DeliveryPolicy(
            change.get("public_delivery", before.public_delivery) or self._delivery,
            change.get("private_delivery", before.private_delivery) or self._delivery,
            change.get("delivery_rules", before.delivery_rules),
        )
        if policy.ever_redirects and await self._keeper.is_restricted(before.registry.bucket):
            raise ValueRefused(
                f"the policy of the bucket {before.registry.bucket} lets certain addresses in only: clients could not "
                "fetch anything there, so its blobs are delivered by proxy"
            )


def _refuse_redirects(change: RegistryChange) -> None:
    chosen: dict[str, set[Delivery | None]] = {
        "public_delivery": {change.get("public_delivery")},
        "private_delivery": {change.get("private_delivery")},
        "delivery_rules": {rule.delivery for rule in change.get("delivery_rules", ())},
    }
    for field, deliveries in chosen.items():
        if Delivery.REDIRECT in deliveries:
            raise ValueRefused(
                "this registry's blobs are files, to which no client can be sent: they are delivered by proxy, so "
                "choose proxy, or what the configuration says",
                field,
            )


async def check_unclaimed(markers: Markers, bucket: str, *, lost: str | None = None) -> Marker | None:
    """Return a bucket's marker; raises AlreadyTaken when a living registry of another installation has it.

    ``lost`` is an installation that is gone for good; raises ValueRefused when the bucket is not one of its.
    """
    marker = await markers.look(bucket)
    if lost is not None and (marker is None or marker.installation != lost):
        raise ValueRefused(f"the bucket {bucket} was not one of the installation {lost}")
    if markers.is_foreign(marker, lost=lost):
        raise AlreadyTaken(taken_by_another(bucket, marker))
    return marker


def refuse_unfit(bucket: str, findings: Sequence[Finding]) -> None:
    """Raise ValueRefused with everything that makes a bucket unfit for a registry."""
    errors = [each for each in findings if each.severity is Severity.ERROR]
    if errors:
        reasons = "; ".join(f"{each.what}: {each.reason} ({each.mend})" for each in errors)
        raise ValueRefused(f"the bucket {bucket} cannot hold a registry. {reasons}", "bucket")

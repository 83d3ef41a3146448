"""Registries: made on a bucket that was checked, set, deleted without their objects, taken over again.

Who may do what is the caller's to settle.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from gateway.errors import AlreadyTaken, BackendError, NothingKnown, ValueRefused
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
    from gateway.ports.directory import RegistryChange, RegistryIndex, RegistrySettings
    from gateway.services.markers import Marker, Markers

_log = logging.getLogger(__name__)


class Registries:
    """Makes, sets and deletes registries."""

    def __init__(
        self,
        index: RegistryIndex,
        keeper: BucketKeeper,
        markers: Markers,
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
        self._delivery = delivery
        self._reserved = frozenset(reserved)

    async def create(self, actor: Actor, name: str, bucket: str, *, adopt: bool = False) -> RegistrySettings:
        """Make a registry on a bucket that exists and is fit for one.

        With ``adopt`` it takes over the id, and so the objects, of the deleted registry that has left its marker
        there. Raises AlreadyTaken for the name or the bucket, ValueRefused for those that cannot be used, NothingKnown
        when there is nothing to take over.
        """
        self._check_name(name)
        await self._check_free(name, bucket)
        refuse_unfit(bucket, await self.check_bucket(bucket))
        marker = await check_unclaimed(self._markers, bucket)
        if adopt and marker is None:
            raise NothingKnown(f"no registry has left anything in the bucket {bucket}: make one without adopting")
        new = await self._new(name, bucket, marker if adopt else None)
        made = await self._index.insert_registry(actor, new)
        try:
            await self._markers.claim(made.registry)
        except BaseException:
            # The row came first, because it settles races within the installation; without a marker it must not stay.
            await self._index.delete_registry(actor, name)
            raise
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

    async def delete(self, actor: Actor, name: str) -> None:
        """Delete a registry with its uploads, but not its objects; its name and bucket are free then.

        Raises NothingKnown, and ValueRefused for the default registry, which the next start would make anew.
        """
        if (await self.get(name)).is_default:
            raise ValueRefused(
                f"the registry {name} answers at hosts that name none: set default_registry to another one first"
            )
        gone = await self._index.delete_registry(actor, name)
        try:
            await self._markers.release(gone.registry)
        except (BackendError, ValueRefused) as error:
            # A living marker of ours without a registry does not keep us from using the bucket again.
            _log.warning(
                "the bucket %s of the deleted registry %s is not marked: %s", gone.registry.bucket, name, error
            )

    async def check_bucket(self, bucket: str) -> Sequence[Finding]:
        """Return what is wrong with a bucket; this stores and removes objects in it."""
        return await self._keeper.inspect(bucket)

    async def buckets(self) -> Sequence[BucketUse]:
        """Return the buckets that can be seen, and who has them, by name."""
        taken = {each.registry.bucket: each.name for each in await self.list()}
        return [BucketUse(each, taken.get(each)) for each in sorted({*await self._keeper.list_buckets(), *taken})]

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

    async def _new(self, name: str, bucket: str, marker: Marker | None) -> NewRegistry:
        """Describe what is to be made, with the id of ``marker`` if one is taken over."""
        return NewRegistry(
            public_id=marker.registry if marker else secrets.token_hex(16),
            generation=marker.generation + 1 if marker else 1,
            name=name,
            storage=self._keeper.name,
            bucket=bucket,
            delivery=Delivery.PROXY if await self._keeper.is_restricted(bucket) else None,
        )

    async def _check_delivery(self, name: str, change: RegistryChange) -> None:
        """Refuse to send clients to a bucket that does not answer them."""
        if not change.keys() & {"public_delivery", "private_delivery", "delivery_rules"}:
            return
        before = await self.get(name)
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


async def check_unclaimed(markers: Markers, bucket: str) -> Marker | None:
    """Return a bucket's marker; raises AlreadyTaken when a living registry of another installation has it."""
    marker = await markers.look(bucket)
    if markers.is_foreign(marker):
        raise AlreadyTaken(taken_by_another(bucket))
    return marker


def refuse_unfit(bucket: str, findings: Sequence[Finding]) -> None:
    """Raise ValueRefused with everything that makes a bucket unfit for a registry."""
    errors = [each for each in findings if each.severity is Severity.ERROR]
    if errors:
        reasons = "; ".join(f"{each.what}: {each.reason} ({each.mend})" for each in errors)
        raise ValueRefused(f"the bucket {bucket} cannot hold a registry. {reasons}", "bucket")

"""What ``slipway doctor`` looks at: configuration, certificates, database, and the bucket of each registry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.app.entrances import entrances_of
from gateway.db.catalogue import Catalogue
from gateway.db.examination import examine_database
from gateway.db.registries import RegistryRows
from gateway.errors import BackendError, ConfigurationError, ValueRefused
from gateway.model.endpoints import Delivery
from gateway.model.findings import Finding, Severity
from gateway.services.catalogue import CatalogueGuard, Standing
from gateway.services.markers import taken_by_another

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.app.assembly import Storage
    from gateway.app.entrances import Entrance
    from gateway.config import Settings
    from gateway.db.pool import Database
    from gateway.ports.directory import RegistrySettings
    from gateway.services.markers import Markers

_TIME_TO_RENEW = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Examined:
    """Something that was looked at; no findings are good news."""

    subject: str
    findings: Sequence[Finding]


def examine_settings(settings: Settings) -> Examined:
    """Look at what is allowed but may not be meant."""
    found = []
    if settings.domains and settings.console_host is None:
        reason = "a domain is set, and no host for the console and the management API: nobody can reach them"
        found.append(Finding(Severity.WARNING, "console_host", reason, "set SLIPWAY_CONSOLE_HOST"))
    if settings.encryption_key is None and settings.database_url is not None:
        reason = "what signs tokens lies in the database in clear, also in its backups"
        mend = "set SLIPWAY_ENCRYPTION_KEY, for instance to what `openssl rand -hex 32` prints, and keep it"
        found.append(Finding(Severity.WARNING, "encryption_key", reason, mend))
    return Examined("configuration", found)


def examine_certificates(settings: Settings) -> list[Examined]:
    """Look at what clients are shown where they speak TLS to us."""
    return [
        Examined(f"certificate {entrance.files[0]}", _certificate(entrance))
        for entrance in entrances_of(settings)
        if entrance.files is not None
    ]


def _certificate(entrance: Entrance) -> list[Finding]:
    try:
        certificate = entrance.certificate()
    except ConfigurationError as error:
        return [Finding(Severity.ERROR, "files", str(error), "mend what it says: a start is refused meanwhile")]
    assert certificate is not None
    begin, end = certificate.validity()
    now = datetime.now(UTC)
    if begin > now:
        reason = f"it, or one of its chain, holds from {begin:%Y-%m-%d %H:%M} UTC on only"
        return [Finding(Severity.ERROR, "begin", reason, "wait, or set the clock of this machine")]
    if end - now > _TIME_TO_RENEW:
        return []
    severity = Severity.WARNING if end > now else Severity.ERROR
    reason = f"it, or one of its chain, holds until {end:%Y-%m-%d %H:%M} UTC only"
    return [Finding(severity, "end", reason, "put a new one in its place: running servers take it by themselves")]


async def examine_all(
    settings: Settings, database: Database, storage: Storage, markers: Markers | None
) -> list[Examined]:
    """Look at the database and at all buckets; ``markers`` is None before the first start.

    Objects that are stored in a bucket to try it out are removed again.
    """
    examined = [Examined("database", await examine_database(database))]
    if markers is not None and not any(each.severity is Severity.ERROR for each in examined[0].findings):
        index = Catalogue(database, storage.buckets.name)
        # An older schema has no catalogues.
        guard = None if examined[0].findings else CatalogueGuard(index, storage.blobs)
        for registry in await RegistryRows(database).list_registries():
            findings = await _bucket(registry, settings, storage, markers, guard)
            examined.append(Examined(f"registry {registry.name}, bucket {registry.registry.bucket}", findings))
    elif settings.default_name is not None:
        bucket = settings.s3_bucket or settings.default_name
        examined.append(Examined(f"bucket {bucket}", await _inspected(bucket, storage)))
    return examined


async def _bucket(
    registry: RegistrySettings, settings: Settings, storage: Storage, markers: Markers, guard: CatalogueGuard | None
) -> list[Finding]:
    bucket = registry.registry.bucket
    found = await _inspected(bucket, storage, make=False)
    try:
        found += await _marker(registry, markers)
        found += await _catalogue(registry, guard) if guard else ()
        redirects = registry.delivery(Delivery(settings.blob_delivery)).ever_redirects
        if redirects and await storage.buckets.is_restricted(bucket):
            reason = "clients are sent to the bucket, whose policy lets certain addresses in only"
            mend = "set the registry's delivery to proxy, or change the policy"
            found.append(Finding(Severity.ERROR, "delivery", reason, mend))
    except (BackendError, ConfigurationError) as error:
        found.append(Finding(Severity.ERROR, "bucket", str(error), "mend what it says"))
    return found


async def _catalogue(registry: RegistrySettings, guard: CatalogueGuard) -> list[Finding]:
    if await guard.look(registry.registry) is not Standing.AHEAD:
        return []
    reason = "the bucket knows of changes that the database does not: nothing is removed from it, or written down there"
    mend = f"if the database was restored from a backup, `slipway registry reconcile {registry.name}`"
    return [Finding(Severity.ERROR, "catalogue", reason, mend)]


async def _inspected(bucket: str, storage: Storage, *, make: bool = True) -> list[Finding]:
    try:
        return await storage.buckets.inspect(bucket, make=make)
    except (BackendError, ConfigurationError) as error:
        return [Finding(Severity.ERROR, "bucket", str(error), "see that the storage runs and can be reached from here")]


async def _marker(registry: RegistrySettings, markers: Markers) -> list[Finding]:
    try:
        marker = await markers.look(registry.registry.bucket)
    except ValueRefused as error:
        return [Finding(Severity.ERROR, "marker", str(error), "remove that object if it is not needed")]
    if markers.is_foreign(marker):
        reason = taken_by_another(registry.registry.bucket, marker)
        return [Finding(Severity.ERROR, "marker", reason, "stop using the bucket from one of the two")]
    if not markers.is_of(marker, registry.registry):
        reason = "the bucket is not marked as that of this registry, so another installation could take it"
        return [Finding(Severity.WARNING, "marker", reason, "start `slipway serve`, which marks it")]
    return []

"""The metadata port: what exists, who refers to it, and how far uploads have come.

Every method is one transaction and holds no lock when it returns. What one method has committed, every
other method of every process sees from then on. All methods raise DatabaseUnavailable when the database
cannot be reached or does not answer in time. A method that changes an upload session names the epoch
of its lease and raises LeaseLost when somebody else has taken the session over since. A method that takes an actor
commits a line of the audit log together with the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from gateway.model.access import Actor
    from gateway.model.digest import Digest
    from gateway.model.manifest import Manifest
    from gateway.model.names import Reference, RepositoryName, Tag
    from gateway.ports.storage import Location, Part, Stored


@dataclass(frozen=True, slots=True)
class Registry:
    """A named tenant: its repositories, and the bucket that holds their blobs."""

    id: int
    public_id: str
    """Random lower-case id of 128 bits that stands in object keys."""
    bucket: str
    generation: int = 1
    """Counts how often it was taken over from its bucket."""


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """A blob of a repository and where its bytes lie."""

    digest: Digest
    size: int
    key: str
    unreferenced_for: float | None = None
    """Seconds since no manifest refers to it, or since a client was promised that it stays; None while one does."""


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """A manifest of a repository."""

    id: int
    digest: Digest
    media_type: str
    """As it was pushed to this repository: the same bytes may have another one elsewhere."""
    size: int
    kind: str
    """image, index, artifact, attestation, signature or cache."""
    repository_id: int
    tag_id: int | None = None
    """The tag that it was found by."""
    raw: bytes | None = None
    """Its bytes, where they came along without cost."""


@dataclass(frozen=True, slots=True)
class Referrer:
    """A line of a referrers list."""

    digest: str
    media_type: str
    size: int
    artifact_type: str | None
    annotations: bytes
    """A JSON object."""


@dataclass(frozen=True, slots=True)
class UploadSession:
    """How far an upload has come, as everybody may know it."""

    committed: int
    """Bytes held at the end of the last request that was answered."""
    progress: int
    """Bytes held of a body that was cut off; never less than ``committed``."""
    leased: bool
    """True while a process works on it."""


@dataclass(frozen=True, slots=True)
class UploadLease:
    """The right to go on with an upload session, from ``stored.offset``, until somebody else takes it over."""

    session_id: UUID
    epoch: int
    algorithm: str
    stored: Stored
    hash_state: bytes | None
    """State of the hash over the bytes that are stored; None when it is not known (or nothing is stored)."""


@dataclass(frozen=True, slots=True)
class RemovableObject:
    """An object that nothing names any more."""

    id: int
    registry: Registry
    """A living one, or one that was deleted."""
    location: Location
    multipart_id: str | None
    size: int
    """Bytes that it held as a blob; 0 for what never was one."""
    again: bool
    """True when it was deleted before: calls that were under way then have ended, and it can be forgotten."""
    is_left_behind: bool
    """Whether its registry was deleted, so that nobody may want the bucket any more."""


class BlobIndex(Protocol):
    """Which repository holds which blobs."""

    async def fetch_blob(self, registry: Registry, repository: RepositoryName, digest: Digest) -> BlobRecord:
        """Return a blob of a repository; raise BlobUnknown."""
        ...

    async def promise_blob(self, registry: Registry, repository: RepositoryName, digest: Digest) -> None:
        """Let the time begin anew for which a blob is kept without a manifest; raise BlobUnknown if it is gone.

        A mount, and an upload of its digest, promise the same.
        """
        ...

    async def mount_blob(
        self,
        registry: Registry,
        repository: RepositoryName,
        digest: Digest,
        source: RepositoryName | None,
    ) -> bool:
        """Make a blob of ``source``, or of any repository, a blob of ``repository``; False when there is none."""
        ...

    async def delete_blob(self, registry: Registry, repository: RepositoryName, digest: Digest, actor: Actor) -> None:
        """Take a blob out of a repository; raise BlobUnknown, or StillReferenced while a manifest needs it."""
        ...


class ManifestIndex(Protocol):
    """Manifests, tags and what can be listed."""

    async def fetch_manifest(
        self, registry: Registry, repository: RepositoryName, reference: Reference
    ) -> ManifestRecord:
        """Return a manifest by tag or digest; raise ManifestUnknown."""
        ...

    async def fetch_manifest_content(self, manifest: ManifestRecord) -> bytes:
        """Return the bytes of a manifest that was just fetched, even if it was deleted since.

        Raises ManifestUnknown if it was purged since.
        """
        ...

    async def put_manifest(
        self,
        registry: Registry,
        repository: RepositoryName,
        manifest: Manifest,
        digest: Digest,
        tags: Sequence[Tag],
        actor: Actor,
    ) -> None:
        """Store a manifest and point all tags at it, or nothing; raise ManifestBlobsUnknown or TagsProtected."""
        ...

    async def delete_manifest(
        self, registry: Registry, repository: RepositoryName, digest: Digest, actor: Actor
    ) -> None:
        """Delete a manifest with its tags; raise ManifestUnknown, or StillReferenced while an index lists it.

        This, and deleting a tag, is a deletion that ports.images.DeletionIndex can undo.
        """
        ...

    async def delete_tag(self, registry: Registry, repository: RepositoryName, tag: Tag, actor: Actor) -> None:
        """Delete a tag and leave its manifest; raise ManifestUnknown."""
        ...

    async def list_tags(self, registry: Registry, repository: RepositoryName, last: str, limit: int) -> list[str]:
        """Return tags after ``last`` in ASCII order; raise RepositoryUnknown."""
        ...

    async def list_repositories(self, registry: Registry, last: str, limit: int) -> list[str]:
        """Return names of repositories that hold a manifest, after ``last`` in ASCII order."""
        ...

    async def list_referrers(
        self,
        registry: Registry,
        repository: RepositoryName,
        subject: Digest,
        artifact_types: Sequence[str],
        last: str,
        limit: int,
        most_bytes: int,
    ) -> list[Referrer]:
        """Return manifests whose subject is ``subject``, after digest ``last``; of any type when none is given.

        Stops at ``limit`` manifests, and at the first one behind ``most_bytes`` bytes of annotations.
        """
        ...


class UploadIndex(Protocol):
    """Upload sessions, their leases and checkpoints.

    A session belongs to a registry, a repository and an account (None: to nobody in particular); for all others there
    is no such session.
    """

    async def start_upload(
        self, registry: Registry, repository: RepositoryName, algorithm: str, account_id: int | None
    ) -> UUID:
        """Create an upload session and return its id."""
        ...

    async def fetch_upload(
        self, registry: Registry, repository: RepositoryName, session_id: UUID, account_id: int | None
    ) -> UploadSession:
        """Return how far a session has come; raise UploadUnknown."""
        ...

    async def fetch_tombstone(
        self, registry: Registry, repository: RepositoryName, session_id: UUID, account_id: int | None
    ) -> str | None:
        """Return the digest that a session was finished with, for some time after it was."""
        ...

    async def acquire_upload(self, session_id: UUID, *, adopt_progress: bool) -> UploadLease | None:
        """Take the lease of a session, going on at its progress or at its committed bytes.

        Returns None while another process holds the lease, and when the session is gone.
        """
        ...

    async def renew_leases(self, leases: Sequence[tuple[UUID, int]]) -> set[UUID]:
        """Prolong leases given by session and epoch, and the sessions; return those whose lease still holds."""
        ...

    async def release_upload(self, session_id: UUID, epoch: int, *, keep_progress: bool) -> None:
        """Give a lease back without a new checkpoint, keeping or forgetting progress; one that was lost is left."""
        ...

    async def ask_for_upload(self, session_id: UUID) -> None:
        """Ask whoever holds the lease of a session to stop and give it back."""
        ...

    async def new_target(self, session_id: UUID, epoch: int, key: str) -> None:
        """Commit the key of the object that the upload will become."""
        ...

    async def new_segment(self, session_id: UUID, epoch: int, key: str) -> None:
        """Commit the key of a segment."""
        ...

    async def record_multipart(self, session_id: UUID, epoch: int, multipart_id: str, part_size: int) -> None:
        """Commit that a multipart upload exists under the target's key."""
        ...

    async def reserve_part_numbers(self, session_id: UUID, epoch: int, through: int) -> None:
        """Commit that part numbers up to ``through`` may be in use."""
        ...

    async def record_completing(self, session_id: UUID, epoch: int) -> None:
        """Commit that the multipart upload is about to be completed."""
        ...

    async def confirm_lease(self, session_id: UUID, epoch: int) -> None:
        """Return if the lease has not been taken over."""
        ...

    async def record_progress(
        self,
        session_id: UUID,
        epoch: int,
        solid: int,
        parts: Sequence[Part],
        hash_state: bytes | None,
    ) -> None:
        """Commit that the first ``solid`` bytes are durable."""
        ...

    async def commit_checkpoint(self, session_id: UUID, epoch: int, stored: Stored, hash_state: bytes | None) -> None:
        """Commit what a request left, and give the lease back."""
        ...

    async def publish_upload(
        self,
        registry: Registry,
        repository: RepositoryName,
        session_id: UUID,
        epoch: int,
        blob: BlobRecord,
    ) -> None:
        """Make an upload's object a blob of its repository and end the session, leaving a tombstone.

        A living blob with this digest keeps its object; the upload's object is then removed.
        """
        ...

    async def finish_upload(
        self, registry: Registry, repository: RepositoryName, session_id: UUID, epoch: int, digest: Digest
    ) -> None:
        """End a session whose blob was published in another way, leaving a tombstone."""
        ...

    async def discard_upload(self, session_id: UUID, epoch: int) -> None:
        """End a session and give up everything that it stored."""
        ...

    async def cancel_upload(
        self, registry: Registry, repository: RepositoryName, session_id: UUID, account_id: int | None
    ) -> None:
        """End a session at its client's wish, whoever works on it; raise UploadUnknown."""
        ...


class RemovalIndex(Protocol):
    """Objects that are to be removed from the storage."""

    async def fetch_removing(self, after: int, limit: int) -> list[RemovableObject]:
        """Return objects that are due for their first or second deletion, in the order of their ids."""
        ...

    async def record_removed(self, object_id: int) -> bool:
        """Note that an object was deleted for the first time; False if another process was quicker."""
        ...

    async def forget_object(self, object_id: int) -> None:
        """Drop the row of an object that was deleted twice."""
        ...

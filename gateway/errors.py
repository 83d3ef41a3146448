"""Domain errors: what can go wrong, in words of the registry, without HTTP.

Three families, because they call for different people: a *client's* fault is answered and
forgotten, a *backend's* fault is logged and retried, and a *configuration* fault stops the start
with one line. ``http/errors.py`` holds the one table that turns the first two into answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class SlipwayError(Exception):
    """Base of all errors that Slipway raises on purpose; the message is a sentence for people."""


class ConfigurationError(SlipwayError):
    """The program cannot start as it was configured: one line to the user, exit code 2."""


# --- the client's faults -------------------------------------------------------------------------


class ClientError(SlipwayError):
    """The request cannot be served because of what the client sent."""


class NameInvalid(ClientError):
    """A repository name breaks the grammar of the specification."""


class ReferenceInvalid(ClientError):
    """A manifest reference is neither a tag nor a digest."""


class DigestInvalid(ClientError):
    """A digest has a bad syntax, an unknown algorithm, or is not that of the content."""


class DigestMismatch(DigestInvalid):
    """The content is complete and does not have the digest that the client announced."""


class SizeInvalid(ClientError):
    """A body is shorter or longer than its headers announced."""


class ParameterInvalid(ClientError):
    """A query parameter has a value that cannot be used."""


class TooManyTags(ClientError):
    """A manifest push names more tags than one request may."""


class RepositoryUnknown(ClientError):
    """The repository does not exist."""


class BlobUnknown(ClientError):
    """The blob does not exist in the repository."""


class ManifestUnknown(ClientError):
    """The manifest or tag does not exist in the repository."""


class ManifestInvalid(ClientError):
    """A manifest breaks a rule of the specification."""


class ManifestTooLarge(ManifestInvalid):
    """A manifest is larger than the limit."""


class ManifestBlobsUnknown(ClientError):
    """A manifest refers to content that its repository does not hold.

    Attributes:
        digests: The missing digests as text, in the manifest's order, without repetition.

    """

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(f"the manifest refers to content that the repository does not hold: {', '.join(digests)}")
        self.digests = tuple(digests)


class StillReferenced(ClientError):
    """Content cannot be deleted because a living manifest of the repository refers to it."""


class TagsProtected(ClientError):
    """A push would point tags at another manifest, in an image whose tags may not be moved.

    Attributes:
        tags: Which ones, as text.

    """

    def __init__(self, tags: Sequence[str]) -> None:
        # Clients that can pass over such a refusal know it by the words "cannot be overwritten" and "immutable".
        names = ", ".join(tags)
        super().__init__(
            f"existing tags of this image cannot be overwritten because the repository is immutable: {names}; "
            "push under another tag, or have a manager delete the tag or switch tag mutability on"
        )
        self.tags = tuple(tags)


class UploadUnknown(ClientError):
    """The upload session does not exist: unknown, expired, cancelled or finished."""


class UploadOutOfOrder(ClientError):
    """A chunk does not start where the session stands; the session stays alive.

    Attributes:
        repository: Name of the session's repository, as text.
        session_id: Id of the session.
        offset: Number of bytes that the session holds.

    """

    def __init__(self, message: str, *, repository: str, session_id: str, offset: int) -> None:
        super().__init__(message)
        self.repository = repository
        self.session_id = session_id
        self.offset = offset


class UploadTooLarge(ClientError):
    """An upload needs more parts than the storage can hold."""


class RangeUnsatisfiable(ClientError):
    """No byte of the requested range exists.

    Attributes:
        size: Size of the content in bytes.

    """

    def __init__(self, size: int) -> None:
        super().__init__(f"the range lies outside of the content, which has {size} bytes")
        self.size = size


class RangesInvalid(ClientError):
    """A request asks for too many ranges, or for more bytes than the content has."""


class BodyCut(ClientError):
    """The client went away, or stopped sending, in the middle of a body."""


class RouteUnknown(ClientError):
    """No endpoint has this address."""


class HostUnknown(ClientError):
    """The request was sent to a host that belongs to no registry."""


class CredentialsWrong(ClientError):
    """An access key id and a secret do not belong together, or the key may not be used."""


class TokenInvalid(ClientError):
    """A token is malformed, expired, of another registry, or of a key that may not be used any more."""


class Unauthorized(ClientError):
    """The request needs credentials, or better ones.

    Attributes:
        challenge: Where to get them and what to ask for, as the header WWW-Authenticate says it.
        denied: Whether credentials were sent that are good, but not for this.

    """

    def __init__(self, message: str, challenge: str, *, denied: bool = False) -> None:
        super().__init__(message)
        self.challenge = challenge
        self.denied = denied


class MethodNotAllowed(ClientError):
    """The endpoint exists but not with this method.

    Attributes:
        allowed: The methods that it has.

    """

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"this address takes {', '.join(allowed)} only")
        self.allowed = tuple(allowed)


class ExpectationFailed(ClientError):
    """The client expects something other than 100-continue."""


# --- the client's faults in managing things ------------------------------------------------------


class Forbidden(ClientError):
    """The account may not do this, whatever it presents."""


class FormForeign(Forbidden):
    """A form was not sent from a page of this session."""


class NothingKnown(ClientError):
    """There is no such registry, account, key or policy, or the account may not see it."""


class AlreadyTaken(ClientError):
    """A name or a bucket is in use."""


class ChangedMeanwhile(ClientError):
    """Somebody else has changed the thing since the client has read it."""


class ValueRefused(ClientError):
    """A value cannot be used; nothing was changed.

    Attributes:
        field: Which one, None for the whole.

    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ValuesRefused(ValueRefused):
    """Values of a form cannot be used; nothing was changed.

    Attributes:
        fields: Each wrong field with what is wrong about it.

    """

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {detail}" for field, detail in fields))
        self.fields = tuple(fields)


class CatalogueUnwritten(ClientError):
    """A registry cannot be deleted, because what is known of its images cannot be written to its bucket."""


class CannotRestore(ClientError):
    """What was deleted cannot come back, because something that it needs is gone."""


class FormTooLarge(ClientError):
    """The body of a request to the management API is too large."""


class FormatUnsupported(ClientError):
    """The body of a request to the management API is not announced as JSON."""


# --- the backends' faults ------------------------------------------------------------------------


class BackendError(SlipwayError):
    """The database or the storage failed to do its part."""


class DatabaseUnavailable(BackendError):
    """The database cannot be reached, or did not answer in time; trying again may help."""


class StorageUnavailable(BackendError):
    """The storage cannot be reached, or keeps refusing; trying again may help."""


class MemoryShort(BackendError):
    """There is not enough memory for all uploads at the moment; trying again may help."""


class BucketMissing(StorageUnavailable):
    """There is no such bucket, or nothing can be seen where it should be."""


class StorageFull(StorageUnavailable):
    """The storage has no room left."""


class NotOffered(BackendError):
    """The storage service has no such call, or refuses it for good."""


class UploadBusy(BackendError):
    """Another process works on the upload session and did not hand it over in time."""


class ServiceEnding(BackendError):
    """The process ends and has no time left for this request; another one can go on with it."""


class ObjectMissing(BackendError):
    """The storage does not hold an object that the database names."""


class ObjectDamaged(BackendError):
    """An object does not have the size or the content that the database states."""


class MultipartLost(BackendError):
    """The storage no longer knows the multipart upload of a session."""


class LeaseLost(SlipwayError):
    """Another process has taken the upload session over: stop at once, write nothing more."""

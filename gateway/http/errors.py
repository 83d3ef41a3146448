"""The one table from errors to answers (distribution specification, Error Codes)."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from gateway import errors
from gateway.http.answers import Answer
from gateway.http.locations import upload_headers

_READS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class _Entry:
    """How one type of error is answered."""

    code: str
    status: HTTPStatus
    on_read: _Entry | None = None
    """The answer to GET and HEAD, where an address that cannot exist is simply not found."""


_TABLE: dict[type[errors.SlipwayError], _Entry] = {
    errors.NameInvalid: _Entry(
        "NAME_INVALID", HTTPStatus.BAD_REQUEST, on_read=_Entry("NAME_INVALID", HTTPStatus.NOT_FOUND)
    ),
    errors.ReferenceInvalid: _Entry(
        "MANIFEST_INVALID", HTTPStatus.BAD_REQUEST, on_read=_Entry("MANIFEST_UNKNOWN", HTTPStatus.NOT_FOUND)
    ),
    errors.DigestInvalid: _Entry("DIGEST_INVALID", HTTPStatus.BAD_REQUEST),
    errors.SizeInvalid: _Entry("SIZE_INVALID", HTTPStatus.BAD_REQUEST),
    errors.ParameterInvalid: _Entry("UNSUPPORTED", HTTPStatus.BAD_REQUEST),
    errors.TooManyTags: _Entry("UNSUPPORTED", HTTPStatus.REQUEST_URI_TOO_LONG),
    errors.RepositoryUnknown: _Entry("NAME_UNKNOWN", HTTPStatus.NOT_FOUND),
    errors.BlobUnknown: _Entry("BLOB_UNKNOWN", HTTPStatus.NOT_FOUND),
    errors.ManifestUnknown: _Entry("MANIFEST_UNKNOWN", HTTPStatus.NOT_FOUND),
    errors.ManifestInvalid: _Entry("MANIFEST_INVALID", HTTPStatus.BAD_REQUEST),
    errors.ManifestTooLarge: _Entry("MANIFEST_INVALID", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    errors.ManifestBlobsUnknown: _Entry("MANIFEST_BLOB_UNKNOWN", HTTPStatus.BAD_REQUEST),
    errors.StillReferenced: _Entry("UNSUPPORTED", HTTPStatus.METHOD_NOT_ALLOWED),
    errors.TagsProtected: _Entry("DENIED", HTTPStatus.FORBIDDEN),
    errors.UploadUnknown: _Entry("BLOB_UPLOAD_UNKNOWN", HTTPStatus.NOT_FOUND),
    errors.UploadOutOfOrder: _Entry("BLOB_UPLOAD_INVALID", HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
    errors.UploadTooLarge: _Entry("BLOB_UPLOAD_INVALID", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    errors.RangeUnsatisfiable: _Entry("SIZE_INVALID", HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
    errors.RangesInvalid: _Entry("SIZE_INVALID", HTTPStatus.BAD_REQUEST),
    errors.BodyCut: _Entry("BLOB_UPLOAD_INVALID", HTTPStatus.BAD_REQUEST),
    errors.RouteUnknown: _Entry("UNSUPPORTED", HTTPStatus.NOT_FOUND),
    errors.HostUnknown: _Entry("NAME_UNKNOWN", HTTPStatus.NOT_FOUND),
    errors.CredentialsWrong: _Entry("UNAUTHORIZED", HTTPStatus.UNAUTHORIZED),
    errors.Unauthorized: _Entry("UNAUTHORIZED", HTTPStatus.UNAUTHORIZED),
    errors.MethodNotAllowed: _Entry("UNSUPPORTED", HTTPStatus.METHOD_NOT_ALLOWED),
    errors.ExpectationFailed: _Entry("UNSUPPORTED", HTTPStatus.EXPECTATION_FAILED),
    errors.Forbidden: _Entry("DENIED", HTTPStatus.FORBIDDEN),
    errors.BackendError: _Entry("UNKNOWN", HTTPStatus.INTERNAL_SERVER_ERROR),
    errors.DatabaseUnavailable: _Entry("UNAVAILABLE", HTTPStatus.SERVICE_UNAVAILABLE),
    errors.StorageUnavailable: _Entry("UNAVAILABLE", HTTPStatus.SERVICE_UNAVAILABLE),
    errors.StorageFull: _Entry("UNAVAILABLE", HTTPStatus.INSUFFICIENT_STORAGE),
    errors.MemoryShort: _Entry("UNAVAILABLE", HTTPStatus.SERVICE_UNAVAILABLE),
    errors.UploadBusy: _Entry("UNAVAILABLE", HTTPStatus.SERVICE_UNAVAILABLE),
    errors.ServiceEnding: _Entry("UNAVAILABLE", HTTPStatus.SERVICE_UNAVAILABLE),
}
_BUG = _Entry("UNKNOWN", HTTPStatus.INTERNAL_SERVER_ERROR)
_DENIED = _Entry("DENIED", HTTPStatus.UNAUTHORIZED)
_SECONDS_TO_RETRY = "5"


def answer_to(error: Exception, method: str) -> Answer:
    """Make the answer to a request that ended in an error."""
    entry = next((_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE), _BUG)
    if entry.on_read and method in _READS:
        entry = entry.on_read
    if isinstance(error, errors.Unauthorized) and error.denied:
        entry = _DENIED
    status = entry.status
    headers = _headers(error, status)
    if isinstance(error, errors.ManifestBlobsUnknown):
        missing = [error_entry(entry.code, "the repository does not hold this content", d) for d in error.digests]
        return error_answer(status, missing, headers)
    # What a backend's error says is for the log; it may name hosts and keys.
    is_ours = isinstance(error, errors.BackendError) or entry is _BUG
    message = _public_message(status) if is_ours else str(error)
    return error_answer(status, [error_entry(entry.code, message)], headers)


def error_entry(code: str, message: str, detail: str | None = None) -> dict[str, Any]:
    """Make one entry of an error body; what is no proper Unicode in a request is shown as question marks."""
    entry = {"code": code, "message": message, **({"detail": detail} if detail else {})}
    return {name: text.encode("utf-8", "replace").decode("utf-8") for name, text in entry.items()}


def error_answer(status: HTTPStatus, entries: list[dict[str, Any]], headers: dict[str, str] | None = None) -> Answer:
    """Make an answer with an error body (distribution specification, Errors)."""
    body = orjson.dumps({"errors": entries})
    return Answer(status, {"Content-Type": "application/json", **(headers or {})}, body)


def _headers(error: Exception, status: HTTPStatus) -> dict[str, str]:
    if isinstance(error, errors.UploadOutOfOrder):
        return upload_headers(error.repository, error.session_id, error.offset)
    if isinstance(error, errors.RangeUnsatisfiable):
        return {"Content-Range": f"bytes */{error.size}"}
    if isinstance(error, errors.Unauthorized):
        return {"WWW-Authenticate": error.challenge}
    if isinstance(error, errors.CredentialsWrong):
        return {"WWW-Authenticate": 'Basic realm="slipway"'}
    if isinstance(error, errors.MethodNotAllowed):
        return {"Allow": ", ".join(error.allowed)}
    if isinstance(error, errors.StillReferenced):
        return {"Allow": "GET, HEAD"}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": _SECONDS_TO_RETRY}
    return {}


def _public_message(status: HTTPStatus) -> str:
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return "the registry cannot do this right now; try again in a few seconds"
    if status == HTTPStatus.INSUFFICIENT_STORAGE:
        return "the registry's storage is full; its operator has to make room"
    return "something went wrong in the registry; its log has the details under this answer's X-Request-Id"

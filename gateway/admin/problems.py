"""The one table from errors to problem details (RFC 9457)."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway import errors
from gateway.admin.forms import FieldProblem, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM_TYPE = "application/problem+json"
_SECONDS_TO_RETRY = "5"

STATUSES: dict[type[errors.SlipwayError], HTTPStatus] = {
    errors.CredentialsWrong: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NothingKnown: HTTPStatus.NOT_FOUND,
    errors.RouteUnknown: HTTPStatus.NOT_FOUND,
    errors.RepositoryUnknown: HTTPStatus.NOT_FOUND,
    errors.ManifestUnknown: HTTPStatus.NOT_FOUND,
    errors.MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    errors.AlreadyTaken: HTTPStatus.CONFLICT,
    errors.StillReferenced: HTTPStatus.CONFLICT,
    errors.CannotRestore: HTTPStatus.CONFLICT,
    errors.CatalogueUnwritten: HTTPStatus.CONFLICT,
    errors.ChangedMeanwhile: HTTPStatus.PRECONDITION_FAILED,
    errors.FormTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.FormatUnsupported: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.ValueRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ClientError: HTTPStatus.BAD_REQUEST,
    errors.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers, and a body in memory."""

    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def status_of(kind: type[BaseException]) -> HTTPStatus:
    """Return the status that answers an error; what nobody expects is a fault of the server."""
    return next((STATUSES[base] for base in kind.__mro__ if base in STATUSES), HTTPStatus.INTERNAL_SERVER_ERROR)


def answer_to(error: Exception) -> Answer:
    """Make the answer to a request that ended in an error."""
    status = status_of(type(error))
    problem = Problem(
        type=f"urn:slipway:problem:{status.phrase.lower().replace(' ', '-')}",
        title=status.phrase,
        status=status,
        detail=_detail(error, status),
        errors=_fields(error),
    )
    headers = {"Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store", **_headers(error, status)}
    return Answer(status, headers, problem.model_dump_json(exclude_none=True).encode("utf-8", "replace"))


def _detail(error: Exception, status: HTTPStatus) -> str:
    if isinstance(error, errors.ClientError):
        return str(error)
    # What a backend's error says is for the log; it may name hosts and keys.
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return "the database or the storage does not answer right now; try again in a few seconds"
    return "something went wrong in the server; its log has the details under this answer's X-Request-Id"


def _fields(error: Exception) -> list[FieldProblem] | None:
    if isinstance(error, errors.ValuesRefused):
        return [FieldProblem(field=name, detail=detail) for name, detail in error.fields]
    if isinstance(error, errors.ValueRefused) and error.field is not None:
        return [FieldProblem(field=error.field, detail=str(error))]
    return None


def _headers(error: Exception, status: HTTPStatus) -> dict[str, str]:
    if isinstance(error, errors.CredentialsWrong):
        return {"WWW-Authenticate": 'Basic realm="slipway", charset="UTF-8"'}
    if isinstance(error, errors.MethodNotAllowed):
        return {"Allow": ", ".join(error.allowed)}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": _SECONDS_TO_RETRY}
    return {}

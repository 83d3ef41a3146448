"""The token endpoint, by GET and by POST (protocol.md 2.4, 2.5 and 2.9)."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from gateway.errors import CredentialsWrong, ParameterInvalid, RouteUnknown
from gateway.http.answers import Answer
from gateway.model.credentials import BASIC, parse_basic, split
from gateway.model.scope import parse_scopes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.http.calls import Call
    from gateway.model.access import AccessKey
    from gateway.services.access import Access, Issued

_LARGEST_FORM = 64 * 1024
_PASSWORD = "password"  # noqa: S105  (the name of a grant)


async def get_token(call: Call) -> Answer:
    """Issue a token to the credentials of HTTP Basic, or to the anonymous.

    ``account``, ``client_id`` and ``offline_token`` are hints that change nothing: the credentials say who it is, and
    tokens that live long are not issued.
    """
    access = _access(call)
    _check_service(call, call.first("service"))
    header = call.header("Authorization")
    key = await _authenticated(call, access, header) if header else None
    call.exchange.access_key_id = key.access_key_id if key else ""
    issued = access.issue(call.caller.settings, key, parse_scopes(call.all("scope")))
    return _json(HTTPStatus.OK, _described(issued))


async def post_token(call: Call) -> Answer:
    """Issue a token to a name and password in a form (OAuth 2, RFC 6749, section 4.3)."""
    access = _access(call)
    form = await _Form.read(call)
    grant = form.first("grant_type")
    if grant != _PASSWORD:
        # Clients fall back to GET, which all of them can do.
        return _json(HTTPStatus.BAD_REQUEST, {"error": "unsupported_grant_type" if grant else "invalid_request"})
    _check_service(call, form.first("service"))
    key = await access.authenticate(form.first("username") or "", form.first("password") or "", call.site.client)
    call.exchange.access_key_id = key.access_key_id
    issued = access.issue(call.caller.settings, key, parse_scopes(form.all("scope")))
    return _json(HTTPStatus.OK, {**_described(issued), "scope": " ".join(map(str, issued.granted))})


@dataclass(frozen=True, slots=True)
class _Form:
    """Fields of a form."""

    fields: Sequence[tuple[str, str]]

    @classmethod
    async def read(cls, call: Call) -> _Form:
        """Read the body; raise ParameterInvalid if it is no form. What it is called does not matter."""
        raw = await call.body().read(_LARGEST_FORM)
        if len(raw) > _LARGEST_FORM:
            raise ParameterInvalid(f"the form is larger than {_LARGEST_FORM} bytes")
        try:
            return cls(parse_qsl(raw.decode("utf-8"), keep_blank_values=True, errors="strict"))
        except ValueError:
            raise ParameterInvalid("the body is no form of fields like grant_type=password") from None

    def all(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for key, value in self.fields if key == name]

    def first(self, name: str) -> str | None:
        """The first value of a field, None without one."""
        return next(iter(self.all(name)), None)


def _access(call: Call) -> Access:
    if call.services.access is None:
        raise RouteUnknown("this registry is open: nobody needs a token")
    return call.services.access


async def _authenticated(call: Call, access: Access, header: str) -> AccessKey | None:
    """Return the key of the credentials that were sent; they never count as none because they are wrong."""
    scheme, value = split(header)
    if scheme != BASIC:
        raise CredentialsWrong("tokens are issued to an access key id and its secret key, by HTTP Basic")
    basic = parse_basic(value)
    return await access.authenticate(basic.access_key_id, basic.secret, call.site.client) if basic else None


def _check_service(call: Call, service: str | None) -> None:
    """Refuse tokens for others; some clients leave an empty service out, and mean us."""
    if service and service != call.caller.settings.registry.public_id:
        raise ParameterInvalid("service is not that of this registry: take it from the challenge")


def _described(issued: Issued) -> dict[str, Any]:
    """Tell the token under both names; when it was issued is left out, since clients' clocks may differ from ours."""
    return {"token": issued.token, "access_token": issued.token, "expires_in": issued.seconds}


def _json(status: HTTPStatus, content: Mapping[str, Any]) -> Answer:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Answer(status, headers, orjson.dumps(content))

"""A call: one request, as handlers see it, with its address and parameters parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl
from uuid import UUID

from gateway.errors import ParameterInvalid, SizeInvalid, UploadUnknown
from gateway.model.digest import Digest
from gateway.model.names import RepositoryName, parse_reference
from gateway.transport.body import RequestBody

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

    from gateway.http.sites import Site
    from gateway.model.access import Actor
    from gateway.model.names import Reference
    from gateway.ports.metadata import Registry
    from gateway.ports.observing import Exchange
    from gateway.services.access import Access, Caller
    from gateway.services.counters import Counters
    from gateway.services.manifests import Manifests
    from gateway.services.pull import Pull
    from gateway.services.push import Push

_NUMBER = re.compile(r"[0-9]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with."""

    push: Push
    pull: Pull
    manifests: Manifests
    access: Access | None
    """None where everybody may do everything."""
    counters: Counters


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a registry."""

    request: BaseRequest
    exchange: Exchange
    site: Site
    caller: Caller
    services: Services
    name: str
    """The repository's name as it stands in the address, not checked yet."""
    argument: str
    """The last component of the address: a digest, a reference or an upload id, not checked yet."""
    parameters: tuple[tuple[str, str], ...]
    """The query, decoded."""

    @property
    def registry(self) -> Registry:
        """The registry that the request is for."""
        return self.caller.settings.registry

    @property
    def actor(self) -> Actor:
        """Who asks, for the audit log."""
        return self.caller.actor(self.site.client)

    @property
    def repository(self) -> RepositoryName:
        """The repository's name; raises NameInvalid."""
        return RepositoryName.parse(self.name)

    @property
    def digest(self) -> Digest:
        """The digest at the end of the address; raises DigestInvalid."""
        return Digest.parse(self.argument)

    @property
    def reference(self) -> Reference:
        """The tag or digest at the end of the address; raises DigestInvalid or ReferenceInvalid."""
        return parse_reference(self.argument)

    @property
    def session_id(self) -> UUID:
        """The upload session's id; raises UploadUnknown for what cannot be one."""
        try:
            session_id = UUID(self.argument)
        except ValueError:
            session_id = None
        if session_id is None or str(session_id) != self.argument:
            raise UploadUnknown("there is no such upload session")
        return session_id

    def all(self, name: str) -> list[str]:
        """All values of a query parameter."""
        return [value for key, value in self.parameters if key == name]

    def first(self, name: str) -> str | None:
        """The first value of a query parameter, None without one."""
        return next(iter(self.all(name)), None)

    def header(self, name: str) -> str | None:
        """A header's value, None without one."""
        return self.request.headers.get(name)

    @property
    def page_limit(self) -> int | None:
        """The parameter ``n`` of a list; raises ParameterInvalid."""
        text = self.first("n")
        if text is None:
            return None
        if not _NUMBER.fullmatch(text):
            raise ParameterInvalid("n is the number of entries wanted, 0 or more")
        return int(text)

    def body(self, expected: int | None = None) -> RequestBody:
        """The request's body, of the announced length."""
        announced = self.request.content_length
        if expected is not None and announced is not None and announced != expected:
            raise SizeInvalid(f"Content-Range covers {expected} bytes but Content-Length is {announced}")
        return RequestBody(self.request, announced if expected is None else expected)


def parse_parameters(query: str) -> tuple[tuple[str, str], ...]:
    """Decode a query; raises ParameterInvalid for what no value can hold."""
    if not query:
        return ()
    parameters = tuple(parse_qsl(query, keep_blank_values=True, errors="replace"))
    if any("\0" in value for _, value in parameters):
        raise ParameterInvalid("a query parameter contains a NUL character")
    return parameters


def mount_source(parameters: tuple[tuple[str, str], ...]) -> str | None:
    """Return the repository that a blob is to be mounted from, None without a mount."""
    if not parameters:
        return None
    values = dict(reversed(parameters))
    return values.get("from") if "mount" in values else None

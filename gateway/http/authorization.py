"""What each request needs, and the challenge that says so (protocol.md 2.1, 2.2 and 2.7)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gateway.errors import CredentialsWrong, TokenInvalid, Unauthorized
from gateway.model.access import Action
from gateway.model.credentials import BASIC, BEARER, parse_basic, split
from gateway.model.names import RepositoryName, is_repository_name
from gateway.model.scope import Scope
from gateway.services.access import CATALOG, Caller

if TYPE_CHECKING:
    from gateway.http.sites import Site
    from gateway.ports.directory import RegistrySettings
    from gateway.services.access import Access


class Need(Enum):
    """What a request needs."""

    NOTHING = "nothing"
    LOGIN = "login"
    """Any valid token."""
    CATALOG = "catalog"
    PULL = (Action.PULL,)
    PUSH = (Action.PULL, Action.PUSH)
    DELETE = (Action.DELETE,)


class Authorization:
    """Lets requests pass, or raises Unauthorized with the challenge that leads a client to a token that will do."""

    def __init__(self, access: Access | None) -> None:
        """Without ``access`` everybody may do everything."""
        self._access = access

    async def caller(self, site: Site, settings: RegistrySettings, header: str | None, wanted: Wanted) -> Caller:
        """Return who sends this header Authorization, if it may have what it wants.

        Raises NameInvalid for repositories that cannot exist, whoever asks.
        """
        if self._access is None:
            return Caller(settings, is_open=True)
        if wanted.need is Need.NOTHING:
            return Caller(settings)
        wanted.check_names()
        try:
            caller = await _identified(self._access, site, settings, header)
        except TokenInvalid as error:
            raise Unauthorized(str(error), _challenge(site, settings, wanted, "invalid_token")) from error
        except CredentialsWrong as error:
            raise Unauthorized(str(error), _challenge(site, settings, wanted)) from error
        if not wanted.is_allowed(caller):
            message = f"the access key, or the token, does not allow {' and '.join(map(str, wanted.scopes()))}"
            raise Unauthorized(message, _challenge(site, settings, wanted, "insufficient_scope"), denied=True)
        return caller


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request needs, and of which repositories."""

    need: Need
    repository: str
    source: str | None = None
    """Where a blob is to be mounted from."""

    def check_names(self) -> None:
        """Raise NameInvalid if the repository cannot exist."""
        if isinstance(self.need.value, tuple):
            RepositoryName.parse(self.repository)

    def is_allowed(self, caller: Caller) -> bool:
        """Whether a caller may have it.

        Whoever asked for the source in vain gets a mount that finds nothing: asking again would not help.
        """
        if self.need is Need.LOGIN:
            return True
        if self.need is Need.CATALOG:
            return caller.may_list()
        return caller.may(self.need.value, self.repository) and (
            not self._has_source() or caller.has_asked_for(self.source or "")
        )

    def scopes(self) -> list[Scope]:
        """Return everything that a token has to grant, the target first."""
        if self.need is Need.LOGIN:
            return []
        if self.need is Need.CATALOG:
            return [CATALOG]
        sources = [Scope.repository(self.source or "", Need.PULL.value)] if self._has_source() else []
        return [Scope.repository(self.repository, self.need.value), *sources]

    def _has_source(self) -> bool:
        return self.source is not None and self.source != self.repository and is_repository_name(self.source)


async def _identified(access: Access, site: Site, settings: RegistrySettings, header: str | None) -> Caller:
    scheme, value = split(header or "")
    if scheme == BEARER:
        return await access.caller_by_token(settings, value, site.client)
    # Not offered, because clients that are offered both send it to everything; scripts like it.
    basic = parse_basic(value) if scheme == BASIC else None
    if basic is None:
        raise CredentialsWrong("this registry wants a login: an access key id, and its secret key as the password")
    return await access.caller_by_secret(settings, basic.access_key_id, basic.secret, site.client)


def _challenge(site: Site, settings: RegistrySettings, wanted: Wanted, problem: str = "") -> str:
    """Write the only challenge there is; no value is empty, which some clients' parsers stop at."""
    parameters = {
        "realm": f"{site.origin}/token",
        "service": settings.registry.public_id,
        "scope": " ".join(map(str, wanted.scopes())),
        "error": problem,
    }
    return "Bearer " + ",".join(f'{name}="{value}"' for name, value in parameters.items() if value)

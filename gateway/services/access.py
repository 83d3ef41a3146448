"""Who asks, and what they may do: the one place where credentials are judged.

Rights are those of this moment: a token limits what its bearer may do, and the key behind it, its account, its policies
and the registry's switches decide what of that is left whenever it is used (model/rights.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.errors import CredentialsWrong, TokenInvalid
from gateway.model.access import ALL_ACTIONS, Action, Actor, is_access_key_id
from gateway.model.rights import is_usable, may_view_registry, repository_actions
from gateway.model.scope import EVERY, REPOSITORY, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model.access import AccessKey
    from gateway.model.networks import IpAddress
    from gateway.ports.directory import RegistrySettings
    from gateway.ports.observing import Lookups
    from gateway.services.defence import Defence
    from gateway.services.fresh import Fresh
    from gateway.services.secrets import Secrets
    from gateway.services.tokens import Claims, Tokens
    from gateway.services.uses import Uses

CATALOG = Scope("registry", "catalog", frozenset({EVERY}))
"""What lists the repositories of a registry."""
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request to a registry, and by what."""

    settings: RegistrySettings
    key: AccessKey | None = None
    """None is the anonymous, or anybody under ``--open``."""
    claims: Claims | None = None
    """What the token says; None where none was sent."""
    is_open: bool = False
    """Whether everybody may do everything."""

    @property
    def account_id(self) -> int | None:
        """The account, None for nobody in particular."""
        return self.key.account.id if self.key else None

    def actor(self, client: IpAddress) -> Actor:
        """Who this is for the audit log."""
        if self.key is None:
            return Actor(None, "open" if self.is_open else "", None, str(client))
        return Actor(self.account_id, self.key.account.name, self.key.access_key_id, str(client))

    def may(self, actions: Iterable[Action], repository: str) -> bool:
        """Whether all these actions are allowed in a repository."""
        if self.is_open:
            return True
        if self.claims is not None and not self.claims.repositories.get(repository, _NOTHING).issuperset(actions):
            return False
        return _rights(self.settings, self.key, repository).issuperset(actions)

    def may_list(self) -> bool:
        """Whether the registry's repositories may be listed."""
        if self.is_open:
            return True
        if self.claims is not None and str(CATALOG) not in self.claims.others:
            return False
        return self.key is not None and may_view_registry(self.key, self.settings.registry.id)

    def may_pull_everything(self) -> bool:
        """Whether every repository of the registry may be pulled, so that it does not matter where a blob lies."""
        if self.is_open or self.settings.public_pull:
            return True
        if self.key is None or self.key.repositories is not None:
            return False
        return Action.PULL in _rights(self.settings, self.key, "any")

    def has_asked_for(self, repository: str) -> bool:
        """Whether the token was made with regard to a repository, whatever it grants; true without a token."""
        return self.claims is None or repository in self.claims.repositories


@dataclass(frozen=True, slots=True)
class Issued:
    """A token for a client."""

    token: str
    granted: tuple[Scope, ...]
    seconds: int
    """How long it is good for."""


class Access:
    """Judges credentials and tokens."""

    def __init__(
        self,
        keys: Fresh[str, AccessKey | None],
        secrets: Secrets,
        tokens: Tokens,
        defence: Defence,
        uses: Uses,
    ) -> None:
        self._keys = keys
        self._secrets = secrets
        self._tokens = tokens
        self._defence = defence
        self._uses = uses

    @property
    def token_lookups(self) -> Lookups:
        """How often a token had been verified before."""
        return self._tokens.lookups

    async def authenticate(self, access_key_id: str, secret: str, client: IpAddress) -> AccessKey:
        """Return the key whose secret this is.

        Raises CredentialsWrong after a while, for unknown, disabled and expired keys as for wrong secrets.
        """
        key = await self._keys.get(access_key_id) if is_access_key_id(access_key_id) else None
        now = datetime.now(UTC)
        if key is None or not await self._is_secret_of(key, secret, now) or not is_usable(key, now):
            await self._defence.refused(client, access_key_id, is_known=key is not None)
            raise CredentialsWrong("the access key id or the secret key is wrong, or the key may not be used any more")
        self._uses.note(key, now, client)
        return key

    async def usable_key(self, access_key_id: str, client: IpAddress) -> AccessKey | None:
        """Return a key that somebody has shown before, if it may be used now; None for any other."""
        key = await self._keys.get(access_key_id)
        now = datetime.now(UTC)
        if key is None or not is_usable(key, now):
            return None
        self._uses.note(key, now, client)
        return key

    def issue(self, settings: RegistrySettings, key: AccessKey | None, wanted: Iterable[Scope]) -> Issued:
        """Make a token of what is wanted and allowed; each repository is named, even where nothing of it is granted."""
        granted = tuple(_granted(settings, key, scope) for scope in wanted)
        token = self._tokens.issue(settings.registry.public_id, key, granted, datetime.now(UTC))
        return Issued(token, granted, self._tokens.seconds)

    async def caller_by_token(self, settings: RegistrySettings, token: str, client: IpAddress) -> Caller:
        """Return who sends a token; raise TokenInvalid unless it is good, here and now, and so is its key."""
        now = datetime.now(UTC)
        claims = await self._tokens.verify(token, settings.registry.public_id, now)
        if claims is None:
            raise TokenInvalid("the token is none of this registry, or it has expired")
        if claims.access_key_id is None:
            return Caller(settings, claims=claims)
        key = await self.usable_key(claims.access_key_id, client)
        if key is None:
            raise TokenInvalid("the access key that the token was made for may not be used any more")
        return Caller(settings, key, claims)

    async def caller_by_secret(
        self, settings: RegistrySettings, access_key_id: str, secret: str, client: IpAddress
    ) -> Caller:
        """Return who sends credentials instead of a token; raises what ``authenticate`` raises."""
        return Caller(settings, await self.authenticate(access_key_id, secret, client))

    async def _is_secret_of(self, key: AccessKey, secret: str, now: datetime) -> bool:
        matches = False
        for kept in key.secrets:
            is_over = kept.expires_at is not None and kept.expires_at <= now
            matches |= await self._secrets.matches(secret, kept) and not is_over
        return matches


def _rights(settings: RegistrySettings, key: AccessKey | None, repository: str) -> frozenset[Action]:
    return repository_actions(key, settings.registry.id, repository, public_pull=settings.public_pull)


def _granted(settings: RegistrySettings, key: AccessKey | None, wanted: Scope) -> Scope:
    if wanted.type == REPOSITORY:
        asked = ALL_ACTIONS if EVERY in wanted.actions else wanted.actions
        return Scope.repository(wanted.name, _rights(settings, key, wanted.name) & asked)
    is_catalog = (wanted.type, wanted.name) == (CATALOG.type, CATALOG.name) and EVERY in wanted.actions
    is_allowed = is_catalog and key is not None and may_view_registry(key, settings.registry.id)
    return Scope(wanted.type, wanted.name, CATALOG.actions if is_allowed else frozenset())

"""Who calls the management API, and what that allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from gateway.errors import Forbidden, NothingKnown
from gateway.model import rights
from gateway.model.access import Actor

if TYPE_CHECKING:
    from gateway.model.access import AccessKey
    from gateway.model.networks import IpAddress


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    actor: Actor
    key: AccessKey | None
    """None is whoever may do everything: the command line on the server itself, and all under ``--open``."""

    @classmethod
    def with_key(cls, key: AccessKey, client: IpAddress) -> Self:
        """Return who has shown this key."""
        return cls(Actor(key.account.id, key.account.name, key.access_key_id, str(client)), key)

    @classmethod
    def of_everybody(cls, client: IpAddress) -> Self:
        """Return whoever asks where everybody may do everything (``--open``)."""
        return cls(Actor(None, "open", address=str(client)), key=None)

    def require_whole_key(self) -> None:
        """Refuse keys that are for pulling and pushing only; raises Forbidden."""
        if self.key is not None and self.key.is_narrowed:
            raise Forbidden("this access key is narrowed to pulling and pushing: it manages nothing")

    def require_administration(self) -> None:
        """Let those pass who manage all registries; raises Forbidden."""
        if self.key is not None and not rights.may_administer(self.key):
            raise Forbidden("this takes a manager of all registries")

    def may_administer(self) -> bool:
        """Whether the caller manages all registries."""
        return self.key is None or rights.may_administer(self.key)

    def may_view(self, registry_id: int) -> bool:
        """Whether the caller may see a registry."""
        return self.key is None or rights.may_view_registry(self.key, registry_id)

    def may_manage(self, registry_id: int) -> bool:
        """Whether the caller may change a registry and read its audit."""
        return self.key is None or rights.may_manage_registry(self.key, registry_id)

    def require_view(self, registry_id: int, name: str) -> None:
        """Let those pass who may see a registry; raises NothingKnown, as for one that does not exist."""
        if not self.may_view(registry_id):
            raise NothingKnown(f"there is no registry {name}")

    def require_management(self, registry_id: int, name: str) -> None:
        """Let those pass who may manage a registry; raises NothingKnown or Forbidden."""
        self.require_view(registry_id, name)
        if not self.may_manage(registry_id):
            raise Forbidden(f"this takes a manager of the registry {name}")

"""Which registry is reached by which name, as every request asks; never older than a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ports.observing import Lookups
from gateway.services.fresh import Fresh

if TYPE_CHECKING:
    from gateway.ports.directory import RegistryLookup, RegistrySettings


class Directory:
    """Finds registries; what is set in one process holds in all within a second."""

    def __init__(self, lookup: RegistryLookup) -> None:
        self._lookup = lookup
        self.lookups = Lookups()
        self._by_name = Fresh(lookup.fetch_by_name, self.lookups)
        self._by_private_label = Fresh(lookup.fetch_by_private_label, self.lookups)
        self._default = Fresh(self._fetch_default, self.lookups)

    async def by_name(self, name: str) -> RegistrySettings | None:
        """Return the registry of a name."""
        return await self._by_name.get(name)

    async def by_private_label(self, label: str) -> RegistrySettings | None:
        """Return the registry whose private endpoint has this label."""
        return await self._by_private_label.get(label)

    async def default(self) -> RegistrySettings | None:
        """Return the registry of hosts that name none."""
        return await self._default.get(None)

    def forget(self) -> None:
        """Ask anew from now on."""
        for each in (self._by_name, self._by_private_label, self._default):
            each.forget()

    async def _fetch_default(self, _: None) -> RegistrySettings | None:
        return await self._lookup.fetch_default()

"""What stands for registries until gateway/services/registries.py is merged, and takes this place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from gateway.errors import NothingKnown, ValueRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.ports.directory import RegistrySettings


class InterimRegistries:
    """Knows the default registry, and changes nothing."""

    def __init__(self, fetch: Callable[[], Awaitable[RegistrySettings]]) -> None:
        self._fetch = fetch

    async def list(self) -> Sequence[RegistrySettings]:
        """Return the default registry."""
        return [await self._fetch()]

    async def get(self, name: str) -> RegistrySettings:
        """Return the default registry, or raise NothingKnown."""
        found = await self._fetch()
        if found.name != name:
            raise NothingKnown(f"there is no registry {name}")
        return found

    async def create(self, *_: object, adopt: bool = False) -> NoReturn:
        """Refuse."""
        raise ValueRefused(f"registries are not managed yet (adopt: {adopt})")

    async def update(self, *_: object) -> NoReturn:
        """Refuse."""
        raise ValueRefused("registries are not managed yet")

    delete = check_bucket = buckets = update

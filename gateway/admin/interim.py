"""What stands for registries until gateway/services/registries.py is merged, and takes this place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from gateway.errors import NothingKnown, ValueRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ports.directory import RegistrySettings


class InterimRegistries:
    """Knows no registry, and makes none."""

    async def list(self) -> Sequence[RegistrySettings]:
        """Return nothing."""
        return ()

    async def get(self, name: str) -> NoReturn:
        """Raise NothingKnown."""
        raise NothingKnown(f"there is no registry {name}")

    async def create(self, *_: object, adopt: bool = False) -> NoReturn:
        """Refuse."""
        raise ValueRefused(f"registries are not managed yet (adopt: {adopt})")

    async def update(self, *_: object) -> NoReturn:
        """Refuse."""
        raise ValueRefused("registries are not managed yet")

    delete = check_bucket = buckets = update

"""All operations of the management API, in one table."""

from __future__ import annotations

from gateway.admin import accounts, audit, images, keys, pulls, registries

OPERATIONS = (
    *registries.OPERATIONS,
    *images.OPERATIONS,
    *accounts.OPERATIONS,
    *keys.OPERATIONS,
    *audit.OPERATIONS,
    *pulls.OPERATIONS,
)

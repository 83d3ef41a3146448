"""All operations of the management API, in one table."""

from __future__ import annotations

from gateway.admin import accounts, audit, keys, pulls, registries

OPERATIONS = (*registries.OPERATIONS, *accounts.OPERATIONS, *keys.OPERATIONS, *audit.OPERATIONS, *pulls.OPERATIONS)

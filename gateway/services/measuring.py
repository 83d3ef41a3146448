"""What metrics ask the database for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from gateway.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")

_SECONDS_FOR_A_MEASURE = 2.0


async def measured(asking: Awaitable[T]) -> T | None:
    """Return an answer of the database, None when it does not come soon: who reads metrics does not wait."""
    try:
        async with asyncio.timeout(_SECONDS_FOR_A_MEASURE):
            return await asking
    except (BackendError, TimeoutError):
        return None

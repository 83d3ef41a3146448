"""What guessing costs: answers to wrong secrets take time, more with every one, and are counted for the audit log.

Only they are delayed. A right secret is answered at once, even while wrong ones for the same key wait.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING

from gateway.background import repeated
from gateway.errors import BackendError
from gateway.model.access import Actor
from gateway.ports.access import AuditEntry

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from gateway.model.networks import IpAddress
    from gateway.ports.audit import AuditIndex

_sleep = asyncio.sleep
_FIRST_DELAY = 0.25
_LONGEST_DELAY = 8.0
_SECONDS_TO_FORGET = 600.0
_MOST_REMEMBERED = 10_000
_MOST_WAITING = 1_000
_SECONDS_BETWEEN_REPORTS = 60.0
_MOST_REPORTED = 1_000
# Whoever has one address of IPv6 has all of its network.
_IPV6_PREFIX = 64
_UNKNOWN_KEY = "unknown access key"
_ELSEWHERE = "many addresses"


class Defence:
    """Delays refused logins, and reports them once a minute."""

    def __init__(self, audit: AuditIndex) -> None:
        self._audit = audit
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}
        self._waiting = 0
        self._refused: dict[tuple[str, str], int] = {}

    async def refused(self, client: IpAddress, access_key_id: str, *, is_known: bool) -> None:
        """Note a refused login, and return when it may be answered."""
        # What is typed as an unknown key's id may be a secret: it is not written down. Nor are all that are tried.
        tried = access_key_id if is_known else _UNKNOWN_KEY
        self._count(str(client), tried)
        delay = self._next_delay(_network(client), tried)
        # Connections are worth more than the delay when very many are held.
        if self._waiting >= _MOST_WAITING:
            return
        self._waiting += 1
        try:
            await _sleep(delay)
        finally:
            self._waiting -= 1

    def reporting(self) -> AbstractAsyncContextManager[None]:
        """Write what was refused to the audit log once a minute, as long as the context lasts."""
        return repeated(self.report, _SECONDS_BETWEEN_REPORTS, "refused logins were not written to the audit log")

    async def report(self) -> None:
        """Write what was refused since the last report; what cannot be written is kept for the next."""
        refused, self._refused = self._refused, {}
        if not refused:
            return
        lines = [
            (Actor(None, "", None, address), AuditEntry("login", object_, result="refused", count=count))
            for (address, object_), count in refused.items()
        ]
        try:
            await self._audit.add(lines)
        except BackendError:
            for (address, object_), count in refused.items():
                self._count(address, object_, count)
            raise

    def _next_delay(self, network: str, tried: str) -> float:
        """Return how many seconds the next answer takes; each repetition doubles it."""
        now = asyncio.get_running_loop().time()
        key = network, tried
        count, since = self._failures.pop(key, (0, now))
        if now - since >= _SECONDS_TO_FORGET:
            count = 0
        if len(self._failures) >= _MOST_REMEMBERED:
            del self._failures[next(iter(self._failures))]
        self._failures[key] = count + 1, now
        return float(min(_FIRST_DELAY * 2 ** min(count, 16), _LONGEST_DELAY))

    def _count(self, address: str, object_: str, count: int = 1) -> None:
        key = address, object_
        if key not in self._refused and len(self._refused) >= _MOST_REPORTED:
            key = _ELSEWHERE, _UNKNOWN_KEY
        self._refused[key] = self._refused.get(key, 0) + count


def _network(client: IpAddress) -> str:
    if isinstance(client, ipaddress.IPv4Address):
        return str(client)
    return str(ipaddress.ip_network((client, _IPV6_PREFIX), strict=False))

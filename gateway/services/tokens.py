"""Tokens: how they are issued and verified (protocol.md 2.6).

A token names a registry by its id, who asked, and what of it was granted then. What it is worth is decided anew
whenever it is used. Verifying costs a signature once; from then on the token itself is looked up.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt

from gateway.model.scope import REPOSITORY
from gateway.ports.observing import Lookups
from gateway.services.keyring import ALGORITHM, LEEWAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jwt.types import Options

    from gateway.model.access import AccessKey
    from gateway.model.scope import Scope
    from gateway.services.keyring import Keyring

_MOST_REMEMBERED = 10_000
_NEEDED = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"]
# Times are compared here: the library does so by a clock of its own, and without leeway for those of other machines.
_OPTIONS: Options = {
    "require": _NEEDED,
    "verify_aud": False,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says, after its signature was verified."""

    registry: str
    """Public id of the registry that it is for."""
    access_key_id: str | None
    """None is the anonymous."""
    repositories: Mapping[str, frozenset[str]]
    """What was granted of each repository that was asked for, which may be nothing."""
    others: frozenset[str]
    """What was granted of other resources, as scopes."""
    ends: float
    """Unix time from which on it is worth nothing."""


class Tokens:
    """Issues and verifies the tokens of one installation."""

    def __init__(self, keyring: Keyring, installation: str, token_seconds: int) -> None:
        self._keyring = keyring
        self._installation = installation
        self.seconds = token_seconds
        """How long a token is good for."""
        self._verified: dict[str, Claims] = {}
        self.lookups = Lookups()

    def issue(self, registry: str, key: AccessKey | None, granted: Iterable[Scope], now: datetime) -> str:
        """Sign a token for a registry, by its public id."""
        signing = self._keyring.signing(now)
        issued_at = int(now.timestamp())
        payload: dict[str, Any] = {
            "iss": self._installation,
            "sub": key.account.name if key else "",
            "aud": registry,
            "exp": int((now + timedelta(seconds=self.seconds)).timestamp()),
            "nbf": issued_at,
            "iat": issued_at,
            "jti": secrets.token_hex(12),
            "access": [{"type": s.type, "name": s.name, "actions": sorted(s.actions)} for s in granted],
        }
        if key is not None:
            payload["key"] = key.access_key_id
        return jwt.encode(payload, signing.private_key, algorithm=ALGORITHM, headers={"kid": signing.id})

    async def verify(self, token: str, registry: str, now: datetime) -> Claims | None:
        """Return what a token for this registry says; None if it is no token, for another one, or has expired."""
        claims = self._verified.get(token)
        if claims is None:
            self.lookups.misses += 1
            claims = await self._read(token, now)
            if claims is None:
                return None
            self._remember(token, claims)
        else:
            self.lookups.hits += 1
        if claims.registry != registry or now.timestamp() >= claims.ends:
            return None
        return claims

    async def _read(self, token: str, now: datetime) -> Claims | None:
        try:
            header = jwt.get_unverified_header(token)
            key = await self._keyring.verifying(header.get("kid", ""), now)
            if key is None:
                return None
            # The algorithm is ours, whatever the header says.
            payload = jwt.decode(
                token,
                key.public_key,
                algorithms=[ALGORITHM],
                issuer=self._installation,
                options=_OPTIONS,
            )
        except (jwt.PyJWTError, RecursionError):
            return None
        return None if now + LEEWAY < datetime.fromtimestamp(payload["nbf"], UTC) else _claims(payload)

    def _remember(self, token: str, claims: Claims) -> None:
        if len(self._verified) >= _MOST_REMEMBERED:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = claims


def _claims(payload: Mapping[str, Any]) -> Claims:
    access = payload["access"]
    return Claims(
        registry=payload["aud"],
        access_key_id=payload.get("key"),
        repositories={each["name"]: frozenset(each["actions"]) for each in access if each["type"] == REPOSITORY},
        others=frozenset(
            f"{each['type']}:{each['name']}:{action}"
            for each in access
            if each["type"] != REPOSITORY
            for action in each["actions"]
        ),
        ends=payload["exp"] + LEEWAY.total_seconds(),
    )

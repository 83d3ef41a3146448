"""The Authorization header."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from gateway.errors import CredentialsWrong

BEARER = "bearer"
BASIC = "basic"


@dataclass(frozen=True, slots=True)
class Basic:
    """An access key id and a secret, as they were sent."""

    access_key_id: str
    secret: str = field(repr=False)


def split(header: str) -> tuple[str, str]:
    """Return the scheme, in lower case, and what follows it."""
    scheme, _, value = header.strip().partition(" ")
    return scheme.lower(), value.strip()


def parse_basic(value: str) -> Basic | None:
    """Read the credentials of HTTP Basic; None where both are empty, as clients without any send them.

    A secret may contain colons, and is UTF-8. Raises CredentialsWrong for what cannot be read.
    """
    try:
        access_key_id, colon, secret = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        raise CredentialsWrong("the credentials cannot be read: HTTP Basic is base64 of id:secret in UTF-8") from None
    if not colon:
        raise CredentialsWrong("the credentials have no colon between access key id and secret key")
    return Basic(access_key_id, secret) if access_key_id or secret else None

"""Sessions of the console: a cookie that every process can read, and that names an access key.

Nothing is stored. The cookie is signed with a key that is derived from what all processes share through the database;
whether the access key that it names may still be used is asked at every request, so that disabling it ends the session.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from gateway.model.access import is_access_key_id

if TYPE_CHECKING:
    from collections.abc import Mapping

LIFETIME = timedelta(hours=12)
_SIGNING = "console session"
_FORMS = "console form"
_NONCE_BYTES = 16


class SharedKeys(Protocol):
    """Keys that all processes share."""

    def derived(self, purpose: str) -> Mapping[int, bytes]:
        """Return a key for one purpose only, by the id of what it was derived from; the highest id is the newest."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """Who has signed in."""

    access_key_id: str
    expires_at: datetime
    form_token: str
    """Stands in every form of this session, and cannot be guessed by another page."""


class Sessions:
    """Makes and reads the cookies of sessions."""

    def __init__(self, keys: SharedKeys) -> None:
        self._keys = keys

    def begin(self, access_key_id: str) -> str:
        """Return the cookie of a new session."""
        expires = int((datetime.now(UTC) + LIFETIME).timestamp())
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        derived = self._keys.derived(_SIGNING)
        newest = max(derived)
        content = f"{newest}.{access_key_id}.{expires}.{nonce}"
        return f"{content}.{_signature(derived[newest], content)}"

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None for one that is not ours, or has ended."""
        content, _, signature = cookie.rpartition(".")
        parts = content.split(".")
        if len(parts) != 4 or not (parts[0].isascii() and parts[0].isdigit()) or len(parts[0]) > 18:  # noqa: PLR2004
            return None
        key = self._keys.derived(_SIGNING).get(int(parts[0]))
        if key is None or not _is_equal(_signature(key, content), signature):
            return None
        # What follows was written by one of us.
        _, access_key_id, expires, _ = parts
        expires_at = datetime.fromtimestamp(int(expires), UTC)
        if expires_at <= datetime.now(UTC) or not is_access_key_id(access_key_id):
            return None
        return Session(access_key_id, expires_at, self.form_token(cookie))

    def form_token(self, cookie: str) -> str:
        """Return what stands in the forms of a browser that has this cookie."""
        derived = self._keys.derived(_FORMS)
        return _signature(derived[max(derived)], cookie)


def is_same_token(one: str, other: str) -> bool:
    """Compare in a time that tells nothing."""
    return _is_equal(one, other)


def _signature(key: bytes, content: str) -> str:
    digest = hmac.digest(key, content.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _is_equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))

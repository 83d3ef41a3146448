"""Sessions of the console: a cookie that every process can read, and that names an access key.

Nothing is stored. The cookie is signed with a key that is derived from what all processes share through the database;
whether the access key that it names may still be used is asked at every request, so that disabling it ends the session.
So does a new secret: whoever has signed in with one that leaked is not to stay.
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

    from gateway.model.access import AccessKey, SecretHash

LIFETIME = timedelta(hours=12)
_SIGNING = "console session"
_FORMS = "console form"
_SECRETS = b"console session, secret"
_NONCE_BYTES = 16
_FOR_EVER = datetime.max.replace(tzinfo=UTC)


class SharedKeys(Protocol):
    """Keys that all processes share."""

    def derived(self, purpose: str) -> Mapping[int, bytes]:
        """Return a key for one purpose only, by the id of what it was derived from; the highest id is the newest."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """Who has signed in."""

    access_key_id: str
    secret_mark: str
    """Of the secret that it lasts as long as."""
    expires_at: datetime
    form_token: str
    """Stands in every form of this session, and cannot be guessed by another page."""

    def may_go_on(self, key: AccessKey) -> bool:
        """Whether the key still has the secret that it had when the session began."""
        return any(_mark(each) == self.secret_mark for each in _valid_secrets(key))


class Sessions:
    """Makes and reads the cookies of sessions."""

    def __init__(self, keys: SharedKeys) -> None:
        self._keys = keys

    def begin(self, key: AccessKey) -> str:
        """Return the cookie of a new session of a key whose secret was shown.

        While a secret that was replaced goes on working, either may have been shown: the session ends with that one.
        """
        mark = _mark(min(_valid_secrets(key), key=lambda each: each.expires_at or _FOR_EVER))
        expires = int((datetime.now(UTC) + LIFETIME).timestamp())
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        derived = self._keys.derived(_SIGNING)
        newest = max(derived)
        content = f"{newest}.{key.access_key_id}.{mark}.{expires}.{nonce}"
        return f"{content}.{_signature(derived[newest], content)}"

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None for one that is not ours, or has ended."""
        content, _, signature = cookie.rpartition(".")
        parts = content.split(".")
        if len(parts) != 5 or not (parts[0].isascii() and parts[0].isdigit()) or len(parts[0]) > 18:  # noqa: PLR2004
            return None
        number = int(parts[0])
        key = self._keys.derived(_SIGNING).get(number)
        if key is None or not is_same(_signature(key, content), signature):
            return None
        # What follows was written by one of us.
        _, access_key_id, mark, expires, _ = parts
        expires_at = datetime.fromtimestamp(int(expires), UTC)
        if expires_at <= datetime.now(UTC) or not is_access_key_id(access_key_id):
            return None
        return Session(access_key_id, mark, expires_at, _signature(self._keys.derived(_FORMS)[number], cookie))


def _valid_secrets(key: AccessKey) -> list[SecretHash]:
    now = datetime.now(UTC)
    return [each for each in key.secrets if each.expires_at is None or each.expires_at > now]


def _mark(kept: SecretHash) -> str:
    # Tells secrets apart and nothing about them: what is kept of one is a keyed hash already.
    return hashlib.sha256(_SECRETS + kept.hash).hexdigest()[:32]


def _signature(key: bytes, content: str) -> str:
    digest = hmac.digest(key, content.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def is_same(one: str, other: str) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))

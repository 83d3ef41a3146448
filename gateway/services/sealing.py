"""What is secret in the database, encrypted with the key of the configuration (docs/access.md, Secrets at rest)."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.errors import ConfigurationError
from gateway.ports.access import Sealed

PEPPER = "pepper"
SIGNING_KEY = "signing key"
"""Purposes: one kind of secret is never taken for another."""

_KEY_BYTES = 32
_NONCE_BYTES = 12
_CONTEXT = b"slipway sealing 1"


class Sealer:
    """Encrypts and decrypts with the configuration's key; without one, what is secret is stored in clear."""

    def __init__(self, encryption_key: str | None) -> None:
        self._cipher = AESGCM(_derived(encryption_key)) if encryption_key else None

    def seal(self, name: str, value: bytes, purpose: str) -> Sealed:
        """Encrypt a value if there is a key."""
        if self._cipher is None:
            return Sealed(name, value, is_sealed=False)
        nonce = os.urandom(_NONCE_BYTES)
        return Sealed(name, nonce + self._cipher.encrypt(nonce, value, purpose.encode()), is_sealed=True)

    def resealed(self, sealed: Sealed, purpose: str) -> Sealed | None:
        """Seal what was stored before there was a key, None where nothing is to be done; raises what ``open`` does."""
        value = self.open(sealed, purpose)
        return None if sealed.is_sealed or self._cipher is None else self.seal(sealed.id, value, purpose)

    def open(self, sealed: Sealed, purpose: str) -> bytes:
        """Return the value in clear; raise ConfigurationError when it was encrypted with a key that is not here."""
        if not sealed.is_sealed:
            return sealed.value
        if self._cipher is None:
            raise ConfigurationError(
                "the secrets in the database are encrypted: set SLIPWAY_ENCRYPTION_KEY to the key of their first start"
            )
        nonce, encrypted = sealed.value[:_NONCE_BYTES], sealed.value[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, encrypted, purpose.encode())
        except InvalidTag:
            raise ConfigurationError(
                "SLIPWAY_ENCRYPTION_KEY is not the key that the secrets in the database were encrypted with: set it "
                "back to that one"
            ) from None


def _derived(encryption_key: str) -> bytes:
    kdf = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_CONTEXT)
    return kdf.derive(encryption_key.encode())

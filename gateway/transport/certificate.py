"""A server's certificate, read again when its files change."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

from cryptography import x509

from gateway.background import in_background
from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from pathlib import Path

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 5.0

_Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate with its chain, and its key, both in PEM files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read the files; raises ConfigurationError."""
        self._files = (certificate, key)
        self._stamp = self._look()
        self.context = self._load()
        """What new connections are to use."""

    def validity(self) -> tuple[datetime, datetime]:
        """Return from when until when all certificates in the file hold."""
        chain = x509.load_pem_x509_certificates(self._files[0].read_bytes())
        return max(each.not_valid_before_utc for each in chain), min(each.not_valid_after_utc for each in chain)

    def watched(self) -> AbstractAsyncContextManager[None]:
        """Look at the files every few seconds as long as the context lasts."""
        return in_background(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            self.refresh()

    def refresh(self) -> None:
        """Read the files if they have changed; what cannot be used is logged once, and the old certificate stays."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            # Also when they are of no use: a certificate may be there a moment before its key.
            self._stamp = stamp
            self.context = self._load()
        except ConfigurationError as error:
            _log.error("the new certificate is not taken, the old one stays: %s", error)
        else:
            _log.info("the certificate in %s was read again", self._files[0])

    def _look(self) -> _Stamp:
        found = []
        for file in self._files:
            try:
                status = file.stat()
            except OSError as error:
                raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = self._files
        try:
            # Without a password the library would ask the terminal for one.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"{certificate} and {key} are not a certificate and its key without a password, in PEM: {error}"
            ) from error
        return context

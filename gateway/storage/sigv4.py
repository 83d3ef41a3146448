"""Signatures of AWS, version 4, for GETs of objects: what botocore makes, byte by byte, in microseconds.

See https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and sigv4-query-string-auth.html.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, urlsplit

_UNSIGNED = "UNSIGNED-PAYLOAD"
_SCOPE_PARTS = 5


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials as they are at one moment."""

    access: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires: float | None = None
    """Seconds since 1970 after which they are worth nothing; None for those that last."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the objects of a bucket are: ``scheme://host`` followed by ``path`` and the quoted key."""

    scheme: str
    host: str
    path: str
    region: str

    def path_of(self, key: str) -> str:
        """Return the path of an object, quoted as AWS wants it signed."""
        return self.path + quote(key, safe="/~")


class Signer:
    """Signs with one set of keys; what changes once a day is computed once a day."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._derived: dict[str, tuple[str, bytes]] = {}

    def address(self, place: Place, key: str, now: int, seconds: int) -> str:
        """Return an address under which everybody may GET an object for so many seconds from ``now`` on."""
        stamp = _stamp(now)
        scope = self._scope(stamp, place.region)
        path = place.path_of(key)
        begin = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote(f'{self.keys.access}/{scope}', safe='-._~')}"
            f"&X-Amz-Date={stamp}&X-Amz-Expires={seconds}"
        )
        signed = "&X-Amz-SignedHeaders=host"
        token = f"&X-Amz-Security-Token={quote(self.keys.token, safe='-._~')}" if self.keys.token is not None else ""
        # Signed in the order of the names, written in botocore's order.
        request = f"GET\n{path}\n{begin}{token}{signed}\nhost:{place.host}\n\nhost\n{_UNSIGNED}"
        signature = self._sign(request, stamp, scope)
        return f"{place.scheme}://{place.host}{path}?{begin}{signed}{token}&X-Amz-Signature={signature}"

    def headers(self, place: Place, path: str, wanted: str, now: int) -> dict[str, str]:
        """Return the headers of a signed GET for a range, Host included; their names are in lower case."""
        stamp = _stamp(now)
        scope = self._scope(stamp, place.region)
        headers = {"host": place.host, "range": wanted, "x-amz-content-sha256": _UNSIGNED, "x-amz-date": stamp}
        if self.keys.token:
            headers["x-amz-security-token"] = self.keys.token
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        signature = self._sign(f"GET\n{path}\n\n{lines}\n{names}\n{_UNSIGNED}", stamp, scope)
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.keys.access}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers

    @staticmethod
    def _scope(stamp: str, region: str) -> str:
        return f"{stamp[:8]}/{region}/s3/aws4_request"

    def _sign(self, request: str, stamp: str, scope: str) -> str:
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        return hmac.digest(self._key(scope), text.encode(), "sha256").hex()

    def _key(self, scope: str) -> bytes:
        day, region, _ = scope.split("/", 2)
        known = self._derived.get(region)
        if known is None or known[0] != day:
            key = f"AWS4{self.keys.secret}".encode()
            for step in scope.split("/"):
                key = hmac.digest(key, step.encode(), "sha256")
            known = self._derived[region] = day, key
        return known[1]


def place_of(sample: str, key: str) -> Place | None:
    """Take a presigned address apart; None when it is none of the fourth version."""
    parts = urlsplit(sample)
    query = parse_qs(parts.query)
    path = parts.path.removesuffix(quote(key, safe="/~"))
    scope = query.get("X-Amz-Credential", [""])[0].split("/")
    if len(scope) < _SCOPE_PARTS or path == parts.path:
        return None
    return Place(parts.scheme, parts.netloc, path, scope[-3])


def signs_alike(signer: Signer, place: Place, sample: str, key: str) -> bool:
    """Tell whether a signer makes the same address, to the last byte, as the one given."""
    query = parse_qs(urlsplit(sample).query)
    try:
        now = calendar.timegm(time.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ"))
        return signer.address(place, key, now, int(query["X-Amz-Expires"][0])) == sample
    except (KeyError, ValueError):
        return False


def _stamp(now: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))

"""Tokens: what is in them, and all that is refused (protocol.md 2.6, edge cases b, c and n)."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.model.access import AccessKey, Account
from gateway.model.scope import Scope
from gateway.services.keyring import Keyring, new_signing_key
from gateway.services.sealing import Sealer
from gateway.services.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.ports.access import SigningKeyRecord

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
REGISTRY = "a" * 32
OTHER_REGISTRY = "b" * 32
INSTALLATION = "c" * 32
KEY = AccessKey(7, "SWROBOT", Account(1, "robots", is_root=False))
SCOPES = (
    Scope.repository("a/b", ("push", "pull")),
    Scope.repository("c", ()),
    Scope("registry", "catalog", frozenset("*")),
)


class Stored:
    """Signing keys in memory."""

    def __init__(self, *records: SigningKeyRecord) -> None:
        self.records = list(records)
        self.loads = 0

    async def fetch_signing_keys(self) -> list[SigningKeyRecord]:
        self.loads += 1
        return self.records

    async def add_signing_key(
        self, key: SigningKeyRecord, *, older_until: datetime, unless_newer_than: datetime | None
    ) -> None:
        assert unless_newer_than is None
        self.records = [*(replace(each, verifies_until=older_until) for each in self.records), key]


async def process(stored: Stored, installation: str = INSTALLATION) -> tuple[Keyring, Tokens]:
    """The keyring and the tokens of one process."""
    keyring = Keyring(stored, Sealer(None), token_seconds=600)
    await keyring.load()
    return keyring, Tokens(keyring, installation, 600)


@pytest.fixture
def stored() -> Stored:
    """One signing key."""
    return Stored(new_signing_key(Sealer(None), NOW - timedelta(days=1)))


def parts(token: str) -> list[dict[str, Any]]:
    """Header and payload."""
    return [orjson.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def encoded(*values: Any) -> str:
    """Header and payload as they stand in a token."""
    return ".".join(base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=") for value in values)


async def test_a_token_says_who_what_and_for_whom(stored: Stored) -> None:
    """Every repository that was asked for is named, with or without actions."""
    _, tokens = await process(stored)

    header, payload = parts(tokens.issue(REGISTRY, KEY, SCOPES, NOW))

    assert header == {"typ": "JWT", "alg": "EdDSA", "kid": stored.records[0].sealed.id}
    assert len(payload.pop("jti")) >= 16
    now = int(NOW.timestamp())
    assert payload == {
        "iss": INSTALLATION,
        "sub": "robots",
        "aud": REGISTRY,
        "exp": now + 600,
        "nbf": now,
        "iat": now,
        "key": "SWROBOT",
        "access": [
            {"type": "repository", "name": "a/b", "actions": ["pull", "push"]},
            {"type": "repository", "name": "c", "actions": []},
            {"type": "registry", "name": "catalog", "actions": ["*"]},
        ],
    }


async def test_the_anonymous_have_no_name_and_no_key(stored: Stored) -> None:
    """``sub`` is there, and empty."""
    _, tokens = await process(stored)

    _, payload = parts(token := tokens.issue(REGISTRY, None, (), NOW))

    assert payload["sub"] == ""
    assert "key" not in payload
    claims = await tokens.verify(token, REGISTRY, NOW)
    assert claims is not None
    assert claims.access_key_id is None


async def test_another_process_verifies_what_one_has_issued(stored: Stored) -> None:
    """The claims are those that were put in."""
    _, one = await process(stored)
    _, another = await process(stored)

    claims = await another.verify(one.issue(REGISTRY, KEY, SCOPES, NOW), REGISTRY, NOW)

    assert claims is not None
    assert claims.access_key_id == "SWROBOT"
    assert claims.repositories == {"a/b": {"pull", "push"}, "c": frozenset()}
    assert claims.others == {"registry:catalog:*"}


@pytest.mark.parametrize(
    ("seconds", "is_good"), [(-61, False), (-59, True), (0, True), (599, True), (659, True), (661, False)]
)
@pytest.mark.parametrize("is_remembered", [False, True])
async def test_a_token_has_its_time(stored: Stored, *, seconds: int, is_good: bool, is_remembered: bool) -> None:
    """Clocks may be a minute apart; being looked up instead of verified changes nothing about its end."""
    _, tokens = await process(stored)
    token = tokens.issue(REGISTRY, KEY, (), NOW)
    if is_remembered and seconds >= 0:
        assert await tokens.verify(token, REGISTRY, NOW) is not None

    found = await tokens.verify(token, REGISTRY, NOW + timedelta(seconds=seconds))

    assert (found is not None) == is_good


async def test_a_token_is_for_one_registry(stored: Stored) -> None:
    """Also when it is remembered."""
    _, tokens = await process(stored)
    token = tokens.issue(REGISTRY, KEY, (), NOW)

    assert await tokens.verify(token, OTHER_REGISTRY, NOW) is None
    assert await tokens.verify(token, REGISTRY, NOW) is not None
    assert await tokens.verify(token, OTHER_REGISTRY, NOW) is None


def forged_by(algorithm: str, key: Any) -> Callable[[str, Stored], str]:
    """Sign the same claims in another way."""

    def forge(token: str, _: Stored) -> str:
        header, payload = parts(token)
        return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": header["kid"]})

    return forge


def hmac_with_the_public_key(token: str, stored: Stored) -> str:
    """Take what everybody could know for a secret, as confused verifiers do."""
    header, payload = parts(token)
    public = Ed25519PrivateKey.from_private_bytes(stored.records[0].sealed.value).public_key()
    secret = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return jwt.encode(payload, secret, algorithm="HS256", headers={"kid": header["kid"]})


def with_header(**changes: Any) -> Callable[[str, Stored], str]:
    """Keep the signature under another header."""

    def forge(token: str, _: Stored) -> str:
        header, payload = parts(token)
        return f"{encoded(header | changes, payload)}.{token.rpartition('.')[2]}"

    return forge


def with_payload(**changes: Any) -> Callable[[str, Stored], str]:
    """Keep the signature under another payload."""

    def forge(token: str, _: Stored) -> str:
        header, payload = parts(token)
        return f"{encoded(header, payload | changes)}.{token.rpartition('.')[2]}"

    return forge


def signed_properly(**changes: Any) -> Callable[[str, Stored], str]:
    """Sign other claims with the right key; None leaves a claim out."""

    def forge(token: str, stored: Stored) -> str:
        header, payload = parts(token)
        key = Ed25519PrivateKey.from_private_bytes(stored.records[0].sealed.value)
        changed = {name: value for name, value in (payload | changes).items() if value is not None}
        return jwt.encode(changed, key, algorithm="EdDSA", headers={"kid": header["kid"]})

    return forge


FORGERIES: dict[str, Callable[[str, Stored], str]] = {
    "nothing": lambda _token, _stored: "",
    "no token": lambda _token, _stored: "hello",
    "dots": lambda _token, _stored: "..",
    "not ASCII": lambda _token, _stored: "\u00e4.\u00e4.\u00e4",
    "no signature": lambda token, _stored: token.rpartition(".")[0] + ".",
    "cut": lambda token, _stored: token[:-4],
    "alg none": lambda token, _stored: f"{encoded(parts(token)[0] | {'alg': 'none'}, parts(token)[1])}.",
    "alg None": with_header(alg="None"),
    "alg missing": with_header(alg=None),
    "alg ES256 over the same bytes": with_header(alg="ES256"),
    "HMAC with a guess": forged_by("HS256", "0" * 64),
    "HMAC with the public key": hmac_with_the_public_key,
    "another key under our id": forged_by("EdDSA", Ed25519PrivateKey.generate()),
    "unknown key": with_header(kid="unknown"),
    "no key": with_header(kid=None),
    "a number as key": with_header(kid=1),
    "key from the header": with_header(jwk={"kty": "OKP"}),
    "critical extension": with_header(crit=["b64"], b64=False),
    "nested header": lambda token, _stored: (
        base64.urlsafe_b64encode(b"[" * 20_000).decode().rstrip("=") + token[token.index(".") :]
    ),
    "more rights": with_payload(access=[{"type": "repository", "name": "a/b", "actions": ["delete"]}]),
    "longer life": with_payload(exp=2**40),
    "another issuer": signed_properly(iss="d" * 32),
    **{f"without {name}": signed_properly(**{name: None}) for name in ("iss", "exp", "nbf", "aud", "access")},
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_what_is_not_ours_is_nothing(stored: Stored, forgery: str) -> None:
    """No exception, no rights; and the real token still counts."""
    _, tokens = await process(stored)
    token = tokens.issue(REGISTRY, KEY, SCOPES, NOW)

    assert await tokens.verify(FORGERIES[forgery](token, stored), REGISTRY, NOW) is None
    assert await tokens.verify(token, REGISTRY, NOW) is not None


async def test_a_key_that_is_not_known_yet_is_loaded_once(stored: Stored) -> None:
    """Tokens with ids that nobody knows do not make every request ask the database."""
    keyring, one = await process(stored)
    await keyring.rotate(NOW)
    later = NOW + timedelta(minutes=2)
    token = one.issue(REGISTRY, KEY, (), later)
    old, another = await process(Stored(stored.records[0]))
    old._index = stored
    old._loaded_at = float("-inf")

    assert await another.verify(token, REGISTRY, later) is not None

    loads = stored.loads
    for number in range(5):
        assert await another.verify(with_header(kid=f"k{number}")(token, stored), REGISTRY, later) is None
    assert stored.loads == loads


async def test_a_token_outlives_the_key_change(stored: Stored) -> None:
    """Also for a process that sees it for the first time."""
    keyring, tokens = await process(stored)
    token = tokens.issue(REGISTRY, KEY, (), NOW)
    await keyring.rotate(NOW)
    _, another = await process(stored)

    assert await another.verify(token, REGISTRY, NOW + timedelta(seconds=599)) is not None


async def test_remembering_is_bounded(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes, and is verified again when it comes back."""
    monkeypatch.setattr("gateway.services.tokens._MOST_REMEMBERED", 3)
    _, tokens = await process(stored)
    issued = [tokens.issue(REGISTRY, KEY, (), NOW) for _ in range(5)]

    for token in [*issued, *issued]:
        assert await tokens.verify(token, REGISTRY, NOW) is not None

    assert len(tokens._verified) == 3

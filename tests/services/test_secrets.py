"""Secrets: how they look, what is kept of them, and how they are sealed."""

from __future__ import annotations

import re

import pytest

from gateway.errors import BackendError, ConfigurationError
from gateway.model.access import SecretHash
from gateway.ports.access import Sealed
from gateway.services.sealing import Sealer
from gateway.services.secrets import Secrets, new_access_key_id, new_pepper, new_secret_key

KEY = "k" * 32


class Peppers:
    """Peppers that are stored, by id."""

    def __init__(self, *peppers: Sealed) -> None:
        self.peppers = list(peppers)

    async def fetch_peppers(self) -> list[Sealed]:
        """See the port."""
        return [Sealed(str(number), each.value, each.is_sealed) for number, each in enumerate(self.peppers, 1)]


async def loaded(peppers: Peppers, key: str | None = None) -> Secrets:
    """Secrets with the peppers that are stored now."""
    secrets = Secrets(peppers, Sealer(key))
    await secrets.load()
    return secrets


def test_ids_and_secrets_have_their_form() -> None:
    """An id fits the database's rule, a secret can be found by scanners, and both differ each time."""
    ids, secrets = ({make() for _ in range(50)} for make in (new_access_key_id, new_secret_key))

    assert len(ids) == len(secrets) == 50
    assert all(re.fullmatch(r"SW[A-Z0-9]{18}", each) for each in ids)
    assert all(re.fullmatch(r"slw_[A-Za-z0-9]{40}", each) for each in secrets)


@pytest.mark.parametrize("secret", ["s" * 32, "with:colons:and spaces", "비밀번호-пароль", "\udcff undecodable"])
async def test_a_secret_matches_what_was_kept_of_it(secret: str) -> None:
    """No other secret does."""
    secrets = await loaded(Peppers(new_pepper(Sealer(None))))

    kept = secrets.hash(secret)

    assert await secrets.matches(secret, kept)
    assert not await secrets.matches(f"{secret} ", kept)
    assert not await secrets.matches("", kept)


async def test_a_pepper_of_another_process_is_loaded_when_it_is_met() -> None:
    """The newest pepper hashes, older ones still match."""
    peppers = Peppers(new_pepper(Sealer(KEY)))
    old = await loaded(peppers, KEY)
    kept = old.hash("one")
    peppers.peppers.append(new_pepper(Sealer(KEY)))
    new = await loaded(peppers, KEY)

    kept_anew = new.hash("one")

    assert (kept.pepper_id, kept_anew.pepper_id) == (1, 2)
    assert kept.hash != kept_anew.hash
    assert await old.matches("one", kept_anew)
    assert await new.matches("one", kept)


async def test_a_pepper_that_is_nowhere_is_our_fault() -> None:
    """Nobody is told that the secret was wrong."""
    secrets = await loaded(Peppers(new_pepper(Sealer(None))))

    with pytest.raises(BackendError, match="pepper 7"):
        await secrets.matches("one", SecretHash("hmac-sha256", 7, b""))


def test_what_is_sealed_shows_nothing_and_opens_with_its_key() -> None:
    """Each sealing of the same value looks different."""
    sealer = Sealer(KEY)

    one, two = (sealer.seal("1", b"value in clear", "pepper") for _ in range(2))

    assert one.is_sealed
    assert b"value" not in one.value
    assert one.value != two.value
    assert Sealer(KEY).open(one, "pepper") == Sealer(KEY).open(two, "pepper") == b"value in clear"


@pytest.mark.parametrize(
    ("key", "purpose", "reason"),
    [
        (None, "pepper", "set SLIPWAY_ENCRYPTION_KEY"),
        ("x" * 32, "pepper", "is not the key"),
        (KEY, "signing key", "is not the key"),
    ],
)
def test_what_is_sealed_opens_with_nothing_else(key: str | None, purpose: str, reason: str) -> None:
    """The start ends with one sentence."""
    sealed = Sealer(KEY).seal("1", b"value", "pepper")

    with pytest.raises(ConfigurationError, match=reason):
        Sealer(key).open(sealed, purpose)


def test_without_a_key_values_are_stored_as_they_are() -> None:
    """And a key that comes later still reads them."""
    sealed = Sealer(None).seal("1", b"value", "pepper")

    assert not sealed.is_sealed
    assert Sealer(KEY).open(sealed, "pepper") == b"value"

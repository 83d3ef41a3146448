"""Addresses and the keys that sign them, over time."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.errors import StorageUnavailable
from gateway.ports.storage import Location
from gateway.storage import addresses, credentials
from gateway.storage.addresses import Addresses, Places
from gateway.storage.credentials import Credentials
from gateway.storage.sigv4 import Keys, Place, Signer

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE = 1_790_000_040
PLACE = Place("http", "storage:9000", "/bucket/", "here")
LOCATION = Location("bucket", "key")


@dataclass(frozen=True)
class Frozen:
    """A snapshot of them."""

    access_key: str
    secret_key: str
    token: str | None


class Session:
    """Credentials as aiobotocore has them: they expire, and are renewed when they are asked for."""

    def __init__(self, life: float | None) -> None:
        self.number = 0
        self.broken = False
        self.renew(life)

    def renew(self, life: float | None) -> None:
        self.number += 1
        self._expiry_time = life and dt.datetime.fromtimestamp(MINUTE + life, dt.UTC)

    async def get_frozen_credentials(self) -> Frozen:
        if self.broken:
            raise OSError("the token service is down")
        return Frozen(f"AKIA{self.number}", "secret", f"token{self.number}")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    def set_to(seconds: float) -> None:
        monkeypatch.setattr("time.time", lambda: MINUTE + seconds)

    set_to(0)
    return set_to


async def _fields(found: Addresses) -> dict[str, str]:
    address = await found.of(PLACE, LOCATION)
    assert address is not None
    return {name: value[0] for name, value in parse_qs(urlsplit(address).query).items()}


async def _of(session: Session) -> Addresses:
    keys = Credentials(session)
    await keys.refresh()
    return Addresses(keys, 3600)


async def test_the_same_for_a_minute(clock: Callable[[float], None]) -> None:
    found = await _of(Session(None))
    first = await found.of(PLACE, LOCATION)
    clock(59.9)
    assert await found.of(PLACE, LOCATION) == first
    clock(60)
    assert await found.of(PLACE, LOCATION) != first


async def test_no_longer_than_ten_minutes(clock: Callable[[float], None]) -> None:
    clock(1)
    assert (await _fields(await _of(Session(None))))["X-Amz-Expires"] == "600"


async def test_no_longer_than_the_keys(clock: Callable[[float], None]) -> None:
    session = Session(300)
    found = await _of(session)
    clock(30)
    assert (await _fields(found))["X-Amz-Expires"] == "300"
    assert (await _fields(found))["X-Amz-Security-Token"] == "token1"


async def test_renewed_keys_are_taken(clock: Callable[[float], None]) -> None:
    session = Session(300)
    found = await _of(session)
    session.renew(3600)
    clock(30)
    fields = await _fields(found)
    assert (fields["X-Amz-Expires"], fields["X-Amz-Security-Token"]) == ("600", "token2")


async def test_old_keys_do_while_they_live(clock: Callable[[float], None]) -> None:
    session = Session(300)
    found = await _of(session)
    session.broken = True
    assert (await _fields(found))["X-Amz-Expires"] == "300"
    clock(240)
    assert await found.of(PLACE, LOCATION) is None


@pytest.mark.usefixtures("clock")
async def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_MOST_KEPT", 10)
    found = await _of(Session(None))
    for number in range(100):
        await found.of(PLACE, Location("bucket", str(number)))
        assert len(found._kept) <= 10


async def test_keys_are_renewed_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_SECONDS_BETWEEN_LOOKS", 0.01)
    session = Session(None)
    keys = Credentials(session)
    async with keys.kept_fresh():
        session.broken = True
        await asyncio.sleep(0.05)
        session.broken = False
        session.renew(None)
        async with asyncio.timeout(30):
            while keys.signer.keys.access != "AKIA2":  # noqa: ASYNC110  (a loop that is to notice by itself)
                await asyncio.sleep(0.01)


async def test_keys_that_have_expired_are_not_used() -> None:
    session = Session(-100_000_000)
    keys = Credentials(session)
    await keys.refresh()
    session.broken = True
    with pytest.raises(StorageUnavailable):
        await keys.current()


async def test_a_bucket_whose_signature_is_another(caplog: pytest.LogCaptureFixture) -> None:
    keys = Credentials(Session(None))

    async def presign(location: Location) -> str:
        return Signer(Keys("AKIA", "other")).address(PLACE, location.key, MINUTE, 600)

    assert await Places(keys, presign).of("bucket") is None
    assert "our signature is another one" in caplog.text


async def test_a_bucket_whose_signature_is_ours() -> None:
    keys: Any = Credentials(Session(None))

    async def presign(location: Location) -> str:
        return str((await keys.refresh()).address(PLACE, location.key, MINUTE, 600))

    assert await Places(keys, presign).of("bucket") == PLACE

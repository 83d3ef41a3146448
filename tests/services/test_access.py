"""What guessing costs, and when a key was last used."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import CredentialsWrong, DatabaseUnavailable
from gateway.model.access import AccessKey, Account
from gateway.model.networks import parse_address
from gateway.services.access import Access
from gateway.services.defence import Defence
from gateway.services.fresh import Fresh
from gateway.services.keyring import Keyring, new_signing_key
from gateway.services.sealing import Sealer
from gateway.services.secrets import Secrets, new_pepper
from gateway.services.tokens import Tokens
from gateway.services.uses import Uses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model.access import Actor
    from gateway.ports.access import AuditEntry, Sealed, SigningKeyRecord
    from gateway.ports.audit import AuditFilter, AuditRecord

HERE, THERE = parse_address("192.0.2.1"), parse_address("192.0.2.2")
RIGHT, WRONG = "right secret, and long enough ...", "wrong"


class Stored:
    """Everything that access needs from the database, in memory."""

    def __init__(self) -> None:
        self.pepper = new_pepper(Sealer(None))
        self.signing_key = new_signing_key(Sealer(None), datetime.now(UTC))
        self.keys: dict[str, AccessKey] = {}
        self.uses: list[tuple[int, datetime, str]] = []
        self.lines: list[tuple[str | None, str, int]] = []
        self.is_away = False

    async def fetch_peppers(self) -> list[Sealed]:
        return [type(self.pepper)("1", self.pepper.value, is_sealed=False)]

    async def fetch_signing_keys(self) -> list[SigningKeyRecord]:
        return [self.signing_key]

    async def add_signing_key(
        self, key: SigningKeyRecord, *, older_until: datetime, unless_newer_than: datetime | None
    ) -> None:
        raise NotImplementedError

    async def fetch_key(self, access_key_id: str) -> AccessKey | None:
        return self.keys.get(access_key_id)

    async def record_uses(self, uses: Sequence[tuple[int, datetime, str]]) -> None:
        if self.is_away:
            raise DatabaseUnavailable("away")
        self.uses += uses

    async def add(self, lines: Sequence[tuple[Actor, AuditEntry]]) -> None:
        if self.is_away:
            raise DatabaseUnavailable("away")
        assert all((entry.action, entry.result, actor.account) == ("login", "refused", "") for actor, entry in lines)
        self.lines += [(actor.address, entry.object, entry.count) for actor, entry in lines]

    async def list(self, wanted: AuditFilter, before: int | None, limit: int) -> Sequence[AuditRecord]:
        raise NotImplementedError

    async def forget(self, days: int, limit: int) -> int:
        raise NotImplementedError


class Waits:
    """Instead of waiting, write down for how long; those who wait do so until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        self.let_go = asyncio.Event()
        self.let_go.set()
        self._begun = asyncio.Semaphore(0)
        monkeypatch.setattr("gateway.services.defence._sleep", self._sleep)
        # Tests of other folders, in the same run, take the delays away.
        monkeypatch.setattr("gateway.services.defence._LONGEST_DELAY", 8.0)

    async def _sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._begun.release()
        await self.let_go.wait()

    async def begun(self, count: int) -> None:
        """Return when so many more wait."""
        for _ in range(count):
            await self._begun.acquire()


@pytest.fixture
def stored() -> Stored:
    """A database in memory."""
    return Stored()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """The delays of wrong answers."""
    return Waits(monkeypatch)


@pytest.fixture
def defence(stored: Stored) -> Defence:
    """The defence of one process."""
    return Defence(stored)


@pytest.fixture
async def access(stored: Stored, defence: Defence) -> Access:
    """Access of one process, to which one key may log in."""
    secrets = Secrets(stored, Sealer(None))
    await secrets.load()
    stored.keys["SWKEY"] = AccessKey(1, "SWKEY", Account(1, "someone", is_root=False), (secrets.hash(RIGHT),))
    keyring = Keyring(stored, Sealer(None), 600)
    await keyring.load()
    return Access(Fresh(stored.fetch_key), secrets, Tokens(keyring, "i", 600), defence, Uses(stored))


async def refuse(access: Access, access_key_id: str = "SWKEY", client: object = HERE) -> None:
    with pytest.raises(CredentialsWrong):
        await access.authenticate(access_key_id, WRONG, client)  # type: ignore[arg-type]


async def test_each_wrong_secret_takes_longer(access: Access, waits: Waits) -> None:
    """Up to some seconds, for the same key from the same address; others begin anew."""
    for _ in range(8):
        await refuse(access)

    assert waits.seconds == [0.25, 0.5, 1, 2, 4, 8, 8, 8]
    await refuse(access, client=THERE)
    await refuse(access, "SWOTHER")
    assert waits.seconds[8:] == [0.25, 0.25]


async def test_all_unknown_keys_count_as_one(access: Access, waits: Waits) -> None:
    """So that trying ever new ones fills no memory."""
    for number in range(4):
        await refuse(access, f"SWOTHER{number}")
    await refuse(access, "x" * 10_000)

    assert waits.seconds == [0.25, 0.5, 1, 2, 4]


async def test_addresses_of_one_network_of_ipv6_count_as_one(access: Access, waits: Waits) -> None:
    """Whoever has one of them has all."""
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
        await refuse(access, client=parse_address(address))

    assert waits.seconds == [0.25, 0.5, 0.25]


async def test_a_right_secret_is_answered_at_once(access: Access, waits: Waits) -> None:
    """Also while wrong ones for the same key wait, from the same address."""
    waits.let_go.clear()
    refused = [asyncio.create_task(refuse(access)) for _ in range(3)]
    await waits.begun(3)

    key = await access.authenticate("SWKEY", RIGHT, HERE)

    assert key.account.name == "someone"
    assert not any(task.done() for task in refused)
    waits.let_go.set()
    await asyncio.gather(*refused)


async def test_so_many_may_wait_and_no_more(access: Access, waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that wait are a burden too."""
    monkeypatch.setattr("gateway.services.defence._MOST_WAITING", 2)
    waits.let_go.clear()
    refused = [asyncio.create_task(refuse(access)) for _ in range(2)]
    await waits.begun(2)

    await refuse(access)

    waits.let_go.set()
    await asyncio.gather(*refused)
    assert len(waits.seconds) == 2


async def test_what_is_remembered_is_bounded(
    access: Access, defence: Defence, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of addresses that fail; those that failed longest ago are forgotten."""
    monkeypatch.setattr("gateway.services.defence._MOST_REMEMBERED", 2)
    monkeypatch.setattr("gateway.services.defence._MOST_REPORTED", 2)
    for last in range(5):
        await refuse(access, client=parse_address(f"192.0.2.{last}"))

    assert len(waits.seconds) == 5
    assert len(defence._failures) == 2
    assert len(defence._refused) == 3


async def test_refused_logins_are_counted_for_the_audit_log(
    access: Access, defence: Defence, stored: Stored, waits: Waits
) -> None:
    """Nothing of what was typed is written down but ids of keys that exist."""
    for _ in range(3):
        await refuse(access)
    await refuse(access, "a-secret-in-the-wrong-field")
    assert waits.seconds

    await defence.report()
    await defence.report()

    assert stored.lines == [("192.0.2.1", "SWKEY", 3), ("192.0.2.1", "unknown access key", 1)]


async def test_what_could_not_be_reported_is_reported_later(
    access: Access, defence: Defence, stored: Stored, waits: Waits
) -> None:
    """With what came meanwhile."""
    await refuse(access)
    stored.is_away = True
    with pytest.raises(DatabaseUnavailable):
        await defence.report()
    await refuse(access)
    assert waits.seconds
    stored.is_away = False

    await defence.report()

    assert stored.lines == [("192.0.2.1", "SWKEY", 2)]


async def test_the_last_use_of_a_key_is_written(stored: Stored) -> None:
    """Once for however many uses; what the database did not take is not tried again."""
    uses = Uses(stored)
    key = AccessKey(7, "SWKEY", Account(1, "someone", is_root=False))
    now = datetime.now(UTC)
    uses.note(key, now, HERE)
    stored.is_away = True
    with pytest.raises(DatabaseUnavailable):
        await uses.write()
    stored.is_away = False
    for seconds in range(3):
        uses.note(key, now + timedelta(seconds=seconds), THERE)

    await uses.write()
    await uses.write()

    assert stored.uses == [(7, now + timedelta(seconds=2), "192.0.2.2")]


async def test_what_was_noted_is_written_in_the_end(stored: Stored) -> None:
    """A process that ends loses nothing of it."""
    uses = Uses(stored)

    async with uses.writing():
        uses.note(AccessKey(7, "SWKEY", Account(1, "someone", is_root=False)), datetime.now(UTC), HERE)

    assert [use[0] for use in stored.uses] == [7]

"""Access keys: what they are narrowed to, changes, rotation, and the key that root always keeps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import ChangedMeanwhile, ValueRefused
from gateway.model.access import Action
from gateway.ports.accounts import KeyChange, KeyRequest

from .installation import LOCAL, OVER, SOON, Office

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def test_a_key_is_made_as_wanted_and_its_secret_works(office: Office) -> None:
    """What it is narrowed to, its note and its end are kept; the secret is nowhere but in the answer."""
    await office.accounts.create_account(LOCAL, None, "ci")
    request = KeyRequest("builds", frozenset({Action.PULL, Action.PUSH}), ("ci/**", "base/*"), SOON)

    made, secret = await office.accounts.create_key(LOCAL, None, "ci", request)
    other, other_secret = await office.accounts.create_key(LOCAL, None, "ci", KeyRequest())

    assert (made.note, made.actions, made.repositories, made.expires_at) == (
        request.note,
        request.actions,
        request.repositories,
        request.expires_at,
    )
    assert (made.account, made.disabled, made.last_used_at, made.version) == ("ci", False, None, 1)
    assert await office.accounts.get_key(None, made.access_key_id) == made
    assert await office.works(made.access_key_id, secret)
    assert await office.works(other.access_key_id, other_secret)
    assert not await office.works(made.access_key_id, other_secret)
    seen = await office.key(made.access_key_id)
    assert (seen.is_narrowed, seen.actions, seen.repositories) == (True, request.actions, request.repositories)


REFUSED: list[tuple[KeyChange, str]] = [
    ({"actions": frozenset()}, "actions"),
    ({"repositories": ()}, "repositories"),
    ({"repositories": ("team/*",) * 101}, "repositories"),
    ({"repositories": ("team/*", "Team")}, "repositories"),
    ({"repositories": ("*a" * 9,)}, "repositories"),
    ({"expires_at": OVER}, "expires_at"),
    ({"note": "x" * 1001}, "note"),
    ({"note": "x\0y"}, "note"),
]


@pytest.mark.parametrize(("change", "field"), REFUSED)
async def test_what_no_key_can_be(office: Office, change: KeyChange, field: str) -> None:
    """Making and changing refuse the same values, and name the field."""
    key = await office.hire("bob")

    with pytest.raises(ValueRefused) as refused:
        await office.accounts.create_key(LOCAL, None, "bob", KeyRequest(**change))  # type: ignore[misc]
    assert refused.value.field == field
    with pytest.raises(ValueRefused) as refused:
        await office.accounts.update_key(LOCAL, None, key.access_key_id, change, None)
    assert refused.value.field == field
    assert [each.version for each in await office.accounts.list_keys(None, "bob")] == [1]


async def test_a_change_leaves_alone_what_it_does_not_name(office: Office) -> None:
    """Each change counts the version up; one that changes nothing does not, and leaves no line."""
    key = (await office.hire("bob")).access_key_id
    update = office.accounts.update_key

    narrowed = await update(LOCAL, None, key, {"actions": frozenset({Action.PULL}), "repositories": ("a/*",)}, 1)
    disabled = await update(LOCAL, None, key, {"disabled": True, "expires_at": SOON}, 2)
    since = await office.database.fetch("SELECT disabled_at FROM access_keys WHERE access_key_id = $1", key)
    noted = await update(LOCAL, None, key, {"note": "resting"}, None)
    count = len(await office.lines())
    same = await update(LOCAL, None, key, {"note": "resting", "disabled": True}, 4)

    assert (narrowed.actions, narrowed.repositories, narrowed.version) == (frozenset({Action.PULL}), ("a/*",), 2)
    assert (disabled.actions, disabled.disabled, disabled.expires_at) == (frozenset({Action.PULL}), True, SOON)
    assert (noted.note, noted.disabled, noted.version) == ("resting", True, 4)
    assert since == await office.database.fetch("SELECT disabled_at FROM access_keys WHERE access_key_id = $1", key)
    assert (same, len(await office.lines())) == (noted, count)

    freed = await update(
        LOCAL, None, key, {"actions": None, "repositories": None, "disabled": False, "expires_at": None}, 4
    )
    assert (freed.actions, freed.repositories, freed.disabled, freed.expires_at) == (None, None, False, None)
    assert not (await office.key(key)).disabled


async def test_of_two_who_have_read_the_same_one_changes_it(office: Office) -> None:
    """The other one is told that the key has changed meanwhile."""
    key = (await office.hire("bob")).access_key_id

    outcomes = await asyncio.gather(
        *(office.accounts.update_key(LOCAL, None, key, {"note": str(n)}, 1) for n in range(5)), return_exceptions=True
    )

    assert sorted(type(each).__name__ for each in outcomes) == ["ChangedMeanwhile"] * 4 + ["KeyRecord"]
    with pytest.raises(ChangedMeanwhile, match="read it again"):
        await office.accounts.update_key(LOCAL, None, key, {"note": "late"}, 1)


async def test_rotation_replaces_the_secret(office: Office) -> None:
    """Without a changeover the old secret ends at once."""
    key, old = await _made(office)

    rotated, new = await office.accounts.rotate_key(LOCAL, None, key)

    assert rotated.version == 2
    assert (await office.works(key, old), await office.works(key, new)) == (False, True)


async def test_during_a_changeover_two_secrets_work(office: Office) -> None:
    """The new one and the one before, whose end is written down; a third rotation ends the first."""
    key, first = await _made(office)

    _, second = await office.accounts.rotate_key(LOCAL, None, key, 3600)
    ends = [each.expires_at for each in (await office.key(key)).secrets]

    assert [await office.works(key, each) for each in (first, second)] == [True, True]
    assert ends[0] is None
    assert ends[1] is not None
    assert timedelta(minutes=59) < ends[1] - datetime.now(UTC) < timedelta(minutes=61)

    _, third = await office.accounts.rotate_key(LOCAL, None, key, 3600)

    assert [await office.works(key, each) for each in (first, second, third)] == [False, True, True]

    _, fourth = await office.accounts.rotate_key(LOCAL, None, key)

    assert [await office.works(key, each) for each in (first, second, third, fourth)] == [False, False, False, True]
    assert len((await office.key(key)).secrets) == 1


@pytest.mark.parametrize("seconds", [-1, 30 * 24 * 3600 + 1])
async def test_a_changeover_has_limits(office: Office, seconds: int) -> None:
    """It does not last for ever, and not less than no time."""
    key, secret = await _made(office)

    with pytest.raises(ValueRefused, match="30 days"):
        await office.accounts.rotate_key(LOCAL, None, key, seconds)

    assert await office.works(key, secret)


async def test_rotations_at_once_leave_two_secrets(office: Office) -> None:
    """Each caller got a secret; the last two of them work."""
    key, _ = await _made(office)

    rotated = await asyncio.gather(*(office.accounts.rotate_key(LOCAL, None, key, 3600) for _ in range(5)))

    assert sum([await office.works(key, secret) for _, secret in rotated]) == 2


async def _made(office: Office) -> tuple[str, str]:
    await office.accounts.create_account(LOCAL, None, "bob")
    made, secret = await office.accounts.create_key(LOCAL, None, "bob", KeyRequest())
    return made.access_key_id, secret


# --- root ----------------------------------------------------------------------------------------

LOCKOUTS: dict[str, Callable[[Office, str], Awaitable[object]]] = {
    "deleting": lambda office, key: office.accounts.delete_key(LOCAL, None, key),
    "disabling": lambda office, key: office.accounts.update_key(LOCAL, None, key, {"disabled": True}, None),
    "expiring": lambda office, key: office.accounts.update_key(LOCAL, None, key, {"expires_at": SOON}, None),
    "narrowing": lambda office, key: office.accounts.update_key(LOCAL, None, key, {"repositories": ("**",)}, None),
}


@pytest.mark.parametrize("act", LOCKOUTS.values(), ids=LOCKOUTS)
async def test_nobody_locks_out_root(office: Office, act: Callable[[Office, str], Awaitable[object]]) -> None:
    """The last key that works for everything and for ever stays so, whatever other keys there are."""
    first = office.root_key_id
    await office.accounts.create_key(LOCAL, None, "root", KeyRequest(expires_at=SOON))
    await office.accounts.create_key(LOCAL, None, "root", KeyRequest(actions=frozenset({Action.PULL})))

    with pytest.raises(ValueRefused, match="make another one first"):
        await act(office, first)
    assert await office.root()

    await office.accounts.create_key(LOCAL, None, "root", KeyRequest())
    await act(office, first)


async def test_two_who_delete_each_others_key_leave_root_one(office: Office) -> None:
    """The deletions come one after the other."""
    made, _ = await office.accounts.create_key(LOCAL, None, "root", KeyRequest())
    keys = (office.root_key_id, made.access_key_id)

    outcomes = await asyncio.gather(
        *(office.accounts.delete_key(LOCAL, None, key) for key in keys), return_exceptions=True
    )

    assert sorted(type(each).__name__ for each in outcomes) == ["NoneType", "ValueRefused"]
    assert len(await office.accounts.list_keys(None, "root")) == 1

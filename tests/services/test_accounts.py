"""Accounts, policies and keys: what they do, what races leave behind, and what the log keeps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from gateway.errors import AlreadyTaken, ChangedMeanwhile, NothingKnown, ValueRefused
from gateway.model.access import Action, Role
from gateway.ports.access import CHANGES
from gateway.ports.accounts import KeyChange, KeyRequest

from .installation import LOCAL, Office, actor, open_office

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.db.pool import Database

SOON = datetime.now(UTC) + timedelta(days=30)
OVER = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def office(database: Database) -> Office:
    """An installation with a root account."""
    return await open_office(database)


# --- accounts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "a", "-ab", "ab-", "Ab", "a_b", "ä-b", "a" * 64, "local", "open", "anonymous", "root"]
)
async def test_names_that_no_account_can_have(office: Office, name: str) -> None:
    """Names that break the form, and names that mean something else, are refused with the field."""
    with pytest.raises(ValueRefused, match="name") as refused:
        await office.accounts.create_account(LOCAL, None, name)

    assert refused.value.field == "name"


async def test_a_name_is_taken_once_and_free_again_after_deletion(office: Office) -> None:
    """Of many who want a name at once one gets it; after deletion it belongs to a new account with nothing."""
    made = await asyncio.gather(
        *(office.accounts.create_account(LOCAL, None, "bob", "builds") for _ in range(5)), return_exceptions=True
    )

    assert sorted(type(each).__name__ for each in made) == ["AccountRecord"] + ["AlreadyTaken"] * 4

    await office.accounts.grant(LOCAL, None, "bob", Role.VIEWER, None)
    first = await office.accounts.get_account(None, "bob")
    await office.accounts.delete_account(LOCAL, None, "bob")
    second = await office.accounts.create_account(LOCAL, None, "bob")

    assert (first.note, second.note, second.version) == ("builds", "", 1)
    assert second.id != first.id
    assert await office.accounts.list_policies(None, "bob") == []
    with pytest.raises(AlreadyTaken, match="bob"):
        await office.accounts.create_account(LOCAL, None, "bob")


async def test_deleting_an_account_ends_its_keys(office: Office) -> None:
    """The keys are gone from lists and logins, and nothing is kept of their secrets."""
    key = await office.hire("bob", (Role.MANAGER, "team"))

    await office.accounts.delete_account(LOCAL, None, "bob")

    with pytest.raises(AssertionError):
        await office.key(key.access_key_id)
    with pytest.raises(NothingKnown):
        await office.accounts.get_key(None, key.access_key_id)
    assert await office.accounts.list_keys(None, "bob") == []
    assert await office.database.fetch("SELECT FROM key_secrets WHERE key_id = $1", key.id) == []


@pytest.mark.parametrize("what", ["Nobody!", "x\0y", "ghost", "a" * 10_000])
async def test_whatever_is_asked_for_that_does_not_exist(office: Office, what: str) -> None:
    """Names that nothing can have are unknown, as those that nothing has."""
    accounts = office.accounts
    await accounts.create_account(LOCAL, None, "bob")
    acts: list[Awaitable[object]] = [
        accounts.get_account(None, what),
        accounts.delete_account(LOCAL, None, what),
        accounts.grant(LOCAL, None, what, Role.VIEWER, None),
        accounts.grant(LOCAL, None, "bob", Role.VIEWER, what),
        accounts.revoke(LOCAL, None, "bob", Role.VIEWER, what),
        accounts.create_key(LOCAL, None, what, KeyRequest()),
        accounts.get_key(None, what),
        accounts.delete_key(LOCAL, None, what),
    ]

    for act in acts:
        with pytest.raises(NothingKnown):
            await act


# --- policies ------------------------------------------------------------------------------------


async def test_a_policy_holds_from_the_moment_it_is_granted(office: Office) -> None:
    """The account's keys have the role, in the registry it was granted for; granting again changes nothing."""
    bob = await office.hire("bob")

    first = await office.accounts.grant(LOCAL, None, "bob", Role.MANAGER, "team")
    again = await office.accounts.grant(LOCAL, None, "bob", Role.MANAGER, "team")
    await office.accounts.grant(LOCAL, None, "bob", Role.VIEWER, None)

    assert first == again
    policies = await office.accounts.list_policies(None, "bob")
    assert [(each.role, each.registry) for each in policies] == [(Role.MANAGER, "team"), (Role.VIEWER, None)]
    assert [each.role for each in await office.accounts.list_policies(None, None, "team")] == [Role.MANAGER]
    assert len((await office.key(bob.access_key_id)).account.grants) == 2

    await office.accounts.revoke(LOCAL, None, "bob", Role.MANAGER, "team")

    (left,) = (await office.key(bob.access_key_id)).account.grants
    assert (left.role, left.registry_id) == (Role.VIEWER, None)
    with pytest.raises(NothingKnown, match="not manager of registry team"):
        await office.accounts.revoke(LOCAL, None, "bob", Role.MANAGER, "team")


async def test_two_grants_at_once_make_one_policy(office: Office) -> None:
    """Both succeed with the same policy, and the log has one line."""
    await office.hire("bob")
    before = len(await office.lines())

    granted = await asyncio.gather(
        *(office.accounts.grant(LOCAL, None, "bob", Role.VIEWER, "team") for _ in range(6)),
        *(office.accounts.grant(LOCAL, None, "bob", Role.VIEWER, None) for _ in range(6)),
    )

    assert len(set(granted)) == 2
    assert len(await office.accounts.list_policies(None, "bob")) == 2
    assert [line.action for line in (await office.lines())[before:]] == ["policy.grant"] * 2


async def test_root_has_no_policies(office: Office) -> None:
    """It may do everything anyway, and must not look as if something could be taken from it."""
    with pytest.raises(ValueRefused, match="everything"):
        await office.accounts.grant(LOCAL, None, "root", Role.VIEWER, None)


async def test_a_deleted_registry_takes_no_policies(office: Office) -> None:
    """Its name is unknown from then on."""
    await office.hire("bob")
    await office.database.execute("UPDATE registries SET deleted_at = now() WHERE name = 'team'")

    with pytest.raises(NothingKnown, match="registry team"):
        await office.accounts.grant(LOCAL, None, "bob", Role.VIEWER, "team")


async def test_no_key_survives_the_deletion_of_its_account(office: Office) -> None:
    """However a deletion meets the making of keys and policies, nothing living is left of the account."""
    accounts = office.accounts
    for _ in range(8):
        await accounts.create_account(LOCAL, None, "bob")
        await asyncio.gather(
            accounts.create_key(LOCAL, None, "bob", KeyRequest()),
            accounts.grant(LOCAL, None, "bob", Role.MANAGER, None),
            accounts.delete_account(LOCAL, None, "bob"),
            accounts.create_key(LOCAL, None, "bob", KeyRequest()),
            accounts.grant(LOCAL, None, "bob", Role.VIEWER, "team"),
            return_exceptions=True,
        )

    left = await office.database.fetch(
        "SELECT accounts.id FROM accounts LEFT JOIN access_keys ON access_keys.account_id = accounts.id "
        "LEFT JOIN policies ON policies.account_id = accounts.id WHERE accounts.deleted_at IS NOT NULL "
        "AND (access_keys.id IS NOT NULL AND access_keys.deleted_at IS NULL OR policies.id IS NOT NULL)"
    )
    assert left == []


async def test_a_manager_of_all_who_is_made_meanwhile_is_not_deleted(office: Office) -> None:
    """What an account is counts at the moment of its deletion, not when it was looked at."""
    chief = await office.hire("chief", (Role.MANAGER, None))
    await office.hire("bob")
    async with office.database.connection() as connection, connection.transaction():
        await connection.execute("SELECT FROM accounts WHERE name = 'bob' FOR NO KEY UPDATE")
        deleting = asyncio.create_task(office.accounts.delete_account(actor(chief), chief, "bob"))
        await _until_somebody_waits(office.database)
        await connection.execute(
            "INSERT INTO policies (account_id, role) SELECT id, 'manager' FROM accounts WHERE name = 'bob'"
        )
    with pytest.raises(Exception, match="only the root account"):
        await deleting

    assert (await office.accounts.get_account(None, "bob")).name == "bob"


async def _until_somebody_waits(database: Database) -> None:
    while not await database.fetch("SELECT FROM pg_locks WHERE NOT granted"):
        pass


# --- keys ----------------------------------------------------------------------------------------


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


# --- the log, and the news -----------------------------------------------------------------------


async def test_the_log_tells_the_whole_story_and_no_secret(office: Office) -> None:
    """Who, with which key, from where, what, before and after; and nothing that opens anything."""
    root, accounts = await office.root(), office.accounts
    who = actor(root)
    await accounts.create_account(who, root, "bob", "builds")
    await accounts.grant(who, root, "bob", Role.MANAGER, "team")
    made, secret = await accounts.create_key(who, root, "bob", KeyRequest("ci", repositories=("ci/*",)))
    key = made.access_key_id
    await accounts.update_key(who, root, key, {"disabled": True}, None)
    _, second = await accounts.rotate_key(who, root, key, 60)
    await accounts.revoke(who, root, "bob", Role.MANAGER, "team")
    await accounts.delete_key(who, root, key)
    await accounts.grant(who, root, "bob", Role.VIEWER, None)
    await accounts.delete_account(who, root, "bob")

    lines = await office.lines()
    plain = {"account": "bob", "note": "ci", "actions": None, "repositories": ["ci/*"], "expires_at": None}
    on, off = plain | {"disabled": False}, plain | {"disabled": True}
    policy = {"role": "manager", "registry": "team"}
    story = [(each.action, each.object, each.registry, _read(each.before), _read(each.after)) for each in lines]
    assert story == [
        ("account.create", "bob", None, None, {"note": "builds"}),
        ("policy.grant", "bob", "team", None, policy),
        ("key.create", key, None, None, on),
        ("key.update", key, None, on, off),
        ("key.rotate", key, None, None, {"account": "bob", "keep_old_seconds": 60}),
        ("policy.revoke", "bob", "team", policy, None),
        ("key.delete", key, None, off, None),
        ("policy.grant", "bob", None, None, {"role": "viewer", "registry": None}),
        (
            "account.delete",
            "bob",
            None,
            {"policies": [{"role": "viewer", "registry": None}], "access_key_ids": []},
            None,
        ),
    ]
    assert {(each.account, each.access_key_id, each.address, each.result) for each in lines} == {
        ("root", office.root_key_id, "10.0.0.1", "done")
    }
    everything = repr(await office.database.fetch("SELECT * FROM audit_log"))
    hashes = [row["hash"] for row in await office.database.fetch("SELECT hash FROM key_secrets")]
    assert not [each for each in (secret, second, *map(bytes.hex, hashes)) if each in everything]


def _read(text: str | None) -> object:
    return None if text is None else orjson.loads(text)


async def test_every_change_is_announced(office: Office) -> None:
    """Each is heard once it is committed, so that what processes remember can be forgotten; refusals are not."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await office.database.listen(CHANGES, heard.put_nowait)
    accounts = office.accounts
    try:
        await accounts.create_account(LOCAL, None, "bob")
        await heard.get()
        await accounts.grant(LOCAL, None, "bob", Role.VIEWER, None)
        await heard.get()
        made, _ = await accounts.create_key(LOCAL, None, "bob", KeyRequest())
        await heard.get()
        await accounts.update_key(LOCAL, None, made.access_key_id, {"disabled": True}, None)
        await heard.get()
        await accounts.rotate_key(LOCAL, None, made.access_key_id)
        await heard.get()
        await accounts.delete_key(LOCAL, None, made.access_key_id)
        await heard.get()
        await accounts.revoke(LOCAL, None, "bob", Role.VIEWER, None)
        await heard.get()
        await accounts.delete_account(LOCAL, None, "bob")
        await heard.get()

        with pytest.raises(NothingKnown):
            await accounts.delete_account(LOCAL, None, "bob")
        await office.database.execute("SELECT pg_notify($1, 'the end')", CHANGES)
        assert await heard.get() == "the end"
    finally:
        await listener.aclose()

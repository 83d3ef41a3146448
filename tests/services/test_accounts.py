"""Accounts and policies: what they do, what races leave behind, and what the log keeps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from gateway.errors import AlreadyTaken, NothingKnown, ValueRefused
from gateway.model.access import Role
from gateway.ports.access import CHANGES
from gateway.ports.accounts import KeyRequest

from .installation import LOCAL, Office, actor

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.db.pool import Database

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
    listener = await office.database.listen({CHANGES: heard.put_nowait})
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

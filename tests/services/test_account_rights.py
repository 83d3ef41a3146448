"""Who may manage accounts, policies and keys: the table of product and docs, against the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from gateway.errors import ClientError, Forbidden, NothingKnown
from gateway.model.access import AccessKey, Role
from gateway.ports.accounts import KeyRequest

from .installation import LOCAL, Office, actor

Act = Callable[[Office, AccessKey | None], Awaitable[object]]

ACTORS = ("local", "root", "chief", "lead", "reader", "nobody", "robot")
"""Everything; root; manager of all; manager of team; viewer of team; no policies; narrowed manager of all."""


async def other_key(office: Office, account: str) -> str:
    (key,) = await office.accounts.list_keys(None, account)
    return key.access_key_id


def own(key: AccessKey | None) -> str:
    """The account of whoever acts; the command line on the server has none and takes another."""
    return "other" if key is None else key.account.name


async def grant(office: Office, key: AccessKey | None, role: Role, registry: str | None) -> object:
    return await office.accounts.grant(actor(key), key, "other", role, registry)


async def revoke(office: Office, key: AccessKey | None, role: Role, registry: str | None) -> None:
    await office.accounts.grant(LOCAL, None, "other", role, registry)
    await office.accounts.revoke(actor(key), key, "other", role, registry)


async def make_key(office: Office, key: AccessKey | None, account: str) -> object:
    return await office.accounts.create_key(actor(key), key, account, KeyRequest())


async def change_key(office: Office, key: AccessKey | None, account: str) -> object:
    wanted = await other_key(office, account)
    return await office.accounts.update_key(actor(key), key, wanted, {"note": "changed"}, None)


async def rotate_key(office: Office, key: AccessKey | None, account: str) -> object:
    return await office.accounts.rotate_key(actor(key), key, await other_key(office, account))


async def delete_key(office: Office, key: AccessKey | None, account: str) -> None:
    made, _ = await office.accounts.create_key(LOCAL, None, account, KeyRequest())
    await office.accounts.delete_key(actor(key), key, made.access_key_id)


async def see_key(office: Office, key: AccessKey | None, account: str) -> object:
    return await office.accounts.get_key(key, await other_key(office, account))


ACTIONS: dict[str, tuple[Act, str]] = {
    # what: who does it, and what becomes of it for each of ACTORS: yes, Forbidden, or hidden as if there were nothing
    "create an account": (
        lambda office, key: office.accounts.create_account(actor(key), key, "fresh"),
        "yes yes yes no no no no",
    ),
    "see another account": (
        lambda office, key: office.accounts.get_account(key, "other"),
        "yes yes yes hidden hidden hidden no",
    ),
    "see the own account": (
        lambda office, key: office.accounts.get_account(key, own(key)),
        "yes yes yes yes yes yes no",
    ),
    "delete an account": (
        lambda office, key: office.accounts.delete_account(actor(key), key, "other"),
        "yes yes yes no no no no",
    ),
    "delete a manager of all": (
        lambda office, key: office.accounts.delete_account(actor(key), key, "boss"),
        "yes yes no no no no no",
    ),
    "delete root": (
        lambda office, key: office.accounts.delete_account(actor(key), key, "root"),
        "no no no no no no no",
    ),
    "grant viewer of all": (lambda office, key: grant(office, key, Role.VIEWER, None), "yes yes yes no no no no"),
    "grant manager of one": (lambda office, key: grant(office, key, Role.MANAGER, "team"), "yes yes yes no no no no"),
    "grant manager of all": (lambda office, key: grant(office, key, Role.MANAGER, None), "yes yes no no no no no"),
    "revoke viewer of all": (lambda office, key: revoke(office, key, Role.VIEWER, None), "yes yes yes no no no no"),
    "revoke manager of one": (lambda office, key: revoke(office, key, Role.MANAGER, "team"), "yes yes yes no no no no"),
    "revoke manager of all": (lambda office, key: revoke(office, key, Role.MANAGER, None), "yes yes no no no no no"),
    "make an own key": (lambda office, key: make_key(office, key, own(key)), "yes yes yes yes yes yes no"),
    "change an own key": (lambda office, key: change_key(office, key, own(key)), "yes yes yes yes yes yes no"),
    "rotate an own key": (lambda office, key: rotate_key(office, key, own(key)), "yes yes yes yes yes yes no"),
    "delete an own key": (lambda office, key: delete_key(office, key, own(key)), "yes yes yes yes yes yes no"),
    "see an own key": (lambda office, key: see_key(office, key, own(key)), "yes yes yes yes yes yes no"),
    "make another's key": (lambda office, key: make_key(office, key, "other"), "yes yes yes hidden hidden hidden no"),
    "change another's key": (
        lambda office, key: change_key(office, key, "other"),
        "yes yes yes hidden hidden hidden no",
    ),
    "rotate another's key": (
        lambda office, key: rotate_key(office, key, "other"),
        "yes yes yes hidden hidden hidden no",
    ),
    "delete another's key": (
        lambda office, key: delete_key(office, key, "other"),
        "yes yes yes hidden hidden hidden no",
    ),
    "see another's key": (lambda office, key: see_key(office, key, "other"), "yes yes yes hidden hidden hidden no"),
    "make a key of root": (lambda office, key: make_key(office, key, "root"), "yes yes no hidden hidden hidden no"),
    "change a key of root": (lambda office, key: change_key(office, key, "root"), "yes yes no hidden hidden hidden no"),
    "rotate a key of root": (lambda office, key: rotate_key(office, key, "root"), "yes yes no hidden hidden hidden no"),
    "delete a key of root": (lambda office, key: delete_key(office, key, "root"), "yes yes no hidden hidden hidden no"),
}

OUTCOMES: dict[str, type[ClientError] | None] = {"yes": None, "no": Forbidden, "hidden": NothingKnown}


@pytest.fixture
async def office(office: Office) -> Office:
    """An installation with one account of each kind, and two more."""
    await office.hire("chief", (Role.MANAGER, None))
    await office.hire("lead", (Role.MANAGER, "team"))
    await office.hire("reader", (Role.VIEWER, "team"))
    await office.hire("nobody")
    await office.hire("robot", (Role.MANAGER, None), narrowed=True)
    await office.hire("other", (Role.VIEWER, "team"))
    await office.hire("boss", (Role.MANAGER, None))
    return office


async def acting(office: Office, who: str) -> AccessKey | None:
    if who == "local":
        return None
    return await office.key(await other_key(office, who))


@pytest.mark.parametrize("who", ACTORS)
async def test_who_may_do_what(office: Office, who: str) -> None:
    """Each cell of the table; what is refused changes nothing and leaves no line in the log."""
    found = {}
    for what, (act, _) in ACTIONS.items():
        key = await acting(office, who)
        before = await office.lines()
        try:
            await act(office, key)
        except (Forbidden, NothingKnown) as error:
            found[what] = next(word for word, kind in OUTCOMES.items() if kind is type(error))
            mine = [line for line in (await office.lines())[len(before) :] if line.account == actor(key).account]
            assert mine == [] or key is None
        else:
            found[what] = "yes"
        await _restore(office)

    place = ACTORS.index(who)
    assert found == {what: outcomes.split()[place] for what, (_, outcomes) in ACTIONS.items()}


async def _restore(office: Office) -> None:
    """Hire again who was deleted, and take back what was given."""
    names = {each.name for each in await office.accounts.list_accounts(None)}
    if "fresh" in names:
        await office.accounts.delete_account(LOCAL, None, "fresh")
    if "boss" not in names:
        await office.hire("boss", (Role.MANAGER, None))
    if "other" in names:
        await office.accounts.delete_account(LOCAL, None, "other")
    await office.hire("other", (Role.VIEWER, "team"))
    for account in names - {"fresh", "boss", "other"}:
        keys = sorted(await office.accounts.list_keys(None, account), key=lambda each: each.id)
        for key in keys[1:]:
            await office.accounts.delete_key(LOCAL, None, key.access_key_id)


@pytest.mark.parametrize(
    ("who", "everything"),
    [("local", True), ("root", True), ("chief", True), ("lead", False), ("reader", False), ("nobody", False)],
)
async def test_lists_show_what_one_may_see(office: Office, who: str, *, everything: bool) -> None:
    """Managers of all see all accounts, policies and keys, everybody else the own ones."""
    key, accounts = await acting(office, who), office.accounts
    names = {each.name for each in await accounts.list_accounts(None)}
    policies = {each.account for each in await accounts.list_policies(None)}

    assert {each.name for each in await accounts.list_accounts(key)} == (names if everything else {who})
    assert {each.account for each in await accounts.list_keys(key)} == (names if everything else {who})
    assert {each.account for each in await accounts.list_policies(key)} == (
        policies if everything else policies & {who}
    )
    assert [each.account for each in await accounts.list_keys(key, "other")] == (["other"] if everything else [])


async def test_a_narrowed_key_lists_nothing(office: Office) -> None:
    """It is for pulling and pushing, whatever its account may do."""
    key = await acting(office, "robot")

    for listing in (office.accounts.list_accounts, office.accounts.list_policies, office.accounts.list_keys):
        with pytest.raises(Forbidden, match="narrowed"):
            await listing(key)


async def test_what_is_hidden_looks_as_if_it_were_not_there(office: Office) -> None:
    """The words are the same but for the name, so that nobody can tell which accounts and keys there are."""
    key, accounts = await acting(office, "nobody"), office.accounts
    hidden, missing = await other_key(office, "other"), "SW" + "0" * 18

    async def words(act: Awaitable[object]) -> str:
        with pytest.raises(NothingKnown) as caught:
            await act
        return str(caught.value)

    assert await words(accounts.get_account(key, "other")) == (await words(accounts.get_account(key, "ghost"))).replace(
        "ghost", "other"
    )
    assert await words(accounts.create_key(LOCAL, key, "other", KeyRequest())) == (
        await words(accounts.create_key(LOCAL, key, "ghost", KeyRequest()))
    ).replace("ghost", "other")
    for act in (
        lambda name: accounts.get_key(key, name),
        lambda name: accounts.update_key(LOCAL, key, name, {"note": "x"}, None),
        lambda name: accounts.rotate_key(LOCAL, key, name),
        lambda name: accounts.delete_key(LOCAL, key, name),
    ):
        assert await words(act(hidden)) == (await words(act(missing))).replace(missing, hidden)

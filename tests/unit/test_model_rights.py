"""The table of rights (docs/access.md), row by row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.model import rights
from gateway.model.access import AccessKey, Account, Action, Grant, Role

HERE, ELSEWHERE = 1, 2
NOW = datetime(2026, 1, 1, tzinfo=UTC)

ROOT = AccessKey(1, "ROOT", Account(1, "root", is_root=True))
PLAIN = AccessKey(2, "PLAIN", Account(2, "bob", is_root=False))


def having(*grants: Grant) -> AccessKey:
    return replace(PLAIN, account=replace(PLAIN.account, grants=grants))


MANAGER = having(Grant(Role.MANAGER, None))
MANAGER_HERE = having(Grant(Role.MANAGER, HERE))
VIEWER = having(Grant(Role.VIEWER, None))
VIEWER_HERE = having(Grant(Role.VIEWER, HERE))
BOTH = having(Grant(Role.VIEWER, None), Grant(Role.MANAGER, HERE))


def narrowed(key: AccessKey, actions: str, *repositories: str) -> AccessKey:
    found = frozenset(Action(word) for word in actions.split())
    return replace(key, actions=found or None, repositories=repositories or None)


CONTENT = {
    # who: (here, elsewhere), without and with public pulls
    "root": (ROOT, "pull push delete", "pull push delete"),
    "manager of all": (MANAGER, "pull push delete", "pull push delete"),
    "manager of named": (MANAGER_HERE, "pull push delete", ""),
    "viewer of all": (VIEWER, "pull", "pull"),
    "viewer of named": (VIEWER_HERE, "pull", ""),
    "viewer of all, manager here": (BOTH, "pull push delete", "pull"),
    "no policy": (PLAIN, "", ""),
    "anonymous": (None, "", ""),
    "narrowed to actions": (narrowed(MANAGER_HERE, "pull push"), "pull push", ""),
    "narrowed to repositories": (narrowed(MANAGER, "", "team/*"), "pull push delete", "pull push delete"),
    "narrowed to other repositories": (narrowed(MANAGER, "", "other/*"), "", ""),
    "narrowed root": (narrowed(ROOT, "delete", "team/app"), "delete", "delete"),
    "narrowing gives nothing": (narrowed(VIEWER_HERE, "pull push delete", "**"), "pull", ""),
}


@pytest.mark.parametrize("public", [False, True], ids=["closed", "public"])
@pytest.mark.parametrize(("key", "here", "elsewhere"), CONTENT.values(), ids=CONTENT)
def test_what_may_be_done_to_content(key: AccessKey | None, here: str, elsewhere: str, *, public: bool) -> None:
    """A key's narrowing, its account's policies and the registry's switch together; a public one is pulled by all."""
    for registry_id, words in ((HERE, here), (ELSEWHERE, elsewhere)):
        expected = frozenset(Action(word) for word in words.split()) | ({Action.PULL} if public else set())

        assert rights.repository_actions(key, registry_id, "team/app", public_pull=public) == expected


MANAGEMENT = {
    # who: view here, view elsewhere, manage here, manage elsewhere, administer, make managers of all
    "root": (ROOT, "yes yes yes yes yes yes"),
    "manager of all": (MANAGER, "yes yes yes yes yes no"),
    "manager of named": (MANAGER_HERE, "yes no yes no no no"),
    "viewer of all": (VIEWER, "yes yes no no no no"),
    "viewer of named": (VIEWER_HERE, "yes no no no no no"),
    "viewer of all, manager here": (BOTH, "yes yes yes no no no"),
    "no policy": (PLAIN, "no no no no no no"),
    "narrowed root": (narrowed(ROOT, "pull push delete"), "no no no no no no"),
    "narrowed manager": (narrowed(MANAGER, "", "**"), "no no no no no no"),
}


@pytest.mark.parametrize(("key", "expected"), MANAGEMENT.values(), ids=MANAGEMENT)
def test_what_may_be_managed(key: AccessKey, expected: str) -> None:
    """Registries are managed by their managers, the installation by managers of all, these by root."""
    found = (
        rights.may_view_registry(key, HERE),
        rights.may_view_registry(key, ELSEWHERE),
        rights.may_manage_registry(key, HERE),
        rights.may_manage_registry(key, ELSEWHERE),
        rights.may_administer(key),
        rights.may_make_managers_of_all(key),
    )

    assert " ".join("yes" if each else "no" for each in found) == expected


def test_a_key_is_usable_until_it_is_disabled_or_expires() -> None:
    """Its end counts as over."""
    assert rights.is_usable(PLAIN, NOW)
    assert not rights.is_usable(replace(PLAIN, disabled=True), NOW)
    assert rights.is_usable(replace(PLAIN, expires_at=NOW + timedelta(seconds=1)), NOW)
    assert not rights.is_usable(replace(PLAIN, expires_at=NOW), NOW)

"""Registries, accounts, access keys and the audit log, through their pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .browser import Browser
    from .conftest import Office


def test_a_registry_from_its_making_to_its_end(office: Office, manager: Browser) -> None:
    """On a bucket that is chosen from the list, and is taken from then on."""
    (office.browser("manager")).get("/console/new-registry")
    made = manager.post("/console/new-registry", name="team", typed_bucket="team-bucket", bucket="")
    assert made.location == "/console/registries/team/images?said=registry_created&name=team"
    assert "taken by team" in manager.get("/console/new-registry").words

    changed = manager.post(
        "/console/registries/team/settings", public_pull="yes", public_networks="10.0.0.0/8\n", private_networks=""
    )
    assert changed.location == "/console/registries/team/settings?said=saved"
    page = manager.get("/console/registries/team/settings")
    assert "10.0.0.0/8" in page.words
    assert "anybody may pull" in manager.get("/console/").words

    wrong = manager.post("/console/registries/team/delete", confirm="tam")
    assert wrong.status == 422
    assert "Type team exactly" in wrong.words
    assert manager.post("/console/registries/team/delete", confirm="team").status == 303
    assert manager.get("/console/registries/team/settings").status == 404


def test_a_form_that_is_wrong_comes_back(manager: Browser) -> None:
    """With what was typed, and the reason at its field."""
    page = manager.post("/console/new-registry", name="No Name", typed_bucket="somewhere", bucket="")

    assert page.status == 422
    assert page.values("name") == ["No Name"]
    assert page.values("typed_bucket") == ["somewhere"]
    assert re.search(r'id="f-name"[^>]*aria-invalid="true"', page.text)


def test_two_people_do_not_overwrite_each_other(manager: Browser) -> None:
    """Whoever saves later is told."""
    version = manager.get("/console/registries/default/settings").values("version")[0]
    first = manager.post("/console/registries/default/settings", public_endpoint="yes", version=version)
    second = manager.post("/console/registries/default/settings", public_endpoint="yes", version=version)

    assert first.status == 303
    assert second.status == 412


def test_an_account_with_a_role_and_a_key(manager: Browser) -> None:
    """The secret is shown once, and works."""
    made = manager.post("/console/accounts", name="dana", note="<b>deploys</b>")
    assert made.location == "/console/accounts/dana?said=account_created&name=dana"
    granted = manager.post("/console/accounts/dana/policies", change="grant", role="viewer", registry="default")
    assert granted.status == 303
    page = manager.get("/console/accounts/dana")
    assert "Viewer of the registry default" in page.words
    assert "&lt;b&gt;deploys&lt;/b&gt;" in page.text

    shown = manager.post("/console/keys", account="dana", note="laptop", repositories="", expires_on="2099-12-31")
    assert shown.status == 201
    secret = re.search(r"slw_[A-Za-z0-9]{40}", shown.text)
    access_key_id = re.search(r"/console/keys/(SW[A-Z0-9]{18})", shown.text)
    assert secret is not None
    assert access_key_id is not None
    assert secret[0] not in manager.get(f"/console/keys/{access_key_id[1]}").text

    rotated = manager.post(f"/console/keys/{access_key_id[1]}/rotate", keep_old_hours="1")
    newer = re.search(r"slw_[A-Za-z0-9]{40}", rotated.text)
    assert newer is not None
    assert newer[0] != secret[0]
    assert manager.post(f"/console/keys/{access_key_id[1]}/delete").status == 303
    assert manager.post("/console/accounts/dana/delete", confirm="dana").status == 303


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/console/accounts", {"name": "A", "note": ""}, 422),
        ("/console/keys", {"account": "nobody-here"}, 404),
        ("/console/keys", {"account": "viewer", "expires_on": "tomorrow"}, 422),
        ("/console/keys", {"account": "viewer", "actions": "fly"}, 422),
        ("/console/keys", {"account": "viewer", "repositories": "A/B"}, 422),
        ("/console/accounts/viewer/policies", {"role": "king"}, 422),
        ("/console/registries/nowhere/settings", {}, 404),
        ("/console/nothing", {}, 404),
        ("/console/registries/default/audit", {}, 405),
    ],
)
def test_what_cannot_be_done_is_said(manager: Browser, path: str, fields: dict[str, str], status: int) -> None:
    """With the status that it has everywhere, and never as a fault of the server."""
    assert manager.post(path, None, **fields).status == status


def test_the_audit_log_can_be_searched(manager: Browser) -> None:
    """By account, action and day."""
    manager.post("/console/accounts", name="audited", note="")

    assert "audited" in manager.get("/console/audit?action=account.create").words
    assert "audited" not in manager.get("/console/audit?action=account.delete").words
    assert "audited" not in manager.get("/console/audit?until=2020-01-01").words
    assert manager.get("/console/audit?since=yesterday").status == 422


def test_a_viewer_sees_and_changes_nothing(office: Office) -> None:
    """No buttons, and no way around that."""
    viewer = office.browser("viewer")

    settings = viewer.get("/console/registries/default/settings")

    assert settings.status == 200
    assert "Save" not in settings.words
    assert "New registry" not in viewer.get("/console/").words
    assert viewer.get("/console/new-registry").status == 403
    assert viewer.post("/console/registries/default/settings", public_pull="yes").status == 403
    assert viewer.post("/console/registries/default/delete", confirm="default").status == 403
    assert viewer.post("/console/accounts", name="mine", note="").status == 403
    assert viewer.get("/console/audit").status == 403


def test_who_has_no_role_is_told_what_to_do(office: Office) -> None:
    """Instead of an empty table."""
    assert "can give you one" in office.browser("nobody").get("/console/").words

"""Registries, accounts, access keys and the audit log, through their pages."""

from __future__ import annotations

import asyncio
import html
import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from support.accounts import add_key

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


def test_settings_that_are_wrong_keep_what_was_typed(manager: Browser) -> None:
    """Switches too, and the reason stands at its field."""
    path = "/console/registries/default/settings"
    before = manager.get(path)
    sent = {"public_pull": "yes", "public_networks": "10.0.0.0/8\nnonsense", "private_networks": "192.168.0.0/16"}

    page = manager.post(path, version=before.values("version")[0], **sent)

    assert page.status == 422
    assert "nonsense" in page.words
    assert "192.168.0.0/16" in page.words
    assert re.search(r'id="f-public_networks"[^>]*aria-invalid="true"', page.text)
    assert re.search(r'name="public_pull"[^>]* checked', page.text)
    assert not re.search(r'name="public_endpoint"[^>]* checked', page.text)
    assert manager.get(path).values("version") == before.values("version")


def test_a_redirect_to_files_is_refused(manager: Browser) -> None:
    """At its field, with what to choose instead."""
    path = "/console/registries/default/settings"
    before = manager.get(path)

    page = manager.post(path, version=before.values("version")[0], public_endpoint="yes", public_delivery="redirect")

    assert page.status == 422
    assert "choose proxy" in page.words
    assert re.search(r'id="f-public_delivery"[^>]*aria-invalid="true"', page.text)
    assert manager.get(path).values("version") == before.values("version")


def test_a_name_that_is_not_typed_right_leaves_the_other_form_alone(manager: Browser) -> None:
    """The settings beside it show what holds."""
    assert manager.post("/console/new-registry", name="typed", typed_bucket="typed").status == 303

    page = manager.post("/console/registries/typed/delete", confirm="no")

    assert page.status == 422
    assert re.search(r'name="public_endpoint"[^>]* checked', page.text)
    assert '<details class="ask" open>' in page.text


def test_the_default_registry_is_not_offered_for_deleting(manager: Browser) -> None:
    """It would be refused; the page says what to do instead."""
    page = manager.get("/console/registries/default/settings")

    assert "set default_registry to another one first" in page.words
    assert 'action="/console/registries/default/delete"' not in page.text
    assert manager.post("/console/registries/default/delete", confirm="default").status == 422


def test_two_people_do_not_overwrite_each_other(manager: Browser) -> None:
    """Whoever saves later is told."""
    version = manager.get("/console/registries/default/settings").values("version")[0]
    first = manager.post("/console/registries/default/settings", public_endpoint="yes", version=version)
    second = manager.post("/console/registries/default/settings", public_endpoint="yes", version=version)

    assert first.status == 303
    assert second.status == 412
    # It shows what holds now, to be looked at before it is sent again.
    assert int(second.values("version")[0]) == int(version) + 1


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

    for hours in ("721", "-1", "soon", "\u0661"):
        assert manager.post(f"/console/keys/{access_key_id[1]}/rotate", keep_old_hours=hours).status == 422
    rotated = manager.post(f"/console/keys/{access_key_id[1]}/rotate", keep_old_hours="1")
    newer = re.search(r"slw_[A-Za-z0-9]{40}", rotated.text)
    assert newer is not None
    assert newer[0] != secret[0]
    assert manager.post(f"/console/keys/{access_key_id[1]}/delete").status == 303
    assert manager.post("/console/accounts/dana/delete", confirm="dana").status == 303


def test_a_key_is_narrowed_and_disabled_on_its_page(office: Office, manager: Browser) -> None:
    """And what is wrong about it is said without forgetting what was typed."""
    key = asyncio.run(add_key(office.database_url, "narrow", "viewer"))
    path = f"/console/keys/{key.id}"

    wrong = manager.post(path, note="runners", actions="pull", repositories="A/B", expires_on="")
    assert wrong.status == 422
    assert wrong.values("note") == ["runners"]
    assert "A/B" in wrong.words
    assert re.search(r'value="pull" checked', wrong.text)
    assert re.search(r'id="f-repositories"[^>]*aria-invalid="true"', wrong.text)

    assert manager.post(path, note="runners", actions="pull", repositories="a/*", expires_on="").status == 303
    assert "pull, a/*" in manager.get("/console/keys?account=narrow").words
    assert office.browser().sign_in(key).status == 403


def test_everybody_manages_the_own_keys(office: Office) -> None:
    """And sees nobody else's."""
    viewer = office.browser("viewer")

    made = viewer.post("/console/keys", account="viewer", note="second", repositories="", expires_on="")

    assert made.status == 201
    page = viewer.get("/console/keys")
    assert "second" in page.words
    assert office.keys["manager"].id not in page.text
    assert viewer.get(f"/console/keys/{office.keys['manager'].id}").status == 404
    assert viewer.post("/console/keys", account="manager", note="").status in {403, 404}
    assert [viewer.get(f"/console/accounts/{each}").status for each in ("viewer", "manager")] == [200, 404]


def test_policies_are_granted_and_revoked(office: Office, manager: Browser) -> None:
    """What a manager of all may not grant is refused in words."""
    key = asyncio.run(add_key(office.database_url, "climber", None))
    path = "/console/accounts/climber"

    refused = manager.post(f"{path}/policies", change="grant", role="manager", registry="")
    assert refused.status == 403
    assert "Only the root account" in refused.words
    manager.post(f"{path}/policies", change="grant", role="manager", registry="default")
    climber = office.browser()
    climber.sign_in(key)
    assert "Save" in climber.wait_for("/console/registries/default/settings", 200).words

    assert manager.post(f"{path}/policies", change="revoke", role="manager", registry="default").status == 303
    climber.wait_for("/console/registries/default/settings", 404)


@pytest.mark.parametrize("page", ["/console/", "/console/accounts", "/console/keys", "/console/audit"])
def test_head_is_get_without_the_page(manager: Browser, page: str) -> None:
    """As HTTP wants it."""
    answer = manager.send("HEAD", page)

    assert answer.status == 200
    assert answer.text == ""
    assert int(answer.headers["content-length"][0]) > 1000


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_pages_take_what_browsers_send(manager: Browser, method: str) -> None:
    """And say so to whoever sends something else."""
    token = urlencode({"form_token": manager.get("/console/keys").values("form_token")[0]})

    answer = manager.send(method, "/console/accounts", token)

    assert answer.status == 405
    assert answer.headers["allow"] == ["GET, POST"]


@pytest.mark.parametrize("path", ["/console/accounts/%3Cscript%3E", "/console/accounts/%FF", "/console/accounts/a%00b"])
def test_hostile_addresses_find_nothing(manager: Browser, path: str) -> None:
    """And are not repeated as HTML."""
    page = manager.get(path)

    assert page.status == 404
    assert "<script>" not in page.text


def test_what_was_done_is_said_as_text(manager: Browser) -> None:
    """The address names it, and anybody can write an address."""
    page = manager.get("/console/accounts?said=account_created&name=%3Cscript%3E")

    assert "The account <script> was created" in page.words
    assert "<script>" not in page.text
    assert manager.get("/console/accounts?said=nothing_of_ours").status == 200


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/console/accounts", {"name": "A", "note": ""}, 422),
        ("/console/new-registry", {"name": "team", "typed_bucket": ""}, 422),
        ("/console/keys/SWNOSUCHKEY/rotate", {"keep_old_hours": "0"}, 404),
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
    assert "audited" not in manager.get("/console/audit?registry=default").words
    assert manager.get("/console/audit?since=yesterday").status == 422


def test_changes_can_be_read(manager: Browser) -> None:
    """In any writing, what was before it first, and as text whatever it is."""
    manager.post("/console/accounts", name="written", note="쓰기 <b>만</b>")
    line = manager.get("/console/audit?action=account.create&account=manager")

    shown = re.sub(r"\\u00(3[ce])", lambda found: chr(int(found[1], 16)), line.words)
    assert '{ "before": null, "after": { "note": "쓰기 <b>만</b>"' in shown
    assert "<b>만" not in line.text


def test_each_registry_has_its_own_audit_log(office: Office, manager: Browser) -> None:
    """Which its managers may read, and others not."""
    manager.post("/console/registries/default/settings", public_endpoint="yes", public_networks="", private_networks="")
    own = "/console/registries/default/audit"

    page = office.browser("local-manager").get(own)

    assert "registry.update" in page.words
    assert "account.create" not in page.words
    assert "account.create" not in office.browser("local-manager").get("/console/audit").words
    assert office.browser("viewer").get(own).status == 403


def test_long_lists_have_pages(manager: Browser) -> None:
    """Each leads to the next, with what was searched for."""
    token = manager.get("/console/keys").values("form_token")[0]
    for number in range(101):
        manager.post("/console/accounts", form_token=token, name=f"paged-{number}", note="")

    first = manager.get("/console/audit?action=account.create")
    link = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert link is not None
    assert "action=account.create" in link[1]
    second = manager.get(html.unescape(link[1]))

    assert second.status == 200
    assert "account.create" in second.words
    assert "First page" in second.words
    assert manager.get("/console/audit?cursor=nonsense").status == 422


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

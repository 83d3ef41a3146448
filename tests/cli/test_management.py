"""The commands that manage things, on a running server and on the configured installation."""

from __future__ import annotations

import io
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from admin.memory import ROOT, SECRET, Memory
from cli.managing import Slipway
from cli.registry import run
from gateway.admin.dispatch import Management
from gateway.app import commands

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.config import Settings


def test_registries(slipway: Slipway) -> None:
    """Each command shows for people what its JSON holds."""
    made = slipway("registry", "create", "new", "--bucket", "free-bucket", "--json")
    assert made.code == 0
    assert made.json["public_host"] == "new.registry.example"
    assert slipway("registry", "show", "new", "--json").json == made.json
    assert [each["name"] for each in slipway("registry", "list", "--json").json] == ["new", "other", "team"]
    assert "new.registry.example" in slipway("registry", "list").out

    switched = slipway("registry", "update", "new", "--public-endpoint", "off", "--public-pull", "on", "--json").json
    assert (switched["public_endpoint"], switched["public_pull"]) == (False, True)
    shown = slipway("registry", "show", "new").out
    assert "public endpoint   no\n" in shown
    assert "public pull       yes\n" in shown

    assert slipway("registry", "delete", "new", "--yes", "--json").json == {"deleted": ["new"]}
    assert slipway("registry", "show", "new").code == 1


def test_a_bucket_is_adopted(slipway: Slipway) -> None:
    """What a deleted registry has left behind is taken over only when that is said."""
    assert slipway("registry", "create", "new", "--bucket", "b", "--adopt").code == 1
    assert slipway("registry", "create", "new", "--bucket", "left-behind", "--adopt").code == 0
    lost = slipway("registry", "create", "more", "--bucket", "left-behind", "--from-lost-installation", "abc")
    assert lost.code == 0


def test_a_database_from_a_backup_is_reconciled(slipway: Slipway) -> None:
    """And it is told how much came back."""
    done = slipway("registry", "reconcile", "team")
    assert (done.code, "images: 1, tags: 2, manifests: 3, blobs: 4" in done.out) == (0, True)
    assert slipway("registry", "reconcile", "team", "--json").json["tags"] == 2
    assert slipway("registry", "reconcile", "absent").code == 1


def test_a_registry_whose_bucket_cannot_be_written(slipway: Slipway) -> None:
    """Is deleted only by who says so."""
    slipway.memory.registries.cannot_write = "team"
    refused = slipway("registry", "delete", "team", "--yes")
    assert (refused.code, "without its catalogue" in refused.err) == (1, True)
    assert slipway("registry", "delete", "team", "--yes", "--without-catalogue").code == 0


def test_networks_and_delivery(slipway: Slipway) -> None:
    """Lists are written with commas; an empty one and a default can be said."""
    rules = "10.0.0.0/8=redirect-private,192.0.2.1/32=proxy"
    options = ["--public-networks", "10.0.0.0/8, 192.0.2.1", "--delivery-rules", rules, "--public-delivery", "redirect"]
    changed = slipway("registry", "update", "team", *options, "--json").json
    assert changed["public_networks"] == ["10.0.0.0/8", "192.0.2.1/32"]
    assert changed["public_delivery"] == "redirect"
    assert rules.replace(",", ", ") in slipway("registry", "show", "team").out

    options = ["--public-networks", "", "--delivery-rules", "", "--public-delivery", "default"]
    changed = slipway("registry", "update", "team", *options, "--json").json
    assert (changed["public_networks"], changed["delivery_rules"], changed["public_delivery"]) == ([], [], None)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["registry", "show", "none"], 1, "there is no registry none"),
        (["registry", "create", "team", "--bucket", "b"], 1, "there is a registry team already"),
        (["registry", "create", "No!", "--bucket", "b"], 1, "name: a registry's name has 3 to 30"),
        (["registry", "create", "new"], 2, "--bucket"),
        (["registry", "update", "team"], 2, "say what is to change"),
        (["registry", "update", "team", "--public-pull", "yes"], 2, "'on', 'off'"),
        (["registry", "update", "team", "--public-networks", "10.0.0.1/8"], 1, "is no network"),
        (["registry", "update", "team", "--delivery-rules", "10.0.0.0/8=mail"], 2, "is no rule"),
        (["policy", "grant", "root", "king"], 2, "king"),
        (["key", "update", "SW", "--whole", "--action", "pull"], 2, "exclude each other"),
        (["key", "create", "root", "--expires", "soon"], 2, "is no time"),
        (["key", "create", "root", "--repository", "a//b"], 1, "is no pattern"),
        (["key", "rotate", "SWNONE"], 1, "there is no access key SWNONE"),
        (["account", "delete", "none", "--yes"], 1, "there is no account none"),
    ],
)
def test_refusals_are_one_sentence(slipway: Slipway, arguments: list[str], code: int, sentence: str) -> None:
    """Exit code 1 is a refusal, 2 a wrong command; nothing is printed where results are expected."""
    ended = slipway(*arguments)

    assert ended.code == code
    assert sentence in ended.err
    assert ended.out == ""
    if code == 1:
        assert ended.err.startswith("slipway: ")
        assert ended.err.count("\n") == 1


def test_a_backend_that_is_away_is_no_refusal(slipway: Slipway) -> None:
    """The exit code tells scripts that trying again may help."""
    slipway.memory.registries.is_down = True

    ended = slipway("registry", "list")

    assert ended.code == 2
    assert "try again in a few seconds" in ended.err
    assert ended.out == ""


@pytest.mark.parametrize("arguments", [["registry", "delete", "team"], ["account", "delete", "root"]])
def test_nothing_is_deleted_without_a_yes(slipway: Slipway, arguments: list[str]) -> None:
    """Without a person who answers, the command ends."""
    slipway.monkeypatch.setattr(sys, "stdin", io.StringIO())
    ended = slipway(*arguments)

    assert ended.code == 1
    assert "Go on?" in ended.err
    assert "team" in slipway.memory.registries.kept
    assert "root" in slipway.memory.accounts.accounts


def test_deleting_a_registry_says_that_objects_stay(slipway: Slipway) -> None:
    """And recommends deleting the images first (product.md 3.6)."""
    slipway.monkeypatch.setattr(sys, "stdin", io.StringIO())
    ended = slipway("registry", "delete", "team")

    assert "Every object stays" in ended.err
    assert "delete the images first" in ended.err


def test_accounts_and_policies(slipway: Slipway) -> None:
    """An account is made, granted roles, listed, and deleted."""
    made = slipway("account", "create", "ci", "--note", "builds")
    assert "slipway key create ci" in made.out
    assert [each["name"] for each in slipway("account", "list", "--json").json] == ["ci", "root"]
    assert "builds" in slipway("account", "list").out

    assert slipway("policy", "grant", "ci", "viewer", "--json").json["registry"] is None
    assert slipway("policy", "grant", "ci", "manager", "--registry", "team", "--json").json["registry"] == "team"
    assert len(slipway("policy", "list", "--account", "ci", "--json").json) == 2
    assert len(slipway("policy", "list", "--registry", "team", "--json").json) == 1
    assert "all" in slipway("policy", "list").out
    assert slipway("policy", "revoke", "ci", "viewer").out == "ci is no longer viewer of all registries.\n"
    assert slipway("policy", "revoke", "ci", "viewer").code == 1

    assert slipway("account", "delete", "ci", "--yes").code == 0
    assert [each["name"] for each in slipway("account", "list", "--json").json] == ["root"]


def test_keys(slipway: Slipway) -> None:
    """The secret is shown where it is made, under the names of other programs' files, and nowhere else."""
    made = slipway("key", "create", "root", "--note", "laptop")
    lines = dict(line.split(maxsplit=1) for line in made.out.splitlines()[:2])
    assert lines["secret_key"] == SECRET
    name = lines["access_key_id"]

    narrow = ["--action", "pull", "--action", "push", "--repository", "ci/**", "--expires", "2031-01-01T00:00+00:00"]
    robot = slipway("key", "create", "root", *narrow, "--json").json
    assert robot["secret_key"] == SECRET
    assert (robot["actions"], robot["repositories"]) == (["pull", "push"], ["ci/**"])
    assert robot["expires_at"] == "2031-01-01T00:00:00Z"

    listed = slipway("key", "list", "root")
    assert name in listed.out
    assert "laptop" in listed.out
    assert SECRET not in listed.out
    assert len(slipway("key", "list", "--json").json) == 2

    assert slipway("key", "update", name, "--disable", "--json").json["disabled"] is True
    assert slipway("key", "update", name, "--enable", "--json").json["disabled"] is False
    whole = slipway("key", "update", robot["access_key_id"], "--whole", "--never-expires", "--json").json
    assert (whole["actions"], whole["repositories"], whole["expires_at"]) == (None, None, None)
    assert slipway("key", "rotate", name, "--keep-old", "60", "--json").json["secret_key"] == f"{SECRET}60"
    assert SECRET in slipway("key", "rotate", name).out
    assert slipway("key", "delete", name, "--yes", "--json").json == {"deleted": [name]}
    assert len(slipway("key", "list", "--json").json) == 1


def test_audit(slipway: Slipway) -> None:
    """Lines are read page by page up to a limit, the newest first; of a change only what differs is shown."""
    for number in range(1500):
        slipway.memory.audit.add(object=f"o{number}")

    assert len(slipway("audit", "--json").json) == 100
    many = slipway("audit", "--limit", "1200", "--json").json
    assert [each["object"] for each in many] == [f"o{number}" for number in range(1499, 299, -1)]
    table = slipway("audit", "--limit", "1").out
    assert "public_pull: false → true" in table
    assert "public_endpoint" not in table

    options = ["--registry", "team", "--account", "ci", "--action", "login", "--result", "refused", "--since", "24h"]
    assert slipway("audit", *options, "--until", "2031-01-01").out == "Nothing of that kind was done.\n"
    wanted = slipway.memory.audit.wanted[-1]
    assert (wanted.registry_ids, wanted.account, wanted.action, wanted.result) == ((1,), "ci", "login", "refused")
    assert wanted.since is not None
    assert wanted.until is not None


def test_the_audit_log_fits_a_terminal(slipway: Slipway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 80 columns, without breaking words; digests alone are longer than what there is room for."""
    monkeypatch.setattr("gateway.cli.output._WIDTH_OF_FILES", 80)
    image = f"platform/tools@sha256:{'0123456789abcdef' * 4}"
    slipway.memory.audit.add(account="continuous", address="203.0.113.77", action="manifest.delete", object=image)
    slipway.memory.audit.add(action="login", object="SWNOBODY", result="refused", count=12, before=None, after=None)

    shown = slipway("audit").out

    assert max(map(len, shown.splitlines())) <= 80
    for word in ("continuous", "203.0.113.77", "manifest.delete", "login", "SWNOBODY", "(refused,", "public_pull:"):
        assert word in shown
    assert "12 times" in " ".join(shown.split())


def test_a_terminal_obeys_nobody_in_the_log(slipway: Slipway) -> None:
    """What anybody may have sent as a name cannot move the cursor, change colours or turn text around."""
    slipway.memory.audit.add(object="\x1b[2Jevil\x07\u202e [red]x[/red]", before=None, after=None)

    shown = slipway("audit").out

    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "[red]x[/red]" in shown


def test_local_commands_act_as_local(
    memory: Memory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may open the installation may do everything, and the log says how."""

    @asynccontextmanager
    async def managing(_: Settings, *_more: object, **_named: object) -> AsyncIterator[Management]:
        yield Management(memory.services)

    monkeypatch.setattr(commands, "managing", managing)
    assert Slipway(memory, capsys, monkeypatch)("registry", "delete", "team", "--yes").code == 0

    (actor,) = memory.registries.actors
    assert (actor.account_id, actor.account, actor.access_key_id) == (None, "local", None)


def test_the_command_line_beats_the_environment(away: Slipway) -> None:
    """Who names a data directory means this machine, whatever SLIPWAY_URL says."""
    asked: list[Settings] = []

    @asynccontextmanager
    async def managing(settings: Settings, *_more: object, **_named: object) -> AsyncIterator[Management]:
        asked.append(settings)
        yield Management(away.memory.services)

    away.monkeypatch.setattr(commands, "managing", managing)
    assert away("registry", "list", "--data-dir", "/here").code == 0
    assert [str(settings.data_dir) for settings in asked] == ["/here"]


def test_without_a_key_the_command_says_where_to_put_one(away: Slipway) -> None:
    """A server's refusal becomes what to do about it."""
    ended = away("registry", "list")

    assert ended.code == 1
    assert "set SLIPWAY_ACCESS_KEY_ID and SLIPWAY_SECRET_KEY" in ended.err


@pytest.mark.parametrize(
    ("name", "secret", "code", "sentence"),
    [
        (ROOT, "wrong", 1, "the access key id or its secret is wrong"),
        (ROOT, "", 2, "belong together"),
        ("", SECRET, 2, "belong together"),
        ("SWROBOT", SECRET, 1, "manages nothing"),
    ],
)
def test_credentials(away: Slipway, name: str, secret: str, code: int, sentence: str) -> None:
    """Wrong ones are refused in a sentence without the secret."""
    away.monkeypatch.setenv("SLIPWAY_ACCESS_KEY_ID", name)
    away.monkeypatch.setenv("SLIPWAY_SECRET_KEY", secret)

    ended = away("registry", "list")

    assert (ended.code, SECRET in ended.err) == (code, False)
    assert sentence in ended.err


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("{url}/web", "is this the console host"),
        ("{url}/moved", "status 302"),
        ("http://127.0.0.1:1", "cannot be reached"),
        ("ftp://127.0.0.1", "is no address of a server"),
        ("127.0.0.1:5000", "is no address of a server"),
        ("http://root:secret@127.0.0.1", "is no address of a server"),
    ],
)
def test_other_servers(away: Slipway, url: str, place: str, sentence: str) -> None:
    """What is not a management API is told so, and redirects are not followed: the secret is for one server."""
    ended = away("registry", "list", "--url", place.format(url=url))

    assert ended.code in {1, 2}
    assert "secret" not in ended.err
    assert sentence in ended.err


def test_the_url_has_a_stronger_word(away: Slipway) -> None:
    """Options for both places exclude each other."""
    ended = away("registry", "list", "--url", "http://127.0.0.1:1", "--data-dir", "/nowhere")

    assert ended.code == 2
    assert "leave --data-dir and --config out" in ended.err


@pytest.mark.parametrize("arguments", [["account", "list"], ["registry", "create", "new", "--bucket", "new"]])
def test_where_nothing_is_a_command_makes_nothing(tmp_path: Path, arguments: list[str]) -> None:
    """A wrong --data-dir is one line, not a new installation."""
    ended = run(*arguments, "--data-dir", str(tmp_path / "nothing"))

    assert ended.returncode == 2
    assert "there is no installation in" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
